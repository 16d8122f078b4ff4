"""Output modules: turn the selected features into logits, a loss and a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.arguments import NonNegativeFraction, Weight
from seqmodels.batch import PADDING_TARGET
from seqmodels.device import exact
from seqmodels.errors import UserError, choices

if TYPE_CHECKING:
    from seqmodels.nn.encoder import RNNOutput

Features = Float[Tensor, "*steps width"]
Mask = Bool[Tensor, "batch time"] | None
TINY = torch.finfo(torch.float32).tiny  # to divide by in place of 0


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

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def score(self, features: Features, targets: Tensor, mask: Mask = None) -> Score:
        logits, known = full(self(features)), targets >= 0
        costs = F.cross_entropy(
            logits.flatten(0, -2),
            targets.where(known, PADDING_TARGET).flatten(),  # of which the cost is 0
            reduction="none",
            label_smoothing=self.label_smoothing if self.training else 0.0,
        )
        weights = known if self.weights is None else self.weights[targets.clamp(min=0)] * known
        return Score(costs.view_as(targets), weights, logits.detach().argmax(dim=-1))
