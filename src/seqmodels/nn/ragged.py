"""Run an `nn.LSTM`, `nn.GRU` or `nn.RNN` on rows of different lengths without packing.

On a CPU, a `PackedSequence` with unequal lengths falls off oneDNN's fused LSTM and runs step by
step, which costs more than the padding it saves. Here each layer and direction is one call on
padded rows. The result is exact, because:

- steps after a row's end never change its valid steps: forward, `h_n` is `output` at `length - 1`;
- the backward direction is a forward pass over each row reversed within its own length;
- padded steps keep `c_n`, which no `output` holds: a column that is 1 at padding drives the input
  gate to exactly 0 and the forget gate to exactly 1.

To save work on a CPU, the batch is sorted by length and cut in time into a few blocks, each with
only the rows that have not ended. On an accelerator the number of steps is what costs time, so the
batch stays whole there. On a CPU, a GRU and an RNN, which oneDNN lacks, run by hand, without any
padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.recurrence import CALLS, LayerByHand, runs_by_hand
from seqmodels.nn.state import State, parts_of, state_of
from seqmodels.padding import valid_steps

# Measured (benchmarks/packing.py): one more block costs about as much as this many padded steps,
# and with more than 8 blocks each call gets too small to be faster.
STEPS_PER_BLOCK = 128
MOST_BLOCKS = 8
# cuDNN fails on more steps (https://github.com/pytorch/pytorch/issues/133751)
MOST_STEPS = 65_535
# sigmoid(-1e4) == 0 and sigmoid(1e4) == 1 in every floating-point type, as long as the gate's other
# inputs stay well below 1e4 in size (fp16 ends at 65504, so it can't be much larger)
SATURATED = 1e4


class _Permute(torch.autograd.Function):
    """Reorders rows by an index that is its own inverse; the gradient is reordered alike."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _Permute.apply(gradient, index), None


def time_blocks(lengths: Tensor) -> list[tuple[int, int, int]]:
    """Cuts a batch in time where rows end: `(start, stop, rows that have not ended)`.

    Args:
        lengths: `(B,)`, longest first.
    """
    rows, longest = len(lengths), int(lengths[0])
    padded_steps = rows * longest - int(lengths.sum())
    count = min(max(int((padded_steps / STEPS_PER_BLOCK) ** 0.5), 1), MOST_BLOCKS)
    stops = sorted({int(lengths[rows * block // count]) for block in range(count)})
    starts = [0, *stops[:-1]]
    return [(a, b, int((lengths > a).sum())) for a, b in zip(starts, stops, strict=True)]


def long_calls(longest: int, rows: int) -> list[tuple[int, int, int]]:
    """As `time_blocks`, but cuts a batch only where a call would have too many steps."""
    starts = range(0, longest, MOST_STEPS)
    return [(start, min(start + MOST_STEPS, longest), rows) for start in starts]


class Rows:
    """Where the steps of a batch lie, `(N, ...)`: time first, the longest row first, in each block
    of time only the rows that have not ended. If all rows stay to the end, they are not sorted.

    Args:
        time: how many steps the padded rows have.
        exact: leave no padding in the blocks.
    """

    def __init__(self, lengths: Tensor, time: int, device: torch.device, *, exact: bool) -> None:
        batch = lengths.shape[0]
        ordered, order = lengths.sort(descending=True, stable=True)
        self.shape, self.exact = (batch, time), exact
        self.longest = int(ordered[0])
        if exact:
            self.blocks = [(0, self.longest, batch)]
        elif device.type == "cpu":
            self.blocks = time_blocks(ordered)
        else:
            self.blocks = long_calls(self.longest, batch)
        self.sorted = exact or self.blocks[-1][2] < batch
        if exact:
            counts = valid_steps(ordered, self.longest).sum(0)
        else:
            counts = torch.cat([torch.full((b - a,), n) for a, b, n in self.blocks])
        if self.sorted:
            step = torch.arange(self.longest).repeat_interleave(counts)
        else:
            ordered, order = lengths, torch.arange(batch)
            step = torch.arange(self.longest).unsqueeze(1).expand(-1, batch).flatten()
        starts = counts.cumsum(0) - counts  # of steps
        row = torch.arange(step.shape[0]) - starts.index_select(0, step)
        length = ordered.index_select(0, row)
        mirrored = torch.where(step < length, length - 1 - step, step)
        on_device = partial(torch.Tensor.to, device=device, non_blocking=True)
        self.order, self.original = on_device(order), on_device(order.argsort())
        self.row, self.padding = on_device(row), on_device((step >= length).unsqueeze(1))
        self.places = on_device(order.index_select(0, row) * time + step)  # in `(B * T, ...)`
        self.reversal = on_device(starts.index_select(0, mirrored) + row)
        self.last = on_device(starts.index_select(0, ordered - 1) + torch.arange(batch))
        self.counts = counts

    def take(self, inputs: Tensor) -> Tensor:
        """`(B, T, F) -> (N, F)`, zero at padding."""
        if self.sorted:
            steps = inputs.flatten(0, 1).index_select(0, self.places)
        else:
            steps = inputs[:, : self.longest].transpose(0, 1).flatten(0, 1)
        return steps if self.exact else steps.masked_fill(self.padding, 0.0)

    def put(self, steps: Tensor) -> Tensor:
        """`(N, F) -> (B, T, F)`, zero at padding."""
        batch, time = self.shape
        if not self.exact:
            steps = steps.masked_fill(self.padding, 0.0)
        if self.sorted:
            padded = steps.new_zeros(batch * time, steps.shape[1]).index_add(0, self.places, steps)
            return padded.unflatten(0, self.shape)
        steps = steps.unflatten(0, (self.longest, batch))
        return F.pad(steps, (0, 0, 0, 0, 0, time - self.longest)).transpose(0, 1)

    def turned(self, steps: Tensor, direction: int) -> Tensor:
        """As a direction reads them, or back: each row reversed within its own length."""
        return _Permute.apply(steps, self.reversal) if direction else steps


def run_padded(
    rnn: nn.RNNBase,
    inputs: Tensor,
    lengths: Tensor,
    state: State | None = None,
    *,
    locked_dropout: bool = False,
) -> tuple[Tensor, State]:
    """Same result as `rnn(pack_padded_sequence(inputs, lengths))`, padded back to `T` steps.

    Args:
        rnn: built with `batch_first=True`.
        inputs: `(B, T, F)`. The content of the padding has no effect.
        lengths: `(B,)` int64 on the CPU.
        state: `(h, c)` for LSTM, else `h`, each `(L*D, B, ...)`; None means zeros.
        locked_dropout: the dropout between layers drops the same features at all steps of a row.

    Returns:
        `output` `(B, T, D*H)`, zero at padding, and the final state in the layout of `state`.
    """
    by_hand = runs_by_hand(rnn, inputs)
    rows = Rows(lengths, inputs.shape[1], inputs.device, exact=by_hand)
    directions = 2 if rnn.bidirectional else 1
    if state is None:
        widths = (rnn.proj_size or rnn.hidden_size, rnn.hidden_size)
        start = [
            inputs.new_zeros(rnn.num_layers * directions, inputs.shape[0], width)
            for width in (widths if rnn.mode == "LSTM" else widths[:1])
        ]
    else:
        start = [part.index_select(1, rows.order) for part in parts_of(state)]

    layer = rows.take(inputs)
    finals: list[tuple[Tensor, ...]] = []
    for number in range(rnn.num_layers):
        if number > 0 and rnn.dropout:
            if locked_dropout:
                mask = F.dropout(
                    layer.new_ones(len(lengths), layer.shape[1]), rnn.dropout, rnn.training
                )
                layer = layer * mask.index_select(0, rows.row)
            else:
                layer = F.dropout(layer, rnn.dropout, rnn.training)
        indices = range(number * directions, (number + 1) * directions)
        weights = rnn.all_weights[indices.start : indices.stop]
        if by_hand:
            h_0 = start[0][indices.start : indices.stop]
            layer, h_n = LayerByHand.apply(rnn.mode, rows, layer, h_0, *chain(*weights))
            finals += [(h,) for h in h_n]
            continue
        if rnn.mode == "LSTM":
            layer = torch.cat([layer, rows.padding.to(layer.dtype)], dim=1)
        outputs = []
        for direction, index in enumerate(indices):
            output, final = _run_direction(
                rnn,
                weights[direction],
                rows.turned(layer, direction),
                tuple(part[index].unsqueeze(0) for part in start),
                rows,
            )
            finals.append(final)
            outputs.append(rows.turned(output, direction))
        layer = torch.cat(outputs, dim=1) if directions == 2 else outputs[0]

    states = (torch.stack(part) for part in zip(*finals, strict=True))
    return rows.put(layer), state_of(*(x.index_select(1, rows.original) for x in states))


def side_by_side(weights: Sequence[Tensor]) -> list[Tensor]:
    """The same weights in one piece of memory; else cuDNN copies them at every call, and warns."""
    parts = torch.cat([weight.flatten() for weight in weights]).split([w.numel() for w in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def _run_direction(
    rnn: nn.RNNBase,
    weights: Sequence[Tensor],
    steps: Tensor,
    state: tuple[Tensor, ...],
    rows: Rows,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer, one direction: `output` `(N, H)`, and final `(h, c)` or `(h,)`, `(B, ...)`."""
    is_lstm = rnn.mode == "LSTM"
    if is_lstm:
        column = torch.zeros_like(weights[0][:, :1])  # gates in PyTorch's order: i, f, g, o
        column[: rnn.hidden_size] = -SATURATED
        column[rnn.hidden_size : 2 * rnn.hidden_size] = SATURATED
        weights = [torch.cat([weights[0], column], dim=1), *weights[1:]]
    if steps.device.type == "cuda":
        weights = side_by_side(weights)
    outputs: list[Tensor] = []
    ended: list[Tensor] = []  # c_n of the rows that end in each block
    shapes = [(stop - start, count) for start, stop, count in rows.blocks]
    still_running = [*(count for _, count in shapes[1:]), 0]
    parts = steps.split([length * count for length, count in shapes])
    for part, (length, count), still in zip(parts, shapes, still_running, strict=True):
        state = tuple(x[:, :count] for x in state)
        output, *state_list = CALLS[rnn.mode](
            part.unflatten(0, (length, count)),
            state if is_lstm else state[0],
            weights,
            rnn.bias,
            1,  # layers
            0.0,  # dropout between them
            rnn.training,
            False,  # bidirectional
            False,  # batch_first
        )
        state = tuple(state_list)
        outputs.append(output.flatten(0, 1))
        if is_lstm:
            ended.append(state[1][0, still:])
    output = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    h_n = output.index_select(0, rows.last)
    return output, (h_n, torch.cat(ended[::-1])) if is_lstm else (h_n,)
