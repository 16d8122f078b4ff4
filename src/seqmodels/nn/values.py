"""Outputs that predict numbers: single values, or quantiles of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.arguments import PositiveFraction, checked
from seqmodels.errors import UserError
from seqmodels.nn.outputs import Features, Mask, Output


class Standardised(Output):
    """Numbers that are learned standardised and decided in their own units.

    Args:
        num_values: how many numbers, K, each prediction consists of.
        mean, deviation: one per value, as used to standardise the targets; None: the targets are
            in their own units.
    """

    project: nn.Module  # features to logits; of a subclass
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        num_values: int,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.num_values = num_values
        for name, value, usual in (("mean", mean, 0.0), ("deviation", deviation, 1.0)):
            scale = torch.tensor([usual] * num_values if value is None else value)
            self.register_buffer(name, scale, persistent=False)  # already saved in the data's spec

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return self.loss_and_decision(features, targets, mask)[0]

    def restore(self, standardised: Float[Tensor, "*steps values"]) -> Tensor:
        """Standardised values `(..., K)` in their own units."""
        return standardised * self.deviation + self.mean

    def known(self, targets: Tensor, mask: Mask) -> Tensor:
        """Where there is a target, `(..., K)` bool, of targets `(..., K)`."""
        known = ~targets.isnan()
        return known if mask is None else known & mask.unsqueeze(-1)


ErrorName = Literal["mse", "mae", "huber"]
ERRORS: dict[str, Callable[..., Tensor]] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
}


class ValueOutput(Standardised):
    """Predicts `num_values` numbers: logits `(B, K)`, or `(B, T, K)` at every step.

    Args:
        width: of the features.
        num_values, mean, deviation: as `Standardised` documents them.
        error: `mse` (squared), `mae` (absolute) or `huber` (quadratic below 1, linear above); the
            loss is its mean over the targets that are known: not nan, and not at padding.

    Raises:
        UserError: for an unknown error.
    """

    @checked("model.output")
    def __init__(
        self,
        width: int,
        num_values: int,
        *,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        error: ErrorName = "mse",
    ) -> None:
        super().__init__(num_values, mean, deviation)
        self.project = nn.Linear(width, num_values)
        self.error = error

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.restore(self(features))

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        predictions = self(features)
        targets = targets.view_as(predictions)  # (B,) or (B, T) if there is one value
        known = self.known(targets, mask)
        targets = targets.where(known, predictions.detach())  # no error, and no gradient
        errors = ERRORS[self.error](predictions, targets, reduction="sum")
        return errors / known.sum().clamp(min=1), self.restore(predictions.detach())


def pinball(
    errors: Float[Tensor, "*values quantiles"], levels: Float[Tensor, " quantiles"]
) -> Float[Tensor, "*values quantiles"]:
    """What quantiles cost: a target `e` above the one of level `q` costs `q * e`, one below it
    `(1 - q) * e`. The mean is lowest for the true quantiles.

    Args:
        errors: targets less quantiles.
    """
    return torch.maximum(levels * errors, (levels - 1) * errors)


class Quantiles(Standardised):
    """Predicts quantiles of `num_values` numbers: logits `(..., K * Q)`, the quantiles of a
    value side by side.

    The loss is the mean pinball loss over known targets and quantiles, in standardised units: a
    target `e` above its predicted quantile `q` costs `q * e`, one below it `(1 - q) * e` (Koenker
    and Bassett 1978). Quantiles are sorted, so they never cross, which can only lower that loss
    (Chernozhukov et al. 2010, https://arxiv.org/abs/0704.3649). The decision is the median.

    Args:
        width: of the features.
        num_values, mean, deviation: as `Standardised` documents them.
        quantiles: Q of them, ascending, between 0 and 1, with the median 0.5.

    Raises:
        UserError: for other quantiles.
    """

    levels: Tensor

    def __init__(
        self,
        width: int,
        num_values: int,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        *,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_values, mean, deviation)
        levels = list(quantiles)
        ascending = all(low < high for low, high in pairwise([0, *levels, 1]))
        if not ascending or 0.5 not in levels:
            raise UserError(
                f"model.output.quantiles is {levels}: give numbers between 0 and 1 in ascending "
                "order, with the median among them, such as [0.1,0.5,0.9]"
            )
        self.median = levels.index(0.5)
        self.project = nn.Linear(width, num_values * len(levels))
        self.register_buffer("levels", torch.tensor(levels), persistent=False)

    def quantiles(self, logits: Tensor) -> Float[Tensor, "*steps values quantiles"]:
        """The quantiles `(..., K, Q)` of logits `(..., K * Q)`, ascending, in their own units."""
        return self._restored(self._sorted(logits))

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.quantiles(self(features))[..., self.median]

    def average(self, logits: Sequence[Tensor]) -> Tensor:
        return super().average([self._sorted(each).flatten(-2) for each in logits])

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and all quantiles `(..., K, Q)`, of which metrics need more than the median."""
        predictions = self._sorted(self(features))
        targets = targets.view(predictions.shape[:-1])
        known = self.known(targets, mask)
        errors = targets.where(known, 0.0).unsqueeze(-1) - predictions  # (..., K, Q)
        costs = pinball(errors, self.levels).mean(-1)
        loss = costs.where(known, 0.0).sum() / known.sum().clamp(min=1)
        return loss, self._restored(predictions.detach())

    def _sorted(self, logits: Tensor) -> Tensor:
        return logits.unflatten(-1, (self.num_values, len(self.levels))).sort(-1).values

    def _restored(self, standardised: Tensor) -> Tensor:  # (..., K, Q)
        return self.restore(standardised.transpose(-1, -2)).transpose(-1, -2)


@dataclass(frozen=True)
class ValueOptions:
    """How a task learns numbers, its `model.output`.

    Args:
        error: `mse`, `mae` or `huber`; `ValueOutput` says how each counts.
        quantiles: learn these instead, by the pinball loss of `Quantiles`.

    Raises:
        UserError: for another error than the usual one beside quantiles, which have their own.
    """

    error: ErrorName = "mse"
    quantiles: Annotated[list[PositiveFraction], Field(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.quantiles is not None and self.error != "mse":
            raise UserError(
                f"model.output.error={self.error} has no use with model.output.quantiles, which "
                "have an error of their own: leave out one of the two"
            )

    @property
    def level_names(self) -> list[str]:
        """The quantiles, as the keys of a prediction; none without them."""
        return [f"{level:g}" for level in self.quantiles or ()]

    def build(self, width: int, num_values: int, **scale: Any) -> ValueOutput | Quantiles:
        """The output for features of this width; `scale`: `mean` and `deviation` of its values."""
        if self.quantiles is None:
            return ValueOutput(width, num_values, error=self.error, **scale)
        return Quantiles(width, num_values, self.quantiles, **scale)
