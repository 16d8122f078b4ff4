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
    device = batch.inputs.device
    rows = torch.arange(len(batch), device=device)
    inputs = _gathered(batch.inputs, rows, on_device(starts, device), size)
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
    there = on_device(lengths, inputs.device)
    many = -(-there // size)
    rows = _rows(counts, inputs.device)
    numbers = torch.arange(len(rows), device=inputs.device) - (many.cumsum(0) - many)[rows]
    spare = (there - size).clamp(min=0)[rows]
    starts = spare * numbers // (many[rows] - 1).clamp(min=1)
    shown = lengths.repeat_interleave(counts).clamp(max=size)
    states = encoder(_gathered(inputs, rows, starts, size), shown)
    return replace(states, windows=counts)


def mean_over_windows(
    selected: Float[Tensor, "windows width"], counts: Int[Tensor, " batch"]
) -> Float[Tensor, "batch width"]:
    """The mean of the rows of each sequence, of which there are `counts` side by side."""
    sums = selected.new_zeros(len(counts), selected.shape[1])
    sums = sums.index_add(0, _rows(counts, selected.device), selected)
    return sums / on_device(counts, selected.device).unsqueeze(1)


def _rows(counts: Tensor, device: torch.device) -> Tensor:
    # the row of each of its windows
    rows = torch.arange(len(counts), device=device)
    return rows.repeat_interleave(on_device(counts, device), output_size=int(counts.sum()))


def _gathered(inputs: Tensor, rows: Tensor, starts: Tensor, size: int) -> Tensor:
    # (B, T, ...) -> (W, size, ...): what lies after the end of a window never matters
    steps = starts.unsqueeze(1) + torch.arange(size, device=inputs.device)
    return inputs[rows.unsqueeze(1), steps.clamp(max=inputs.shape[1] - 1)]
