"""Output modules: turn the selected features into logits, a loss and a decision.

`ClassOutput` predicts one of several classes; `ValueOutput` numbers, `Quantiles` quantiles of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Shaped
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.arguments import NonNegativeFraction, PositiveFraction, Weight, checked
from seqmodels.batch import PADDING_TARGET
from seqmodels.device import exact
from seqmodels.errors import UserError, choices

if TYPE_CHECKING:
    from seqmodels.nn.encoder import RNNOutput

Features = Float[Tensor, "*steps width"]
Mask = Bool[Tensor, "batch time"] | None
TINY = torch.finfo(torch.float32).tiny  # It stands for 0 where we divide.

ErrorName = Literal["mse", "mae", "huber"]
ERRORS: dict[str, Any] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


def full(values: Tensor) -> Tensor:
    """In float32, or wider if they are: in half precision, a loss keeps two or three digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Constants(nn.Module):
    """Whose own buffers move with it from device to device, but keep their type: a mean of 1,234.5
    would be 1,232 in bfloat16. MPS has no float64."""

    def _apply(self, *given: Any) -> Any:
        kept = dict(self.named_buffers(recurse=False))
        for name, buffer in kept.items():
            setattr(self, name, buffer.float())
        super()._apply(*given)
        for name, buffer in kept.items():
            there = getattr(self, name)
            exactly = exact(there).dtype if buffer.dtype == torch.float64 else buffer.dtype
            setattr(self, name, buffer.to(exactly).to(there.device))
        return self


@dataclass(frozen=True, eq=False)
class Score:
    """What targets cost. The loss is `sum(costs * weights) / sum(weights)`: of a row, of a batch,
    of an epoch and of all processes.

    Args:
        costs: of each target, `(B, ...)`, finite also where there is none; in training it may be
            the mean, a scalar, whose weight is that of all.
        weights: of each cost, in the same shape: numbers, or whether there is a target.
        decision: detached, for metrics; None where it takes longer than the loss.
        states: what the network read, where the rows are those of a batch.
    """

    costs: Float[Tensor, "*targets"]
    weights: Shaped[Tensor, "*targets"]
    decision: Any = None
    states: RNNOutput | None = None

    @cached_property
    def weight(self) -> Shaped[Tensor, ""]:
        """The sum of the weights."""
        return self.weights.sum()

    @cached_property
    def loss(self) -> Float[Tensor, ""]:
        """The mean cost; 0 without a target."""
        weights, weight = self.weights.to(self.costs), self.weight.to(self.costs)
        return (self.costs * (weights / weight.clamp(min=TINY))).sum()

    def of_rows(self, rows: int) -> Float[Tensor, " rows"]:
        """The mean cost of each row; nan without a target."""
        costs, weights = (each.reshape(rows, -1) for each in (self.costs, self.weights))
        return (costs * weights).sum(1) / weights.sum(1)


class Output(nn.Module):
    """Turns features `(B, S)`, or `(B, T, S)` at every step, into logits by its `forward`, `(B, C)`
    or `(B, T, C)`, a loss and a decision.

    Every task takes its loss and decision from such a class, so a new one works with all heads and
    tasks. `mask` is True at valid steps, `(B, T)`; None for features of whole sequences.
    """

    targets: ClassVar[tuple[str, ...]] = ()  # the kinds of target it can learn; empty: any
    links_steps: ClassVar[bool] = False  # whether the decision at a step depends on other steps

    def score(self, features: Features, targets: Tensor, mask: Mask = None) -> Score:
        """What each target costs, and the decision. A class below 0 and nan are no target."""
        raise NotImplementedError(f"{type(self).__name__} must define score")

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        """The decision: `(B,)` or `(B, T)` int64 of classes, those with the highest logits; or of
        an output of values, `(B, K)` or `(B, T, K)`."""
        return self(features).argmax(dim=-1)

    def calibrated(self, logits: Tensor) -> Tensor:
        """The logits after what was learned from the validation split, if anything was."""
        return logits


@dataclass(frozen=True)
class SmoothingOptions:
    """How one of several is learned.

    Args:
        label_smoothing: of PyTorch's cross-entropy; acts in training only.
    """

    label_smoothing: NonNegativeFraction = 0.0


@dataclass(frozen=True)
class ClassOptions(SmoothingOptions):
    """How classes are learned.

    Args:
        label_smoothing: as `SmoothingOptions` says.
        class_weights: how much a target of each class counts: in the order of `data["classes"]`;
            by name, where the others count 1; or `balanced`: the less, the more frequent it is in
            training, as in scikit-learn. None weighs all equally.
    """

    class_weights: Literal["balanced"] | dict[str, Weight] | list[Weight] | None = None

    def weights_of(self, data: Mapping[str, Any]) -> list[float] | None:
        """The weight of each class."""
        given, classes = self.class_weights, data["classes"]
        if given == "balanced":
            counts = data["counts"]
            return [sum(counts) / len(counts) / count for count in counts]
        if isinstance(given, Mapping):
            for name in given.keys() - {*classes}:
                raise UserError(f"model.output.class_weights.{name}: {choices(name, classes)}")
            return [given.get(name, 1.0) for name in classes]
        if given is not None and len(given) != len(classes):
            raise UserError(
                f"model.output.class_weights has {len(given)} numbers, but there are "
                f"{len(classes)} classes: {', '.join(classes)}"
            )
        return given


class ClassOutput(Constants, Output):
    """Predicts one of `num_classes`; the loss is cross-entropy in nats.

    Once a task has learned a `temperature`, it divides the logits of predictions. It is no weight:
    neither the loss nor a checkpoint knows it.

    Args:
        weights, label_smoothing: as `ClassOptions` says.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(width, num_classes)
        self.label_smoothing = label_smoothing
        self.weights: Tensor | None
        made = None if weights is None else torch.tensor(weights)
        self.register_buffer("weights", made, persistent=False)  # saved as a hyper-parameter
        self.temperature = 1.0

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def score(self, features: Features, targets: Tensor, mask: Mask = None) -> Score:
        logits, known = full(self(features)), targets >= 0
        costs = F.cross_entropy(
            logits.flatten(0, -2),
            targets.where(known, PADDING_TARGET).flatten(),  # Its cost is 0.
            reduction="none",
            label_smoothing=self.label_smoothing if self.training else 0.0,
        )
        weights = known if self.weights is None else self.weights[targets.clamp(min=0)] * known
        return Score(costs.view_as(targets), weights, logits.detach().argmax(dim=-1))

    def calibrated(self, logits: Tensor) -> Tensor:
        return logits if self.temperature == 1.0 else logits / self.temperature


class ValueOutput(Constants, Output):
    """Predicts `num_values` numbers, learned standardised: logits `(B, K)`, or `(B, T, K)` at every
    step; decided in their own units.

    Args:
        num_values: how many numbers, K, each prediction consists of.
        mean, deviation: one per value, as used to standardise the targets; None: the targets are
            in their own units.
        error: `mse` (squared), `mae` (absolute) or `huber` (quadratic below 1, linear above); the
            loss is its mean over the targets that are known: not nan, and not at padding.
    """

    mean: Tensor
    deviation: Tensor
    each: int = 1  # logits of a value

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
        super().__init__()
        self.num_values, self.error = num_values, error
        self.project = nn.Linear(width, num_values * self.each)
        for name, value, usual in (("mean", mean, 0.0), ("deviation", deviation, 1.0)):
            values = [usual] * num_values if value is None else value
            scale = torch.tensor(values, dtype=torch.float64)
            self.register_buffer(name, scale, persistent=False)  # already saved in the data's spec

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def score(self, features: Features, targets: Tensor, mask: Mask = None) -> Score:
        """The decision is the predictions in their own units: of quantiles all, `(..., K, Q)`, of
        which metrics need more than the median."""
        made = self.standardised(full(self(features)))
        targets = targets.to(made).view(*features.shape[:-1], self.num_values)  # (B,) of one value
        known = ~targets.isnan() if mask is None else ~targets.isnan() & mask.unsqueeze(-1)
        costs = self.costs(made, targets.where(known, 0.0))
        return Score(costs, known, self.in_own_units(made.detach()))

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.restore(self(features))

    def restore(self, standardised: Float[Tensor, "*steps values"]) -> Tensor:
        """Standardised values `(..., K)` in their own units, whose digits float32 may not hold."""
        return exact(standardised) * self.deviation + self.mean

    # Quantiles do otherwise, and have `(..., K, Q)` in place of `(..., K)`.

    def standardised(self, logits: Tensor) -> Tensor:
        """The predictions that logits stand for, standardised."""
        return logits

    def costs(self, made: Tensor, targets: Float[Tensor, "*steps values"]) -> Tensor:
        """What standardised predictions cost, `(..., K)`."""
        return ERRORS[self.error](made, targets, reduction="none")

    in_own_units = restore  # predictions

    def moved(self, predicted: Tensor, deviation: Tensor | float = 1.0) -> Tensor:
        """Returns predictions after what a calibration has learned, which moves quantiles alone."""
        return predicted


def pinball(
    errors: Float[Tensor, "*values quantiles"], levels: Float[Tensor, " quantiles"]
) -> Float[Tensor, "*values quantiles"]:
    """What quantiles cost: a target `e` above the one of level `q` costs `q * e`, one below it
    `(1 - q) * e`. The mean is lowest for the true quantiles. `errors`: targets less quantiles."""
    return torch.maximum(levels * errors, (levels - 1) * errors)


class Quantiles(ValueOutput):
    """Predicts quantiles of `num_values` numbers: logits `(..., K * Q)`, the quantiles of a
    value side by side.

    The loss is the mean `pinball` loss over known targets and quantiles, in standardised units
    (Koenker and Bassett 1978). Quantiles are sorted, so they never cross, which can only lower it
    (Chernozhukov et al. 2010, https://arxiv.org/abs/0704.3649). The decision is the median.

    Once a task has learned `shifts`, `(K, Q)` in standardised units, `moved` moves predictions by
    them. They are no weights: neither the loss nor a checkpoint knows them.

    Args:
        width, num_values: as `ValueOutput` documents them.
        quantiles: Q of them, ascending, between 0 and 1, with the median 0.5.
        scale: `mean` and `deviation`, as there.
    """

    levels: Tensor
    shifts: Tensor | None

    def __init__(
        self,
        width: int,
        num_values: int,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        **scale: Any,
    ) -> None:
        levels = list(quantiles)
        ascending = all(low < high for low, high in pairwise([0, *levels, 1]))
        if not ascending or 0.5 not in levels:
            raise UserError(
                f"model.output.quantiles is {levels}: give numbers between 0 and 1 in ascending "
                "order, with the median among them, such as [0.1,0.5,0.9]"
            )
        self.each, self.median = len(levels), levels.index(0.5)
        super().__init__(width, num_values, **scale)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("shifts", None, persistent=False)

    def quantiles(self, logits: Tensor) -> Float[Tensor, "*steps values quantiles"]:
        """The quantiles `(..., K, Q)` of logits `(..., K * Q)`, ascending, in their own units."""
        return self.in_own_units(self.standardised(logits))

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.quantiles(self(features))[..., self.median]

    def standardised(self, logits: Tensor) -> Tensor:
        return logits.unflatten(-1, (self.num_values, self.each)).sort(-1).values

    def costs(self, made: Tensor, targets: Float[Tensor, "*steps values"]) -> Tensor:
        return pinball(targets.unsqueeze(-1) - made, self.levels).mean(-1)

    def in_own_units(self, made: Tensor) -> Tensor:
        return self.restore(made.transpose(-1, -2)).transpose(-1, -2)

    def calibrated(self, logits: Tensor) -> Tensor:
        if self.shifts is None:
            return logits
        return self.moved(self.standardised(logits)).flatten(-2)

    def moved(self, predicted: Tensor, deviation: Tensor | float = 1.0) -> Tensor:
        """Returns quantiles `(..., K, Q)` after their `shifts`, ascending; as they are while there
        are none.

        Args:
            deviation: of the units that they are in, `(K, 1)`; 1: they are standardised.
        """
        if self.shifts is None:
            return predicted
        shifts = (self.shifts * deviation).to(predicted)
        return (predicted + shifts).sort(-1).values


@dataclass(frozen=True)
class ValueOptions:
    """How a task learns numbers, its `model.output`.

    Args:
        error: `mse`, `mae` or `huber`; `ValueOutput` says how each counts. None: `usual_error`.
        quantiles: learn these instead, by the pinball loss of `Quantiles`.
    """

    usual_error: ClassVar[ErrorName] = "mse"
    error: ErrorName | None = None
    quantiles: Annotated[list[PositiveFraction], Field(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.quantiles is not None and self.error is not None:
            raise UserError(
                f"model.output.error={self.error} has no use with model.output.quantiles, which "
                "have an error of their own: leave out one of the two"
            )

    @property
    def learned_error(self) -> ErrorName:
        """The error to learn by, if there are no quantiles."""
        return self.usual_error if self.error is None else self.error

    def build(self, width: int, num_values: int, **scale: Any) -> ValueOutput:
        """The output for features of this width; `scale`: `mean` and `deviation` of its values."""
        if self.quantiles is None:
            return ValueOutput(width, num_values, error=self.learned_error, **scale)
        return Quantiles(width, num_values, self.quantiles, **scale)
