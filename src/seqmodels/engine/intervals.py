"""Move predicted quantiles by what those of a validation split lacked: split conformal
prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

MOST_ROWS = 5_000  # of the validation split to learn from, evenly spread over it


def quantile_shifts(
    quantiles: Float[Tensor, "rows values quantiles"],
    targets: Float[Tensor, "rows values"],
    levels: Sequence[float],
) -> Float[Tensor, "values quantiles"]:
    """How far to move each quantile of each value outwards, so that as many targets lie beyond it
    as its level says, for new rows that are exchangeable with these: the one-sided form of
    conformalized quantile regression (Romano, Patterson and Candès 2019,
    https://arxiv.org/abs/1905.03222). A quantile beyond which too few lie stays where it is, and so
    does the median.

    Args:
        quantiles, targets: of rows that the model has not learned from; nan is no target. Rows that
            are too few for a level, less than 9 of 0.9, move it to the furthest of them.
    """
    shifts = torch.zeros(quantiles.shape[1:], dtype=torch.float64)
    for number, level in enumerate(levels):
        if level == 0.5:
            continue
        outwards = 1 if level > 0.5 else -1
        share_inside = max(level, 1 - level)
        # by how much each target lies beyond the quantile; negative inside
        distances = outwards * (targets - quantiles[..., number]).double()
        for value, column in enumerate(distances.unbind(1)):
            known_distances = column[~column.isnan()].sort().values
            if not len(known_distances):
                continue
            # The rank for n rows is that of n + 1, of which the next row is one; rounded first,
            # because 10 * 0.9 is a little more than 9.
            rank = math.ceil(round((len(known_distances) + 1) * share_inside, 9))
            distance = float(known_distances[min(rank, len(known_distances)) - 1])
            shifts[value, number] = outwards * max(distance, 0.0)
    return shifts
