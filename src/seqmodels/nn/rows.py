"""Where the steps of rows of different lengths lie when they are computed together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.device import on_device
from seqmodels.padding import valid_steps

# Measured (benchmarks/packing.py): one more block costs about as much as this many padded steps,
# and with more than 8 blocks each call gets too small to be faster.
STEPS_PER_BLOCK = 128
MOST_BLOCKS = 8
# cuDNN fails on more steps (https://github.com/pytorch/pytorch/issues/133751)
MOST_STEPS = 65_535


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


def time_blocks(lengths: Tensor, *, on_cpu: bool) -> list[tuple[int, int, int]]:
    """Cuts a batch in time: `(start, stop, rows of the block)`. On a CPU where rows end, each block
    with those that have not; elsewhere only where a call would have too many steps. `lengths` are
    on a CPU longest first."""
    rows, longest = len(lengths), int(lengths.max())
    stops = {longest, *range(MOST_STEPS, longest, MOST_STEPS)}
    if on_cpu:
        padded_steps = rows * longest - int(lengths.sum())
        count = min(max(int((padded_steps / STEPS_PER_BLOCK) ** 0.5), 1), MOST_BLOCKS)
        stops = {int(lengths[rows * block // count]) for block in range(count)}
    starts = [0, *sorted(stops)[:-1]]
    counts = [int((lengths > start).sum()) if on_cpu else rows for start in starts]
    return list(zip(starts, sorted(stops), counts, strict=True))


class Rows:
    """Where the steps of a batch lie, `(N, ...)`: time first, the longest row first, in each block
    of time only the rows that have not ended. If all rows stay to the end, as on an accelerator,
    they are not sorted, and all follows from the lengths, on the device. `N` is the sum of the rows
    in all blocks, times their steps.

    Args:
        lengths: `(B,)` on the CPU.
        time: how many steps the padded rows have.
        exact: leave no padding: each step is a block. On a CPU alone.
    """

    def __init__(self, lengths: Tensor, time: int, device: torch.device, *, exact: bool) -> None:
        batch, longest, on_cpu = len(lengths), int(lengths.max()), device.type == "cpu"
        self.shape, self.longest, self.sorted = (batch, time), longest, False
        self.padded = not exact and bool((lengths < longest).any())
        rows, steps = (torch.arange(n, device=device) for n in (batch, longest))
        if on_cpu:
            length, order = lengths.sort(descending=True, stable=True)
            if exact:
                counts = valid_steps(length, longest).sum(0)
            else:
                self.blocks = time_blocks(length, on_cpu=True)
                counts = torch.cat([torch.full((b - a,), n) for a, b, n in self.blocks])
            self.sorted, self.counts = int(counts[-1]) < batch, counts  # of rows at each step
        else:
            self.blocks = time_blocks(lengths, on_cpu=False)
        if self.sorted:
            step, starts = steps.repeat_interleave(counts), counts.cumsum(0) - counts
            row = torch.arange(len(step)) - starts.index_select(0, step)
            self.order, self.original = order, order.argsort()  # (B,) there, and back
            self.places = order.index_select(0, row) * time + step  # (N,) in `(B * T, ...)`
        else:
            step, row = steps.unsqueeze(1).expand(-1, batch).flatten(), rows.repeat(longest)
            starts, length = steps * batch, on_device(lengths, device)
        ends = length.index_select(0, row)
        mirrored = torch.where(step < ends, ends - 1 - step, step)
        self.row, self.padding = row, (step >= ends).unsqueeze(1)  # (N,), (N, 1): of each step
        self.reversal = starts.index_select(0, mirrored) + row  # (N,) in `(N, ...)`
        self.last = starts.index_select(0, length - 1) + rows  # (B,) in `(N, ...)`

    def take(self, inputs: Tensor) -> Tensor:
        """`(B, T, F) -> (N, F)`, zero at padding."""
        if self.sorted:
            steps = inputs.flatten(0, 1).index_select(0, self.places)
        else:
            steps = inputs[:, : self.longest].transpose(0, 1).flatten(0, 1)
        return steps.masked_fill(self.padding, 0.0) if self.padded else steps

    def take_states(self, states: Tensor) -> Tensor:
        """`(L*D, B, ...)` in the order of these rows."""
        return states.index_select(1, self.order) if self.sorted else states

    def put_states(self, states: Tensor) -> Tensor:
        """`(L*D, B, ...)` in the order of the batch."""
        return states.index_select(1, self.original) if self.sorted else states

    def put(self, steps: Tensor) -> Tensor:
        """`(N, F) -> (B, T, F)`, zero at padding."""
        batch, time = self.shape
        if self.padded:
            steps = steps.masked_fill(self.padding, 0.0)
        if self.sorted:
            padded = steps.new_zeros(batch * time, steps.shape[1]).index_add(0, self.places, steps)
            return padded.unflatten(0, self.shape)
        steps = steps.unflatten(0, (self.longest, batch))
        return F.pad(steps, (0, 0, 0, 0, 0, time - self.longest)).transpose(0, 1)

    def turned(self, steps: Tensor, direction: int) -> Tensor:
        """As a direction reads them, or back: each row reversed within its own length."""
        return _Permute.apply(steps, self.reversal) if direction else steps
