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
from seqmodels.tasks.seq2seq.search import Found, search


def side_by_side(finals: Mapping[str, Float[Tensor, "layers directions batch width"]]) -> State:
    """What a decoder starts from, `(L, B, D*H)`, or for LSTM a pair, as `nn.LSTM` takes it: each
    layer from the same layer of the encoder, `h` from `h_n`, `c` from `c_n`, and so on, forward and
    backward side by side.

    Args:
        finals: the encoder's, as `RNNOutput.finals` gives them.
    """
    # (L, D, B, H) -> (L, B, D*H)
    return state_of(*(final.transpose(1, 2).flatten(2) for final in finals.values()))


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
        """The weighted sum of the memory for each query, and its weights, which are 0 at padding
        and sum to 1: `(B, S, M)` and `(B, S, T)`. `keys` are what `to_key` makes of the memory."""
        scores = query @ keys.transpose(1, 2)
        weights = scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(dim=-1)
        return weights @ memory, weights


@dataclass(frozen=True, eq=False)
class Carried:
    """What a decoder carries from one step to the next, for B rows."""

    state: State
    memory: tuple[Tensor, ...]  # what attention reads at every step: memory, keys and mask

    def take(self, rows: Int[Tensor, " rows"]) -> Carried:
        """Of these rows, in this order."""
        state = state_of(*(part[:, rows] for part in parts_of(self.state)))
        return Carried(state, tuple(each[rows] for each in self.memory))


class Decoder(Output):
    """Reads the tokens that are written so far, in one direction, and predicts the next one.

    With attention, the logits are made of `tanh(W [context; h])` (Luong et al. 2015,
    https://arxiv.org/abs/1508.04025). What a step has attended to does not go into the next one, so
    training reads a whole target at once, with the same result as step by step.

    Args:
        rnn: in one direction, with as many layers and of the same kind as the encoder, and as wide
            as its directions together.
        embedding: of target tokens, `(B, S) -> (B, S, E)`.
        vocabulary: called with the width of the features; makes the output module of the tokens.
        attention: of the encoder's `output`; None: the state is all that the decoder gets.
        start, end: the tokens before and after every target.
        dropout: on the features.
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
        self.rnn, self.embedding = rnn, embedding
        self.attention, self.start, self.end = attention, start, end
        width = rnn.output_size
        if attention is not None:
            self.combine = nn.Linear(attention.memory_size + width, width)
        self.dropout = dropout or nn.Identity()
        self.vocabulary = vocabulary(width)

    def carried(self, states: RNNOutput) -> Carried:
        """What the first step starts from: the encoder's final states and, with attention, what of
        its output to attend to."""
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
        """The features after each token, what the next step starts from, and how much each step
        attends to each step of the source, `(B, S, T)`, or None.

        Args:
            tokens: `(B, S)`, padded at the end.
            lengths: `(B,)` on the CPU; None: no row is padded.
        """
        states = self.rnn(self.embedding(tokens), lengths, carried.state)
        features, weights = states.output, None
        if self.attention is not None:
            context, weights = self.attention(features, *carried.memory)
            features = self.combine(torch.cat([context, features], dim=-1)).tanh()
        return self.dropout(features), Carried(states.state, carried.memory), weights

    def forward(self, features: Any, inputs: Int[Tensor, "batch steps"] | None = None) -> Tensor:
        """Logits `(B, S, V)` of the token after each of `inputs`, `(B, S)`, which begin with the
        start token; None: of the first token only, `(B, 1, V)`."""
        if inputs is None:
            h_n = features.h_n
            inputs = torch.full((h_n.shape[2], 1), self.start, device=h_n.device)
        return self.vocabulary(self.read(inputs, self.carried(features))[0])

    def score(self, features: Any, targets: Tensor, mask: Mask = None) -> Score:
        """Of the tokens of the targets `(B, S)`, which end with the end token, in nats; -100 after
        it."""
        read, _, _ = self.read(self.shifted(targets), self.carried(features))
        return self.vocabulary.score(read, targets)

    def shifted(self, targets: Int[Tensor, "batch steps"]) -> Int[Tensor, "batch steps"]:
        """The tokens that are read where `targets` are to be predicted: the start token, then the
        targets but the last; after their end, padding."""
        before = torch.full_like(targets[:, :1], self.start)
        return torch.cat([before, targets[:, :-1].clamp(min=PADDING_ID)], dim=1)

    def decode(self, features: Any, mask: Mask = None) -> Tensor:
        """The likeliest token at every step, `(B, T)`; the end token from the end on."""
        return self.search(features).tokens[:, 0]

    def search(self, features: RNNOutput, **options: Any) -> Found:
        """The likeliest texts of known tokens for each row, as `search` finds them; `options` are
        its own."""
        silent = [*({PADDING_ID, UNKNOWN_ID, self.start} - {self.end})]

        def step(token: Tensor, carried: Any) -> tuple[Tensor, Any]:
            read, carried, _ = self.read(token.unsqueeze(1), carried)
            log_p = self.vocabulary(read)[:, 0].float().log_softmax(dim=-1)
            for one in silent:  # a list is an index on the CPU, for which the host waits
                log_p[:, one] = -torch.inf
            return log_p, carried

        h_n = features.h_n
        ends: dict[str, Any] = {"start": self.start, "end": self.end, "device": h_n.device}
        return search(step, Carried.take, self.carried(features), h_n.shape[2], **ends, **options)


class FinalState(Head, name="final_state"):
    """`h_n` and, for LSTM, `c_n` start a decoder: each of its layers from the same layer here,
    forward and backward side by side. Of a cell with more states, all of them do."""

    reads: tuple[str, ...] = ("h_n", "c_n")
    output_class = Decoder

    def __init__(self, encoder: RecurrentEncoder, *args: Any, **options: Any) -> None:
        attends = tuple(name for name in type(self).reads if name == "output")
        self.reads = (*attends, *encoder.state_sizes)
        super().__init__(encoder, *args, **options)

    def make_output(self, encoder: RecurrentEncoder, make: Callable[..., Output]) -> Output:
        return make(encoder, **self.output_options)

    def select(self, states: RNNOutput) -> RNNOutput:
        return states  # of which a decoder without attention reads the final states alone


class AttendToOutput(FinalState, name="attention"):
    """The same start, and every step of the decoder weighs all valid steps of `output`."""

    reads: tuple[str, ...] = ("output", "h_n", "c_n")

    def build(self, encoder: RecurrentEncoder) -> None:
        self.output_options = {"attention": True}

    def weights(
        self, states: RNNOutput, written: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps time"]:
        """How much each step of the source is attended to where each of these tokens is written."""
        decoder: Any = self.output
        return decoder.read(decoder.shifted(written), decoder.carried(states))[2]
