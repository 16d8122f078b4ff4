"""A decoder: starts from an encoder's final states, may attend to its output, and writes tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seqmodels.batch import PADDING_ID, UNKNOWN_ID
from seqmodels.heads.base import Head
from seqmodels.nn.cell import State, parts_of, state_of
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import Mask, Output, Score
from seqmodels.tasks.seq2seq.search import Hypotheses, search


def side_by_side(finals: Mapping[str, Float[Tensor, "layers directions batch width"]]) -> State:
    """Returns the state `(L, B, D*H)` that a decoder starts from, or for LSTM a pair, as `nn.LSTM`
    takes it. Each layer starts from the same layer of the encoder, `h` from `h_n`, `c` from `c_n`,
    and so on, forward and backward side by side.

    Args:
        finals: the final states of the encoder, as `RNNOutput.finals` gives them.
    """
    # (L, D, B, H) -> (L, B, D*H)
    initial_states = [final.transpose(1, 2).flatten(2) for final in finals.values()]
    return state_of(*initial_states)


class Attention(nn.Module):
    """Weighs the valid steps of a memory by how well they match a query: by `q . W m` (Luong et al.
    2015, https://arxiv.org/abs/1508.04025).

    Args:
        query_size: `Q`, the width of a query.
        memory_size: `M`, the width of the memory: `D*H` for an encoder's `output`.
    """

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.memory_size = memory_size
        self.to_key = nn.Linear(memory_size, query_size, bias=False)

    def forward(
        self,
        query: Float[Tensor, "batch steps query"],
        memory: Float[Tensor, "batch time memory"],
        keys: Float[Tensor, "batch time query"],
        mask: Bool[Tensor, "batch time"],
    ) -> tuple[Float[Tensor, "batch steps memory"], Float[Tensor, "batch steps time"]]:
        """Returns the weighted sum of the memory for each query, `(B, S, M)`, and its weights,
        `(B, S, T)`, which are 0 at padding and sum to 1. `keys` are what `to_key` makes of the
        memory."""
        scores = query @ keys.transpose(1, 2)  # (B, S, T)
        is_padding = ~mask.unsqueeze(1)
        weights = scores.masked_fill(is_padding, -torch.inf).softmax(dim=-1)
        return weights @ memory, weights


@dataclass(frozen=True, eq=False)
class Carried:
    """What a decoder carries from one step to the next, for B rows."""

    state: State
    # The memory, the keys and the mask, which attention reads at every step; empty without it.
    memory: tuple[Tensor, ...]

    def take(self, rows: Int[Tensor, " rows"]) -> Carried:
        """Returns what is carried for these rows, in this order."""
        states = [tensor[:, rows] for tensor in parts_of(self.state)]  # (L, B, H) each
        memory = tuple(tensor[rows] for tensor in self.memory)
        return Carried(state_of(*states), memory)


class Decoder(Output):
    """Reads the tokens that are written so far, in one direction, and predicts the next one.

    With attention, the logits are made of `tanh(W [context; h])` (Luong et al. 2015,
    https://arxiv.org/abs/1508.04025). What a step has attended to does not go into the next one, so
    training reads a whole target at once, with the same result as step by step.

    Args:
        rnn: a recurrent network in one direction, with the cell and as many layers as the encoder,
            and as wide as its directions together.
        embedding: embeds target tokens, `(B, S) -> (B, S, E)`.
        vocabulary: called with the width of the features; makes the output module of the tokens.
        attention: reads the encoder's `output`; None: the decoder gets only the final states.
        start, end: the tokens before and after every target.
        dropout: drops features.
    """

    targets = ("text",)

    def __init__(
        self,
        rnn: RecurrentEncoder,
        embedding: nn.Module,
        vocabulary: Callable[[int], Output],
        *,
        attention: Attention | None = None,
        start: int,
        end: int,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.rnn = rnn
        self.embedding = embedding
        self.attention = attention
        self.start = start
        self.end = end
        width = rnn.output_size
        if attention is not None:
            self.combine = nn.Linear(attention.memory_size + width, width)
        self.dropout = dropout or nn.Identity()
        self.vocabulary = vocabulary(width)

    def carried(self, states: RNNOutput) -> Carried:
        """Returns what the first step starts from: the encoder's final states and, with attention,
        its output."""
        memory: tuple[Tensor, ...] = ()
        if self.attention is not None:
            memory = states.output, self.attention.to_key(states.output), states.mask
        return Carried(side_by_side(states.finals), memory)

    def read(
        self,
        tokens: Int[Tensor, "batch steps"],
        carried: Carried,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch steps width"], Carried, Tensor | None]:
        """Reads tokens, and returns the features after each of them, what the next step starts
        from, and how much each step attends to each step of the source, `(B, S, T)`, or None.

        Args:
            tokens: `(B, S)`, padded at the end.
            lengths: `(B,)` on the CPU; None: no row is padded.
        """
        states = self.rnn(self.embedding(tokens), lengths, carried.state)
        features = states.output
        weights = None
        if self.attention is not None:
            context, weights = self.attention(features, *carried.memory)
            features = self.combine(torch.cat([context, features], dim=-1)).tanh()
        return self.dropout(features), Carried(states.state, carried.memory), weights

    def forward(self, features: Any, inputs: Int[Tensor, "batch steps"] | None = None) -> Tensor:
        """Returns the logits `(B, S, V)` of the token after each of `inputs`, `(B, S)`, which begin
        with the start token; without `inputs`, of the first token only, `(B, 1, V)`."""
        if inputs is None:
            h_n = features.h_n
            inputs = torch.full((h_n.shape[2], 1), self.start, device=h_n.device)
        step_features, _, _ = self.read(inputs, self.carried(features))
        return self.vocabulary(step_features)

    def score(self, features: Any, targets: Tensor, mask: Mask = None) -> Score:
        """Returns the score of the tokens of the targets `(B, S)`, in nats; they end with the end
        token, with -100 after it."""
        step_features, _, _ = self.read(self.shifted(targets), self.carried(features))
        return self.vocabulary.score(step_features, targets)

    def shifted(self, targets: Int[Tensor, "batch steps"]) -> Int[Tensor, "batch steps"]:
        """Returns the tokens that are read where `targets` are to be predicted: the start token,
        then the targets but the last; after their end, padding."""
        start = torch.full_like(targets[:, :1], self.start)
        targets_before_last = targets[:, :-1].clamp(min=PADDING_ID)
        return torch.cat([start, targets_before_last], dim=1)

    def decode(self, features: Any, mask: Mask = None) -> Tensor:
        """Returns the likeliest token at every step, `(B, T)`; the end token from the end on."""
        return self.search(features).tokens[:, 0]

    def search(self, features: RNNOutput, **options: Any) -> Hypotheses:
        """Returns the likeliest texts of known tokens for each row; `options` are those of the
        function `search`."""
        unwritten_tokens = {PADDING_ID, UNKNOWN_ID, self.start} - {self.end}

        def step(token: Tensor, carried: Any) -> tuple[Tensor, Any]:
            step_features, carried, _ = self.read(token.unsqueeze(1), carried)
            logits = self.vocabulary(step_features)[:, 0]
            log_p = logits.float().log_softmax(dim=-1)
            # One at a time: a list would be an index on the CPU, for which the host waits.
            for number in unwritten_tokens:
                log_p[:, number] = -torch.inf
            return log_p, carried

        h_n = features.h_n
        return search(
            step,
            Carried.take,
            self.carried(features),
            h_n.shape[2],
            start=self.start,
            end=self.end,
            device=h_n.device,
            **options,
        )


class FinalState(Head, name="final_state"):
    """`h_n` and, for LSTM, `c_n` start a decoder: each of its layers from the same layer here,
    forward and backward side by side. If a cell has more states, all of them do."""

    reads: tuple[str, ...] = ("h_n", "c_n")
    output_class = Decoder

    def __init__(self, encoder: RecurrentEncoder, *args: Any, **options: Any) -> None:
        attends = tuple(name for name in type(self).reads if name == "output")
        self.reads = (*attends, *encoder.state_sizes)
        super().__init__(encoder, *args, **options)

    def make_output(self, encoder: RecurrentEncoder, make: Callable[..., Output]) -> Output:
        return make(encoder, **self.output_options)

    def select(self, states: RNNOutput) -> RNNOutput:
        # A decoder without attention reads their final states alone.
        return states


class AttendToOutput(FinalState, name="attention"):
    """The final states start a decoder, and each of its steps weighs all valid steps of
    `output`."""

    reads: tuple[str, ...] = ("output", "h_n", "c_n")

    def build(self, encoder: RecurrentEncoder) -> None:
        self.output_options = {"attention": True}

    def weights(
        self, states: RNNOutput, written: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps time"]:
        """Returns how much each step of the source is attended to where each of these tokens is
        written."""
        decoder: Any = self.output
        _, _, weights = decoder.read(decoder.shifted(written), decoder.carried(states))
        return weights
