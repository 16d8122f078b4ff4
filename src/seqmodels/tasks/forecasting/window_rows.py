"""What a forecaster reads of a window: scaled by itself, in segments."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.padding import last_step, masked_mean

LEAST_DEVIATION = 0.1  # of a window, in deviations of its series: a constant one isn't blown up

Window = Float[Tensor, "batch time values"]
Lengths = Int[Tensor, " batch"]


def window_scale(values: Window, lengths: Lengths, norm: str | None) -> tuple[Tensor, Tensor]:
    """What to subtract from a window, and what to divide it by then, `(B, 1, K)` each.

    Args:
        norm: `last`: its last value, and 1 (NLinear, Zeng et al. 2023,
            https://arxiv.org/abs/2205.13504); `standard`: its mean and deviation (RevIN, Kim et al.
            2022, https://openreview.net/forum?id=cGDAkQo1C0p); None: 0 and 1.
    """
    if norm is None:
        return torch.zeros_like(values[:, :1]), torch.ones_like(values[:, :1])
    if norm == "last":
        last = last_step(values, lengths).unsqueeze(1)
        return last, torch.ones_like(last)
    mean = masked_mean(values, lengths).unsqueeze(1)
    variance = masked_mean((values - mean).square(), lengths).unsqueeze(1)
    return mean, variance.sqrt().clamp(min=LEAST_DEVIATION)


def segments(
    rows: Float[Tensor, "batch time features"], lengths: Lengths, size: int
) -> tuple[Float[Tensor, "batch segments size features"], Lengths]:
    """Each row in segments of `size` steps, the last of which ends at the row's own last step, and
    how many there are of each. The first one repeats the row's first step where steps lack."""
    counts = (lengths + size - 1) // size  # ONNX would round a negative quotient up
    longest = (rows.shape[1] + size - 1) // size
    steps = _steps_from(lengths - counts * size, longest * size, rows)
    return steps.unflatten(1, (longest, size)), counts


def newest_steps(rows: Window, lengths: Lengths, size: int) -> Float[Tensor, "batch newest values"]:
    """The last `size` steps of each row before its padding; the first of them repeats the row's
    first step where steps lack."""
    return _steps_from(lengths - size, size, rows)


def _steps_from(first: Lengths, count: int | torch.SymInt, rows: Tensor) -> Tensor:
    steps = torch.arange(count, device=rows.device)  # type: ignore[arg-type]
    steps = steps + first.to(rows.device, non_blocking=True).unsqueeze(1)
    index = steps.clamp(0, rows.shape[1] - 1).unsqueeze(2).expand(-1, -1, rows.shape[2])
    return rows.gather(1, index)
