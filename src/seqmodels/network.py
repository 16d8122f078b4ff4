"""The model itself, a plain `nn.Module`: an embedding, a recurrent encoder and a head.

A task trains one. You can as well train it in a loop of your own, export, audit or quantise it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import unpad_sequence

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.heads.pooling import pooled
from seqmodels.nn.cell import State, parts_of, state_of
from seqmodels.nn.convolutions import Convolutions
from seqmodels.nn.encoder import Pooled, RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import Score
from seqmodels.nn.windows import random_windows, read_in_windows


class Network(nn.Module):
    """The way of a batch from its inputs to logits.

    The parts have to fit together: the encoder reads what the embedding gives, and the head was
    built for the encoder:

        encoder = RecurrentEncoder(12, 64, bidirectional=True)
        head = build_head("concat_pool", encoder, partial(ClassOutput, num_classes=9))
        network = Network(nn.Identity(), encoder, head)
        loss = network.score(batch).loss
        logits = network(inputs, lengths)

    Args:
        embedding: makes `(B, T, E)` of a batch's inputs; of words with characters, it also takes
            the batch's `words`.
        encoder: reads `(B, T, E)`, or what the convolutions make of it.
        head: chooses which tensor of the encoder is read, and makes logits of it.
        convolutions: a layer between embedding and encoder.
        carries_state: whether a call returns the final state beside the logits, from which the
            next call can start.
    """

    # The longest row that is read as a whole; None: any.
    window: int | None = None

    def __init__(
        self,
        embedding: nn.Module,
        encoder: RecurrentEncoder,
        head: Head,
        *,
        convolutions: Convolutions | None = None,
        carries_state: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.convolutions = convolutions
        self.encoder = encoder
        self.head = head
        self.carries_state = carries_state

    def forward(
        self, inputs: Tensor, lengths: Int[Tensor, " batch"], state: State | None = None
    ) -> Any:
        """Logits: `(B, C)` for each sequence, or `(B, T, C)` for each step; with `carries_state`,
        the pair of them and the final state.

        Args:
            inputs: tokens `(B, T)` or features `(B, T, F)`, padded at the end.
            lengths: `(B,)` int64 on the CPU.
            state: the initial state, in PyTorch's layout; None means zeros.
        """
        batch = SequenceBatch(inputs, lengths)
        states = self.encode(batch, state, for_head=True)
        logits = self.read_out(states, batch)
        if self.carries_state:
            return logits, states.state
        return logits

    def encode(
        self, batch: SequenceBatch, state: State | None = None, *, for_head: bool = False
    ) -> RNNOutput:
        """Returns everything that the recurrent network returns, started from `state`.

        Args:
            for_head: what the head reads is enough: of rows that are read in segments, the sums of
                `output` that it needs.
        """
        rows = self.rows_to_read(batch)
        return self.read(self.embed(rows), rows.lengths, state, for_head=for_head)

    def score(self, batch: SequenceBatch) -> Score:
        """Returns what the targets of a batch cost, the decision, and what the encoder returned. A
        class that training never saw has no logit, so it is no target."""
        rows = self.rows_to_read(batch)
        return self.score_embedded(self.embed(rows), rows)

    # The steps of `encode` and `score`.

    def rows_to_read(self, batch: SequenceBatch) -> SequenceBatch:
        """Returns the rows that the embedding reads: those of the batch, unless this kind of
        network makes others of them."""
        return batch

    def embed(self, rows: SequenceBatch) -> Float[Tensor, "batch time embedding"]:
        """Returns the embedded inputs of rows, `(B, T, E)`, with noise and dropout in training."""
        if rows.words is None:
            return self.embedding(rows.inputs)
        return self.embedding(rows.inputs, rows.words)

    def encoder_inputs(
        self, embedded: Float[Tensor, "batch time embedding"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time width"]:
        """Returns what the encoder reads: the embedded inputs, convolved if there are
        convolutions."""
        if self.convolutions is None:
            return embedded
        return self.convolutions(embedded, lengths)

    def read(
        self,
        embedded: Float[Tensor, "batch time embedding"],
        lengths: Int[Tensor, " batch"],
        state: State | None = None,
        *,
        for_head: bool = False,
    ) -> RNNOutput:
        """Returns what `encode` does, for embedded inputs."""
        encoder_inputs = self.encoder_inputs(embedded, lengths)
        summary = self.head.summary_of_segments() if for_head else None
        if summary is None:
            return self.encoder(encoder_inputs, lengths, state)
        return self.encoder(encoder_inputs, lengths, state, summary)

    def score_embedded(
        self, embedded: Float[Tensor, "batch time embedding"], rows: SequenceBatch
    ) -> Score:
        """Returns the score of rows whose embedded inputs these are."""
        assert rows.targets is not None
        states = self.read(embedded, rows.lengths, for_head=True)
        score = replace(self.head.score(states, rows.targets), states=states)
        if rows.weights is None:
            return score
        weights_of_rows = rows.weights.view(-1, *[1] * (score.weights.dim() - 1))
        return replace(score, weights=score.weights * weights_of_rows)

    def read_out(self, states: RNNOutput, batch: SequenceBatch) -> Float[Tensor, "*steps logits"]:
        """Returns the logits of a batch from what the encoder returned for it."""
        return self.head.output.calibrated(self.head(states))

    def attention(self, batch: SequenceBatch) -> list[Tensor]:
        """Returns for each row how much a head that weighs steps weighs each of them, `(T,)`."""
        states = self.encode(batch)
        weights = cast(Any, self.head).weights(states)
        return unpad_sequence(weights, states.lengths, batch_first=True)

    # Streams are rows that are read some steps at a time.

    def check_streams(self, reason: str = "") -> None:
        """Raises UserError if this network needs whole rows, or if its data does for the reason
        given."""
        reason = self.reads_whole_rows() or reason
        if reason:
            raise UserError(f"this model reads whole rows, and can't stream: {reason}")

    def reads_whole_rows(self) -> str:
        """Returns why this network can't read a row some steps at a time, and what can; an empty
        text if it can."""
        head = self.head
        if self.encoder.bidirectional:
            return (
                "its backward direction starts at a row's end: train with "
                "model.encoder.bidirectional=false and, for one prediction a row, "
                "model.head=last_hidden"
            )
        if self.convolutions is not None:
            return (
                "its convolutions read later steps, too: train with "
                "model.embedding.convolutions=null"
            )
        if head.output.links_steps:
            return "it decides on all steps of a row together: train with model.output.kind=classes"
        if head.streams is None and "output" in head.reads:
            streaming_heads = [
                name
                for name, other_head in HEADS.items()
                if other_head.per == head.per and other_head.streams
            ]
            return (
                f"head {head.name!r} needs all steps at once; {', '.join(streaming_heads)} stream"
            )
        return ""

    def carry(
        self, batch: SequenceBatch, carried: tuple[Tensor, ...] = ()
    ) -> tuple[RNNOutput, tuple[Tensor, ...]]:
        """Reads the next steps of rows. Returns what the head reads then, and what to carry to the
        next call: the parts of the state and, for a head that pools, those of `Pooled`.

        Args:
            carried: what the last call returned; empty, or all zero, for new rows.
        """
        pools = self.head.streams == "pooled"
        count = len(carried) - len(Pooled._fields) if pools else len(carried)
        state = state_of(*carried[:count]) if carried else None
        states = self.encode(batch, state)
        if not pools:
            return states, parts_of(states.state)
        states = replace(states, before=Pooled(*carried[count:]) if carried else None)
        return states, (*parts_of(states.state), *pooled(states))

    def roll_forward(
        self,
        batch: SequenceBatch,
        choose: Callable[[Tensor, Tensor], Tensor],
        states: RNNOutput | None = None,
    ) -> Iterator[Tensor]:
        """Reads a batch once, then its own choices, without end; yields each choice `(B, 1, ...)`.

        Args:
            batch: rows of one length.
            choose: `(logits, inputs)` to the next input, `(B, 1, ...)`, from their last step.
            states: what `encode` returned for the batch, if it is read.
        """
        states = states or self.encode(batch)
        inputs = batch.inputs
        while True:
            inputs = choose(self.head(states), inputs)
            yield inputs
            next_step = SequenceBatch(inputs, torch.ones_like(batch.lengths))
            states = self.read(self.embed(next_step), next_step.lengths, states.state)


class WindowedNetwork(Network):
    """A network that reads rows longer than `window` in windows of so many steps, each from a zero
    state: in training one at random, with a random start each time; otherwise all of them, and the
    head takes the mean of what it selects. None: it reads them as a whole."""

    def __init__(
        self,
        embedding: nn.Module,
        encoder: RecurrentEncoder,
        head: Head,
        *,
        window: int | None,
        **options: Any,
    ) -> None:
        super().__init__(embedding, encoder, head, **options)
        if window is not None and isinstance(encoder.segment, int):
            raise UserError(
                f"model.encoder.segment={encoder.segment} reads whole rows, and "
                f"model.window={window} reads parts of them: set one of them to null"
            )
        self.window = window

    def rows_to_read(self, batch: SequenceBatch) -> SequenceBatch:
        """Returns the batch; in training, a random window of each row."""
        if self.training and self.window is not None:
            return random_windows(batch, self.window)
        return batch

    def read(
        self,
        embedded: Float[Tensor, "batch time embedding"],
        lengths: Int[Tensor, " batch"],
        state: State | None = None,
        *,
        for_head: bool = False,
    ) -> RNNOutput:
        read_rows = partial(super().read, for_head=for_head)
        if self.training or self.window is None:
            return read_rows(embedded, lengths, state)
        return read_in_windows(read_rows, embedded, lengths, self.window)

    def reads_whole_rows(self) -> str:
        reads_later_steps = self.encoder.bidirectional or self.convolutions is not None
        if reads_later_steps or self.window is None:
            return super().reads_whole_rows()
        return "it reads windows, each from a zero state: train with model.window=null"


class AdversarialNetwork(WindowedNetwork):
    """A network that learns also from the embeddings of each row moved to where the loss rises most
    (Miyato et al. 2017, https://arxiv.org/abs/1605.07725). It doubles the time of a step.

    Args:
        parts, options: as `WindowedNetwork` documents them.
        distance: the L2 norm of a row's moves.
    """

    def __init__(self, *parts: Any, distance: float, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.distance = distance

    def score_embedded(
        self, embedded: Float[Tensor, "batch time embedding"], rows: SequenceBatch
    ) -> Score:
        """Returns the score of rows; in training, the mean of both costs of each row."""
        if not self.training:
            return super().score_embedded(embedded, rows)
        if not embedded.requires_grad:  # They may be the batch's own features.
            embedded = embedded.detach().requires_grad_()
        score = super().score_embedded(embedded, rows)
        [slopes] = torch.autograd.grad(score.loss, embedded, retain_graph=True)
        moves = self.distance * F.normalize(slopes.flatten(1)).view_as(slopes)
        moved_score = super().score_embedded(embedded + moves, rows)
        return replace(score, costs=(score.costs + moved_score.costs) / 2)
