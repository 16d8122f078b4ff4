"""Where the steps of rows of different lengths lie when they are computed together."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

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
    with those that have not; elsewhere only where a call would have too many steps.

    Args:
        lengths: `(B,)`, longest first.
    """
    rows, longest = len(lengths), int(lengths[0])
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
    of time only the rows that have not ended. If all rows stay to the end, they are not sorted.

    Args:
        time: how many steps the padded rows have.
        exact: leave no padding: each step is a block.
    """

    def __init__(self, lengths: Tensor, time: int, device: torch.device, *, exact: bool) -> None:
        batch = lengths.shape[0]
        ordered, order = lengths.sort(descending=True, stable=True)
        self.shape, self.exact, self.longest = (batch, time), exact, int(ordered[0])
        if exact:
            counts = valid_steps(ordered, self.longest).sum(0)
        else:
            self.blocks = time_blocks(ordered, on_cpu=device.type == "cpu")
            counts = torch.cat([torch.full((b - a,), n) for a, b, n in self.blocks])
        self.sorted = int(counts[-1]) < batch
        if not self.sorted:
            ordered, order = lengths, torch.arange(batch)
        step = torch.arange(self.longest).repeat_interleave(counts)
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
        self.counts = counts  # of rows at each step

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
