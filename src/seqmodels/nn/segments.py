"""Read long rows in segments: exact gradients in memory that hardly grows with the rows.

A training step keeps what every step of a row has computed, until its gradient is taken. Here it
keeps the states between segments of the row, and computes what lies inside a segment again when
its gradient is taken. What a head sums over steps is summed within each segment, so that `output`
of all steps never exists.

Two directions share their segments. The backward one is read twice: from the last segment to the
first for its states between them, then beside the forward one, as a head reads both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seqmodels.device import CPU, on_device, random_state, set_random_state
from seqmodels.nn.cell import State, parts_of, state_of
from seqmodels.padding import reverse_by_length

# What `auto` means: rows of more steps are read in segments of so many.
LONGEST_WHOLE = 2000
SEGMENT = 1000
States = Sequence[Tensor]
"""The parts of a state, each `(L*D, B, ...)`."""


class Summary(NamedTuple):
    """What is needed of the steps of a segment, in place of all of `output`.

    Args:
        of: makes it from the `RNNOutput` of the segment: tensors `(B, ...)` by name.
        empty: by the same names, the number that stands for a row without steps there.
        weights: the parameters that `of` reads.
    """

    of: Callable[[Any], Mapping[str, Tensor]]
    empty: Mapping[str, float]
    weights: Sequence[nn.Parameter]


class Segment(NamedTuple):
    """Some steps of a batch whose rows are in the order of `Segments`.

    Args:
        number: how many segments are before it.
        rows: how many rows have steps in it, which are the first ones.
        lengths: `(rows,)`, how many steps of each lie in it.
    """

    number: int
    rows: int
    lengths: Tensor


class Segments:
    """A batch, cut in time. The longest row is first, so that in each segment the first rows are
    those that have not ended.

    Args:
        lengths: `(B,)` on the CPU.
        size: how many steps a segment has.
    """

    def __init__(self, lengths: Tensor, size: int) -> None:
        descending_lengths, order = lengths.sort(descending=True, stable=True)
        self.size = size
        self.longest = int(descending_lengths[0])
        self.is_reordered = not torch.equal(descending_lengths, lengths)
        self.order = order  # (B,): from the batch to these rows
        self.original = order.argsort()  # (B,): and back
        self.segments: list[Segment] = []
        for number, start in enumerate(range(0, self.longest, size)):
            rows = int((descending_lengths > start).sum())
            lengths_here = (descending_lengths[:rows] - start).clamp(max=size)
            self.segments.append(Segment(number, rows, lengths_here))

    def pieces(self, inputs: Tensor) -> Sequence[Tensor]:
        """The steps of each segment, `(B, T, F)` to `(B, S, F)`, of all rows in their own order."""
        return inputs[:, : self.longest].split(self.size, dim=1)

    def rows_of(self, piece: Tensor, segment: Segment) -> Tensor:
        """The rows of a piece that have steps in its segment, in the order of these rows."""
        if not self.is_reordered:
            return piece[: segment.rows]
        order = self.order[: segment.rows]
        return piece.index_select(0, on_device(order, piece.device))

    def take(self, values: Tensor, axis: int) -> Tensor:
        """Values of the batch in the order of these rows, which lie on this axis."""
        if not self.is_reordered:
            return values
        return values.index_select(axis, on_device(self.order, values.device))

    def put(self, values: Tensor, axis: int) -> Tensor:
        """Values of these rows in the order of the batch."""
        if not self.is_reordered:
            return values
        return values.index_select(axis, on_device(self.original, values.device))


class SegmentedReading:
    """An encoder and a batch that it reads in segments.

    Args:
        encoder: a `RecurrentEncoder`.
        size: the steps of a segment.
    """

    def __init__(self, encoder: Any, inputs: Tensor, lengths: Tensor, size: int) -> None:
        self.encoder = encoder
        self.lengths = lengths
        self.shape = inputs.shape[:2]
        self.segments = Segments(lengths, size)
        # What the next layer gets in each segment, and which rows of it.
        self.pieces = self.segments.pieces(inputs)
        self.rows_of: Callable[[Tensor, Segment], Tensor] = self.segments.rows_of

    def read(
        self, state: State | None, factors: Sequence[Tensor] | None, summary: Summary | None
    ) -> Any:
        """The `RNNOutput` that the encoder returns.

        Args:
            state: the initial state; None means zeros.
            factors: of a locked dropout, before each layer but the first, `(B, D*H)`.
            summary: what to keep of each segment; None: `output`.
        """
        encoder = self.encoder
        initial_states = self._initial_states(state)
        if factors is not None:
            factors = [self.segments.take(factors_of_layer, axis=0) for factors_of_layer in factors]
        if not encoder.bidirectional:  # All layers read a segment before they read the next one.
            results, finals = self._read_forwards(encoder, initial_states, factors, summary)
            return self._result(results, finals, summary)

        # A layer needs both directions of the one below, so layers are read one after the other.
        results, finals = self._read_layers(initial_states, factors, summary)
        return self._result(results, finals, summary)

    def _read_layers(
        self, initial_states: States, factors: Sequence[Tensor] | None, summary: Summary | None
    ) -> tuple[list[Sequence[Tensor]], States]:
        """What is kept of each segment, and the final states, of layers of two directions."""
        encoder = self.encoder
        finals_of_layers: list[States] = []
        for number in range(encoder.num_layers):
            layer = encoder.layer(number, (0, 1))
            backward_layer = encoder.layer(number, (1,))
            is_last_layer = number == encoder.num_layers - 1
            states_of_layer = [part[2 * number : 2 * number + 2] for part in initial_states]
            summary_of_layer = summary if is_last_layer else None
            results, finals = self._read_both_ways(
                layer, backward_layer, states_of_layer, summary_of_layer
            )
            finals_of_layers.append(finals)
            if not is_last_layer:
                outputs = [output for (output,) in results]
                self.pieces = self._dropped(outputs, factors[number] if factors else None)
                self.rows_of = _all_rows
        return results, [torch.cat(parts) for parts in zip(*finals_of_layers, strict=True)]

    def _initial_states(self, state: State | None) -> States:
        if state is not None:
            return [self.segments.take(part, axis=1) for part in parts_of(state)]
        first = self.pieces[0]
        layers = self.encoder.num_layers * self.encoder.num_directions
        sizes = self.encoder.state_sizes.values()
        return [first.new_zeros(layers, len(first), size) for size in sizes]

    def _read_forwards(
        self,
        encoder: Any,
        states: States,
        factors: Sequence[Tensor] | None,
        summary: Summary | None,
    ) -> tuple[list[Sequence[Tensor]], States]:
        """What is kept of each segment, and the final states."""

        def read(segment: Segment, state: States) -> tuple[Sequence[Tensor], States]:
            factors_here = factors and [each[: segment.rows] for each in factors]
            return self._read_segment(encoder, segment, state, factors_here, summary)

        return read_forwards(self.segments.segments, read, states)

    def _read_both_ways(
        self,
        layer: Any,
        backward_layer: Any,
        states: States,
        summary: Summary | None,
    ) -> tuple[list[Sequence[Tensor]], States]:
        """The same of a layer of two directions.

        Args:
            backward_layer: its backward direction alone.
        """
        forward_states = [part[:1] for part in states]
        backward_states = [part[1:] for part in states]
        rows_of = self.rows_of

        def read_backwards(segment: Segment, state: States) -> States:
            def run(piece: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
                steps = reverse_by_length(rows_of(piece, segment), segment.lengths)
                time = steps.shape[1]
                before = state_of(*parts)
                _, after = backward_layer.read_whole(steps, segment.lengths, time, before, None)
                return parts_of(after)

            weights = [*backward_layer.parameters()]
            return recomputed(run, weights, self.pieces[segment.number], *state)

        entering = states_backwards(self.segments.segments, read_backwards, backward_states)
        # The backward direction ends in the first segment.
        backward_finals: States = []

        def read_both(segment: Segment, state: States) -> tuple[Sequence[Tensor], States]:
            nonlocal backward_finals
            pairs = zip(state, entering[segment.number], strict=True)
            both = [torch.cat(pair) for pair in pairs]
            kept, after = self._read_segment(layer, segment, both, None, summary)
            if segment.number == 0:
                backward_finals = [part[1:] for part in after]
            return kept, [part[:1] for part in after]

        results, forward_finals = read_forwards(self.segments.segments, read_both, forward_states)
        pairs = zip(forward_finals, backward_finals, strict=True)
        return results, [torch.cat(pair) for pair in pairs]

    def _read_segment(
        self,
        encoder: Any,
        segment: Segment,
        state: States,
        factors: Sequence[Tensor] | None,
        summary: Summary | None,
    ) -> tuple[Sequence[Tensor], States]:
        """What is kept of a segment, and the states after it."""
        rows_of = self.rows_of  # It is another one when the gradient is taken.

        def run(piece: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
            steps = rows_of(piece, segment)
            time = steps.shape[1]
            before = state_of(*parts)
            output, after = encoder.read_whole(steps, segment.lengths, time, before, factors)
            if summary is None:
                return (output, *parts_of(after))
            summaries = summary.of(encoder.result(output, after, segment.lengths))
            return (*[summaries[name] for name in summary.empty], *parts_of(after))

        weights = [*encoder.parameters()]
        if summary is not None:
            weights += summary.weights
        tensors = recomputed(run, weights, self.pieces[segment.number], *state)
        count = len(tensors) - len(state)
        return tensors[:count], tensors[count:]

    def _dropped(self, outputs: Sequence[Tensor], factors: Tensor | None) -> list[Tensor]:
        """The dropout before the next layer, `(rows, S, D*H)` of each segment."""
        if factors is not None:
            return [output * factors[: len(output)].unsqueeze(1) for output in outputs]
        share = self.encoder.rnn.dropout
        return [F.dropout(output, share, self.encoder.training) for output in outputs]

    def _result(
        self, results: list[Sequence[Tensor]], finals: States, summary: Summary | None
    ) -> Any:
        batch, time = self.shape
        final_state = state_of(*[self.segments.put(part, axis=1) for part in finals])
        if summary is None:
            pieces = [_with_rows(output, batch, 0.0) for (output,) in results]
            output = self.segments.put(torch.cat(pieces, dim=1), axis=0)
            output = F.pad(output, (0, 0, 0, time - output.shape[1]))
            return self.encoder.result(output, final_state, self.lengths)
        summaries = {}
        tensors_by_name = zip(*results, strict=True)
        for (name, empty), tensors in zip(summary.empty.items(), tensors_by_name, strict=True):
            all_rows = [_with_rows(tensor, batch, empty) for tensor in tensors]
            summaries[name] = self.segments.put(torch.stack(all_rows, dim=1), axis=0)
        width = self.encoder.num_directions * self.encoder.output_size
        no_steps = finals[0].new_zeros(batch, 0, width)
        states = self.encoder.result(no_steps, final_state, self.lengths)
        return replace(states, summaries=summaries)


def _all_rows(piece: Tensor, segment: Segment) -> Tensor:
    """What a layer gets from the one below has the right rows already."""
    return piece


def _with_rows(values: Tensor, rows: int, empty: float) -> Tensor:
    """Values of the first rows, `(rows of a segment, ...)`, with this number for the others."""
    missing = (0, rows - len(values))
    return F.pad(values, (0, 0) * (values.dim() - 1) + missing, value=empty)


def read_forwards(
    segments: Sequence[Segment],
    read: Callable[[Segment, States], tuple[Any, States]],
    state: States,
) -> tuple[list[Any], list[Tensor]]:
    """Reads segments from the first to the last. Returns what `read` gave of each, and the state of
    each row after its own last step.

    Args:
        state: of the rows before their first step.
    """
    results = []
    ended: list[States] = []  # The states of the rows that end in each segment.
    rows_of_next_segments = [segment.rows for segment in segments[1:]]
    rows_of_next_segments.append(0)
    for segment, next_rows in zip(segments, rows_of_next_segments, strict=True):
        state = [part[:, : segment.rows] for part in state]
        result, state = read(segment, state)
        results.append(result)
        ended.append([part[:, next_rows:] for part in state])
    ended.reverse()  # The longest rows end last, and come first.
    finals = [torch.cat(parts, dim=1) for parts in zip(*ended, strict=True)]
    return results, finals


def states_backwards(
    segments: Sequence[Segment], read: Callable[[Segment, States], States], state: States
) -> list[States]:
    """Reads segments from the last to the second. Returns for each segment the state of the
    backward direction before it reads there.

    Args:
        state: of the rows before the step that this direction reads first.
    """
    entering: list[States] = []
    carried = [part[:, :0] for part in state]
    for segment in reversed(segments):
        new_rows = slice(carried[0].shape[1], segment.rows)
        before = [
            torch.cat([kept, first[:, new_rows].to(kept)], dim=1)
            for kept, first in zip(carried, state, strict=True)
        ]
        entering.append(before)
        if segment.number > 0:
            carried = list(read(segment, before))
    entering.reverse()
    return entering


def recomputed(
    run: Callable[..., tuple[Tensor, ...]], weights: Sequence[Tensor], *tensors: Tensor
) -> tuple[Tensor, ...]:
    """`run(*tensors)`, of which the graph keeps the tensors alone: the gradient runs it again, with
    the same random numbers. `torch.utils.checkpoint` would keep an empty graph of all operations,
    which for a cell of many small ones is as large as what they compute.

    Args:
        weights: the parameters that it reads.
    """
    if not torch.is_grad_enabled():
        return run(*tensors)
    return _Recomputed.apply(run, len(tensors), *tensors, *weights)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Any, count: int, *tensors_and_weights: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors_and_weights)
        ctx.run = run
        ctx.count = count
        tensors = tensors_and_weights[:count]
        device = tensors[0].device
        ctx.random_states = _random_states(device)
        is_autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type)
        ctx.autocast = (device.type, dtype, is_autocast)
        # What is chosen for a training must be chosen here, too, such as who drops features.
        with torch.enable_grad():
            results = run(*[tensor.detach() for tensor in tensors])
        constant = [result for result in results if not result.requires_grad]
        ctx.mark_non_differentiable(*constant)
        return tuple(result.detach() for result in results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved_tensors = ctx.saved_tensors
        needs_gradient = ctx.needs_input_grad[2:]
        tensors = []
        for tensor, needed in zip(saved_tensors[: ctx.count], needs_gradient, strict=False):
            tensors.append(tensor.detach().requires_grad_(needed))
        with (
            _random_numbers_from(ctx.random_states, tensors[0].device),
            torch.enable_grad(),
            torch.autocast(*ctx.autocast),
        ):
            results = ctx.run(*tensors)
        leaves = [*tensors, *saved_tensors[ctx.count :]]
        wanted = [leaf for leaf, needed in zip(leaves, needs_gradient, strict=True) if needed]
        reached = []
        gradients_of_reached = []
        for result, gradient in zip(results, gradients, strict=True):
            if gradient is not None and result.requires_grad:
                reached.append(result)
                gradients_of_reached.append(gradient)
        found: Iterator[Tensor | None] = iter(
            torch.autograd.grad(reached, wanted, gradients_of_reached, allow_unused=True)
        )
        by_leaf = [next(found) if needed else None for needed in needs_gradient]
        return None, None, *by_leaf


def _random_states(device: torch.device) -> list[Tensor]:
    """The random numbers of the CPU, and of this device if it is another."""
    states = [torch.get_rng_state()]
    if device.type != CPU:
        states.append(random_state(device))
    return states


@contextmanager
def _random_numbers_from(states: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Within: the random numbers that follow these states; afterwards, those from before."""
    states_before = _random_states(device)
    _set_random_states(states, device)
    try:
        yield
    finally:
        _set_random_states(states_before, device)


def _set_random_states(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type != CPU:
        set_random_state(device, states[1])
