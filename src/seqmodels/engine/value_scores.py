"""Scores of predicted numbers, in their own units, over all that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.device import exact, on_device
from seqmodels.nn.outputs import pinball

Predicted = Float[Tensor, "..."]  # (*rows, values), or (*rows, values, quantiles)
Targets = Float[Tensor, "*rows values"]
VALUE_SCORES = ("rmse", "mae", "r2")
QUANTILE_SCORES = (*VALUE_SCORES, "pinball", "coverage")


def decision(predicted: Tensor, levels: list[float] | None) -> Tensor:
    """The predictions themselves, or the medians among quantiles."""
    return predicted if levels is None else predicted[..., levels.index(0.5)]


def known_values(
    predicted: Tensor, targets: Tensor, levels: list[float] | None
) -> tuple[Tensor, Tensor]:
    """Decisions and targets `(N, K)` of all rows and steps whose K values are all known."""
    decided, targets = decision(predicted, levels).flatten(0, -2), targets.flatten(0, -2)
    known = ~targets.isnan().any(dim=-1)
    return decided[known], targets[known]


def value_sums(
    predicted: Predicted,
    targets: Targets,
    levels: list[float] | None = None,
    center: Tensor | float = 0.0,
    more: Callable[[Tensor], Sequence[Tensor]] = lambda errors: (),
) -> Float[Tensor, "parts values"]:
    """What `value_scores` are made of, for each of K values, over all rows with a target.

    Args:
        predicted, targets: with levels, `(..., K, Q)` and `(..., K)`; nan is no target.
        levels: of the quantiles in `predicted`, ascending.
        center: about the mean of the targets, for each of K: the variance of numbers that are far
            from 0 would lose its digits.
        more: makes further parts, `(..., K)` each, of the absolute errors; they are the last ones.
    """
    predicted, targets = exact(predicted.detach()), exact(targets)
    off, apart = decision(predicted, levels) - targets, targets - center
    errors = off.abs()
    parts = [torch.ones_like(off), off.square(), errors, apart, apart.square()]
    if levels is not None:
        of_levels = on_device(torch.tensor(levels, dtype=targets.dtype), targets.device)
        costs = pinball(targets.unsqueeze(-1) - predicted, of_levels)
        inside = (predicted[..., 0] <= targets) & (targets <= predicted[..., -1])
        parts += [costs.mean(-1), inside.to(off)]
    parts += more(errors)
    return torch.stack(parts).where(~targets.isnan(), 0.0).flatten(1, -2).sum(1)


def value_scores(sums: Float[Tensor, "parts values"]) -> dict[str, Tensor]:
    """The scores of all known values, by name.

    - `rmse`, `mae`: the root of the mean squared error, and the mean absolute error.
    - `r2`: the share of a value's variance that is explained, the mean over the K values. A value
      that is constant gives 1 if it is predicted exactly, else 0, as in scikit-learn; one that is
      known fewer than twice is left out.
    - with levels, `pinball`: the mean over values and quantiles of what `pinball` says, which is
      lowest for the true quantiles; and `coverage`: the share of values from the lowest to the
      highest quantile, both included. Compare it with what these quantiles promise, such as 0.8
      from 0.1 to 0.9.
    """
    known, squares, absolute, _, _, *of_quantiles = sums.sum(1)
    scores = {"rmse": (squares / known).sqrt(), "mae": absolute / known}
    count, squares, _, total, of_squares, *_ = sums
    spread = of_squares - total.square() / count.clamp(min=1)
    spread = spread.where(spread > 1e-12 * of_squares, 0.0)  # of a constant, but for rounding
    r2 = torch.where(spread > 0, 1 - squares / spread, (squares == 0).to(spread))
    scores["r2"] = r2.where(count > 1, torch.nan).nanmean()
    scores |= zip(QUANTILE_SCORES[3:], (part / known for part in of_quantiles), strict=False)
    return scores
