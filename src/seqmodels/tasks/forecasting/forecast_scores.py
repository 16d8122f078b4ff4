"""Scores of forecasts: those of numbers, and errors relative to what is usual of a series."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.engine.value_scores import value_parts, value_scores

SCALED_SCORES = ("mase", "standardised_mse", "standardised_mae")
Values = Float[Tensor, "batch horizon values"]
OfRows = Float[Tensor, "batch 1 values"]


def forecast_parts(
    made: Values | Float[Tensor, "batch horizon values quantiles"],
    targets: Values,
    naive_error: OfRows,
    deviation: OfRows,
    levels: list[float] | None,
    center: Float[Tensor, " values"],
) -> Float[Tensor, "parts batch horizon values"]:
    """What `forecast_scores` adds up of each forecast: the `SCALED_SCORES`, then `value_parts`.

    Args:
        made, targets: in their own units; targets are nan where they are missing.
        naive_error, deviation: of the series of each row, to divide by.
        levels: of the quantiles in `made`.
        center: as `value_parts` takes it; the same for all rows, because a variance is.
    """
    values = value_parts(made, targets, levels, center)
    known, _, off, *_ = values
    scaled = torch.stack([off / naive_error, (off / deviation).square(), off / deviation])
    return torch.cat([scaled.where(known > 0, 0.0), values])


def known_count(sums: Float[Tensor, "parts cells"]) -> int:
    """How many targets are known."""
    return int(sums[len(SCALED_SCORES)].sum())


def forecast_scores(
    sums: Float[Tensor, "parts cells"], each: Float[Tensor, "parts others"]
) -> dict[str, Tensor]:
    """The scores of all forecasts together, by name.

    Args:
        each: the sums of all whose variance counts by itself in `r2`.
    """
    count = len(SCALED_SCORES)
    means = sums[:count].sum(1) / sums[count].sum()
    scores = value_scores(sums[count:], each[count:])
    return {**scores, **dict(zip(SCALED_SCORES, means, strict=True))}
