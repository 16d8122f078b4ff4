"""Scores of predicted numbers, in their own units, over all that are known."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from seqmodels.nn.values import pinball

Predictions = Float[Tensor, "rows values"] | Float[Tensor, "rows values quantiles"]
Targets = Float[Tensor, "rows values"]


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


def named_values(
    row: Sequence[Any], names: Sequence[str], levels: Sequence[str] = ()
) -> dict[str, Any]:
    """A row's K values by the name of their column; with levels, the Q of each by these."""
    columns = zip(names, row, strict=True)
    return {name: dict(zip(levels, of, strict=True)) if levels else of for name, of in columns}


class ValueScore(Metric):
    """A score of predictions `(N, K)` against targets `(N, K)`, nan where there is none.

    Predictions are kept until `compute`, so that a score doesn't depend on how they were batched.

    Args:
        levels: of quantiles, ascending; predictions are then `(N, K, Q)`, in this order.
    """

    full_state_update = False
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, levels: list[float] | None = None) -> None:
        super().__init__()
        self.levels = levels
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, preds: Predictions, target: Targets) -> None:
        self.preds.append(preds.float())
        self.target.append(target.float())

    def compute(self) -> Tensor:
        return self.score(dim_zero_cat(self.preds), dim_zero_cat(self.target))

    @abstractmethod
    def score(self, predicted: Predictions, targets: Targets) -> Float[Tensor, ""]:
        """The score of all predictions."""


class RMSE(ValueScore):
    """The root of the mean squared error over all known values."""

    def score(self, predicted: Predictions, targets: Targets) -> Tensor:
        return (decision(predicted, self.levels) - targets).square().nanmean().sqrt()


class MAE(ValueScore):
    """The mean absolute error over all known values."""

    def score(self, predicted: Predictions, targets: Targets) -> Tensor:
        return (decision(predicted, self.levels) - targets).abs().nanmean()


class R2(ValueScore):
    """The share of a value's variance that the predictions explain; the mean over the K values.

    A value that is constant gives 1 if it is predicted exactly, else 0, as in scikit-learn; one
    that is known fewer than twice is left out. torchmetrics takes small values for constant ones,
    and squares large ones before it subtracts their mean.
    """

    def score(self, predicted: Predictions, targets: Targets) -> Tensor:
        left = (decision(predicted, self.levels) - targets).square().nansum(dim=0)
        spread = (targets - targets.nanmean(dim=0)).square().nansum(dim=0)
        scores = torch.where(spread > 0, 1 - left / spread, (left == 0).float())
        return scores.where((~targets.isnan()).sum(dim=0) > 1, torch.nan).nanmean()


class Pinball(ValueScore):
    """The mean pinball loss over all known values and quantiles: a target `e` above its quantile
    `q` costs `q * e`, one below it `(1 - q) * e`. It is lowest for the true quantiles."""

    def score(self, predicted: Predictions, targets: Targets) -> Tensor:
        errors = targets.unsqueeze(-1) - predicted
        levels = torch.tensor(self.levels, device=errors.device)
        return pinball(errors, levels).nanmean()


class Coverage(ValueScore):
    """The share of known values from the lowest to the highest quantile, both included.

    Compare it with what these quantiles promise, such as 0.8 from 0.1 to 0.9: more is not better,
    because a wider interval always covers more. `Pinball` is the score to choose a model by.
    """

    def score(self, predicted: Predictions, targets: Targets) -> Tensor:
        inside = (predicted[..., 0] <= targets) & (targets <= predicted[..., -1])
        return inside.float().where(~targets.isnan(), torch.nan).nanmean()


def value_scores(levels: list[float] | None = None) -> dict[str, Metric]:
    """The scores of a task that predicts numbers, by name; with quantiles, also the intervals'
    scores. Empty only with targets: a split without any known value gives nan."""
    scores: dict[str, Metric] = {"rmse": RMSE(levels), "mae": MAE(levels), "r2": R2(levels)}
    if levels is not None:
        scores |= {"pinball": Pinball(levels), "coverage": Coverage(levels)}
    return scores
