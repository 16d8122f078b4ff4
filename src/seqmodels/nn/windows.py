"""Read parts of sequences: random ones in training, windows that cover long ones otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.device import on_device
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
    rows = _rows(counts)
    numbers = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    starts = (lengths - size).clamp(min=0)[rows] * numbers // (counts[rows] - 1).clamp(min=1)
    states = encoder(_gathered(inputs, rows, starts, size), lengths[rows].clamp(max=size))
    return replace(states, windows=counts)


def mean_over_windows(
    selected: Float[Tensor, "windows width"], counts: Int[Tensor, " batch"]
) -> Float[Tensor, "batch width"]:
    """The mean of the rows of each sequence, of which there are `counts` side by side."""
    sums = selected.new_zeros(len(counts), selected.shape[1])
    sums = sums.index_add(0, on_device(_rows(counts), selected.device), selected)
    return sums / on_device(counts, selected.device).unsqueeze(1)


def _rows(counts: Tensor) -> Tensor:  # the row of each window
    return torch.arange(len(counts)).repeat_interleave(counts)


def _gathered(inputs: Tensor, rows: Tensor, starts: Tensor, size: int) -> Tensor:
    # (B, T, ...) -> (W, size, ...): what lies after the end of a window never matters
    rows, starts = (on_device(each, inputs.device).unsqueeze(1) for each in (rows, starts))
    steps = starts + torch.arange(size, device=inputs.device)
    return inputs[rows, steps.clamp(max=inputs.shape[1] - 1)]
