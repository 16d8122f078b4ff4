"""Read parts of sequences: random ones in training, windows that cover long ones otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.nn.encoder import RNNOutput


def random_windows(batch: SequenceBatch, size: int) -> SequenceBatch:
    """Cuts each sequence that is longer than `size` to a random window of that many steps."""
    if int(batch.lengths.max()) <= size:
        return batch
    kept = batch.lengths.clamp(max=size)
    spare = batch.lengths - kept
    starts = (torch.rand(len(batch)) * (spare + 1)).long().clamp(max=spare)
    inputs = _gathered(batch.inputs, torch.arange(len(batch)), starts, size)
    return replace(batch, inputs=inputs, lengths=kept)


def read_in_windows(
    encoder: Callable[[Tensor, Tensor], RNNOutput],
    inputs: Float[Tensor, "batch time features"],
    lengths: Int[Tensor, " batch"],
    size: int,
) -> RNNOutput:
    """Runs the encoder over windows of at most `size` steps, each from a zero state.

    A longer sequence has as few windows as cover it, evenly spread: they overlap where its length
    is not a multiple of `size`. They are rows of the result, side by side, and its `windows` says
    how many there are of each sequence.
    """
    if int(lengths.max()) <= size:
        return encoder(inputs, lengths)
    counts = -(-lengths // size)
    rows = torch.arange(len(lengths)).repeat_interleave(counts)
    numbers = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    spare = (lengths - size).clamp(min=0)[rows]
    starts = spare * numbers // (counts[rows] - 1).clamp(min=1)
    states = encoder(_gathered(inputs, rows, starts, size), lengths[rows].clamp(max=size))
    return replace(states, windows=counts)


def mean_over_windows(
    selected: Float[Tensor, "windows width"], counts: Int[Tensor, " batch"]
) -> Float[Tensor, "batch width"]:
    """The mean of the rows of each sequence, of which there are `counts` side by side."""
    rows = torch.arange(len(counts)).repeat_interleave(counts)
    device = selected.device
    sums = selected.new_zeros(len(counts), selected.shape[1])
    sums = sums.index_add(0, rows.to(device, non_blocking=True), selected)
    return sums / counts.to(device, non_blocking=True).unsqueeze(1)


def _gathered(inputs: Tensor, rows: Tensor, starts: Tensor, size: int) -> Tensor:
    # (B, T, ...) -> (W, size, ...): what lies after the end of a window never matters
    steps = (starts.unsqueeze(1) + torch.arange(size)).clamp(max=inputs.shape[1] - 1)
    device = inputs.device
    index = (rows.unsqueeze(1).to(device, non_blocking=True), steps.to(device, non_blocking=True))
    return inputs[index]
