"""Rows of different lengths, padded at the end, in any model of yours. Needs PyTorch alone.

`rows` are `(B, T, ...)`, and `lengths`, a list or a tensor `(B,)`, say how many steps of each are
valid: 1 to T. What stands in the padding never matters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.device import on_device

Lengths = Tensor | Sequence[int]


def valid_steps(
    lengths: Lengths, time: int | torch.SymInt, device: torch.device | str | None = None
) -> Tensor:
    """True at each row's valid steps: `(B, T)` bool on `device`, `lengths`' own if None."""
    steps = torch.arange(time, device=device or getattr(lengths, "device", "cpu"))  # type: ignore[arg-type]
    return steps < _on(steps, lengths).unsqueeze(1)


def flat_steps(lengths: Tensor, time: int, device: torch.device) -> Tensor:
    """Where the valid steps lie in `rows.flatten(0, 1)`, as a number each, on `device`: what a
    boolean index finds, without a wait for the device.

    Args:
        lengths: on the CPU.
    """
    there, count = on_device(lengths, device), int(lengths.sum())
    before = torch.arange(len(there), device=device) * time - (there.cumsum(0) - there)
    skipped = before.repeat_interleave(there, output_size=count)
    return torch.arange(count, device=device) + skipped


def reverse_by_length(rows: Tensor, lengths: Lengths) -> Tensor:
    """Each row reversed within its own length; the padding stays at the end, as it is.

    What a backward direction reads. `torch.flip` would begin with the padding.
    """
    steps = torch.arange(rows.shape[1], device=rows.device)
    last = _on(rows, lengths).unsqueeze(1) - 1
    return _at(rows, torch.where(steps <= last, last - steps, steps))


def last_step(rows: Tensor, lengths: Lengths) -> Tensor:
    """`(B, T, ...) -> (B, ...)`: each row's own last step, where `rows[:, -1]` may be padding.

    For `output` of one direction, that is `h_n[-1]`; of two, the backward half has seen one step.
    """
    return _at(rows, _on(rows, lengths).unsqueeze(1) - 1).squeeze(1)


def masked_mean(rows: Tensor, lengths: Lengths) -> Tensor:
    """`(B, T, ...) -> (B, ...)`: the mean over the valid steps."""
    total = rows.masked_fill(_padding(rows, lengths), 0.0).sum(dim=1)
    return total / _on(rows, lengths).view(-1, *[1] * (total.dim() - 1))


def masked_max(rows: Tensor, lengths: Lengths) -> Tensor:
    """`(B, T, ...) -> (B, ...)`: the maximum over the valid steps."""
    return rows.masked_fill(_padding(rows, lengths), -torch.inf).amax(dim=1)


def masked_softmax(scores: Tensor, lengths: Lengths) -> Tensor:
    """`(B, T, ...)`, over T: 0 at padding, each row sums to 1. The weights of an attention."""
    return scores.masked_fill(_padding(scores, lengths), -torch.inf).softmax(dim=1)


def _at(rows: Tensor, index: Tensor) -> Tensor:  # (B, T, ...), (B, S) -> (B, S, ...)
    wide = index.view(*index.shape, *[1] * (rows.dim() - 2))
    return rows.gather(1, wide.expand(*index.shape, *rows.shape[2:]))


def _padding(rows: Tensor, lengths: Lengths) -> Tensor:  # (B, T, 1, ...)
    valid = valid_steps(lengths, rows.shape[1], rows.device)
    return ~valid.view(*valid.shape, *[1] * (rows.dim() - 2))


def _on(rows: Tensor, lengths: Lengths) -> Tensor:
    return on_device(torch.as_tensor(lengths), rows.device)
