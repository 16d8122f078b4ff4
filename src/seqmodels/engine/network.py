"""The way of a batch through embedding, encoder and head, which are made to fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import unpad_sequence

from seqmodels.batch import SequenceBatch
from seqmodels.engine.contract import Contract
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.heads.pooling import pooled
from seqmodels.nn.cell import State, parts_of, state_of
from seqmodels.nn.convolutions import Convolutions
from seqmodels.nn.embedding import CharacterEncoder, EmbeddingOptions
from seqmodels.nn.encoder import Pooled, RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import Score
from seqmodels.nn.windows import random_windows, read_in_windows


class Network(nn.Module):
    """What a task is without its training: from a batch to logits, a loss and a decision."""

    embedding: nn.Module
    characters: CharacterEncoder | None  # of each word
    convolutions: Convolutions | None  # of what `embed` gives
    encoder: RecurrentEncoder
    head: Head
    window: int | None = None  # to read longer sequences in windows of so many steps
    contract: Contract

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        """The contract of this task with the head of this name: override it where that depends on
        the head. Raises UserError for an unknown one."""
        return cls.contract

    def embed(self, batch: SequenceBatch) -> Float[Tensor, "batch time embedding"]:
        """What convolutions or the encoder read, `(B, T, E)`; noisy in training."""
        if self.characters is None:
            return self.embedding(batch.inputs)
        words, characters = batch.inputs[..., 0], batch.inputs[..., 1:]
        return torch.cat([self.embedding(words), self.characters(characters, batch.words)], dim=-1)

    def encode(self, batch: SequenceBatch, state: State | None = None) -> RNNOutput:
        """Everything that the recurrent network returns, started from `state`."""
        batch = self.cut(batch)
        return self.read(self.embed(batch), batch.lengths, state)

    def cut(self, batch: SequenceBatch) -> SequenceBatch:
        """The rows that the embedding reads of a batch: with a `window`, in training a random
        one of each sequence."""
        window = self.window if self.training else None
        return batch if window is None else random_windows(batch, window)

    def read(
        self,
        embedded: Float[Tensor, "batch time embedding"],
        lengths: Int[Tensor, " batch"],
        state: State | None = None,
        *,
        whole: bool = False,
    ) -> RNNOutput:
        """Everything that the recurrent network returns for what `embed` gave; `whole`: without
        windows."""
        if self.window is None or self.training or whole:
            return self.encoder(self.convolve(embedded, lengths), lengths, state)
        return read_in_windows(partial(self.read, whole=True), embedded, lengths, self.window)

    def convolve(
        self, embedded: Float[Tensor, "batch time embedding"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time width"]:
        """The encoder's inputs: `embedded`, convolved if the task has convolutions."""
        return embedded if self.convolutions is None else self.convolutions(embedded, lengths)

    def score(self, batch: SequenceBatch) -> Score:
        """What the targets of a batch cost, the decision, and what the network read. A class that
        training never saw has no logit, so it is no target."""
        batch = self.cut(batch)
        return self.score_embedded(self.embed(batch), batch)

    def score_embedded(
        self, embedded: Float[Tensor, "batch time embedding"], batch: SequenceBatch
    ) -> Score:
        """As `score`, of a batch that is cut, from what `embed` gave."""
        assert batch.targets is not None
        states = self.read(embedded, batch.lengths)
        score = replace(self.head.score(states, batch.targets), states=states)
        if batch.weights is None:
            return score
        of_rows = batch.weights.view(-1, *[1] * (score.weights.dim() - 1))
        return replace(score, weights=score.weights * of_rows)

    def forward(
        self, batch: SequenceBatch, state: State | None = None
    ) -> Float[Tensor, "*steps logits"]:
        """Logits: `(B, C)` for each sequence, or `(B, T, C)` for each step."""
        return self.read_out(self.encode(batch, state), batch)

    def read_out(self, states: RNNOutput, batch: SequenceBatch) -> Float[Tensor, "*steps logits"]:
        """Logits from what the recurrent network returned for this batch."""
        return self.head(states)

    def attention(self, batch: SequenceBatch) -> list[Tensor]:
        """How much a head that weighs steps weighs those of each row, `(T,)`."""
        states = self.encode(batch)
        weights = cast(Any, self.head).weights(states)
        return unpad_sequence(weights, states.lengths, batch_first=True)

    def as_function(self) -> Callable[..., Any]:
        """`(inputs, lengths) -> logits`; where the task carries a state,
        `(inputs, lengths, state=None) -> (logits, state)`. What an audit, generation and an export
        run."""

        if not self.contract.stateful:
            return lambda inputs, lengths: self(SequenceBatch(inputs, lengths))

        def predict(
            inputs: Tensor, lengths: Tensor, state: State | None = None
        ) -> tuple[Tensor, State]:
            states = self.encode(SequenceBatch(inputs, lengths), state)
            return self.head(states), states.state

        return predict

    def roll_forward(
        self,
        batch: SequenceBatch,
        choose: Callable[[Tensor, Tensor], Tensor],
        states: RNNOutput | None = None,
    ) -> Iterator[Tensor]:
        """Reads a batch once, then its own choices, without end, where the task carries a state;
        yields each choice `(B, 1, ...)`.

        Args:
            batch: rows of one length.
            choose: `(logits, inputs)` to the next input, `(B, 1, ...)`, from their last step.
            states: what `encode` gave of the batch, if it is read.
        """
        states, inputs = states or self.encode(batch), batch.inputs
        while True:
            inputs = choose(self.head(states), inputs)
            yield inputs
            following = SequenceBatch(inputs, torch.ones_like(batch.lengths))
            states = self.read(self.embed(following), following.lengths, states.state)

    # streams: rows that are read some steps at a time

    def check_streams(self, data: str = "") -> None:
        """Raises UserError if this network, or its data for the reason given, needs whole rows."""
        if why := self.reads_whole_rows() or data:
            raise UserError(f"this model reads whole rows, and can't stream: {why}")

    def reads_whole_rows(self) -> str:
        """Why this network can't read a row some steps at a time, and what can; empty if it can."""
        head, encoder = self.head, self.encoder
        if self.contract.kind.decoder:
            return "its decoder starts where a row ends"
        if encoder.bidirectional:
            one = "model.encoder.bidirectional=false and, for one prediction a row, "
            one += "model.head=last_hidden"
            return f"its backward direction starts at a row's end: train with {one}"
        if self.convolutions is not None:
            none = "model.embedding.convolutions=null"
            return f"its convolutions read later steps, too: train with {none}"
        if self.window is not None:
            return "it reads windows, each from a zero state: train with model.window=null"
        if head.output.links_steps:
            return "it decides on all steps of a row together: train with model.output.kind=classes"
        if head.streams is None and "output" in head.reads:
            fits = (name for name, h in HEADS.items() if h.per == head.per and h.streams)
            return f"head {head.name!r} needs all steps at once; {', '.join(fits)} stream"
        return ""

    def carry(
        self, batch: SequenceBatch, carried: tuple[Tensor, ...] = ()
    ) -> tuple[RNNOutput, tuple[Tensor, ...]]:
        """Reads the next steps of rows: what the head reads then, and what to carry to the next
        call, the parts of the state and, for a head that pools, those of `Pooled`. `carried` is
        what the last call gave; empty, or all zero, for new rows."""
        pools = self.head.streams == "pooled"
        count = len(carried) - pools * len(Pooled._fields)
        states = self.encode(batch, state_of(*carried[:count]) if carried else None)
        if not pools:
            return states, parts_of(states.state)
        states = replace(states, before=Pooled(*carried[count:]) if carried else None)
        return states, (*parts_of(states.state), *pooled(states))


def build_encoder(
    width: int, options: Mapping[str, Any], head: type[Head], contract: Contract
) -> RecurrentEncoder:
    """The encoder for this head and task.

    `bidirectional` None means what the head needs; where it fits one direction and two, two for a
    prediction at every step of a row that is there as a whole, else one. "if_possible" means two
    directions, unless head or task needs one.
    """
    options = dict(options)
    wanted = options.get("bidirectional")
    if wanted is None or wanted == "if_possible":
        reads_whole_rows = contract.per == "step" and not contract.live
        may_read_both = wanted == "if_possible" or reads_whole_rows
        needed = head.requires_bidirectional
        if needed is None:
            needed = may_read_both and not contract.causal
        options["bidirectional"] = needed
    if contract.causal and options["bidirectional"]:
        raise UserError(
            "this model predicts what comes next, so its encoder must read in one direction, "
            "because a backward direction has already seen it: set model.encoder.bidirectional=null"
        )
    try:
        return RecurrentEncoder(width, **options)
    except ValueError as error:
        raise UserError(f"model.{error}") from error


def build_convolutions(
    width: int, options: EmbeddingOptions, contract: Contract
) -> Convolutions | None:
    """The convolutions between embedding and encoder, if there are some."""
    if options.convolutions is None:
        return None
    if contract.causal:
        raise UserError(
            "this model predicts what comes next, which convolutions have already seen: set "
            "model.embedding.convolutions=null"
        )
    return Convolutions(width, options.channels, options.convolutions)
