"""Output modules: turn the selected features into logits, a loss and a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.arguments import NonNegative, NonNegativeFraction

Features = Float[Tensor, "*steps width"]
Mask = Bool[Tensor, "batch time"] | None


def full(values: Tensor) -> Tensor:
    """In float32, or wider if they are: in half precision, a loss keeps two or three digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Constants(nn.Module):
    """Whose own buffers move with it from device to device, but keep their type: a mean of 1,234.5
    would be 1,232 in bfloat16."""

    def _apply(self, *given: Any) -> Any:
        kept = dict(self.named_buffers(recurse=False))
        super()._apply(*given)
        for name, buffer in kept.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self


class Output(nn.Module):
    """Turns features `(B, S)`, or `(B, T, S)` at every step, into logits, a loss and a decision.

    Every task takes its loss and decision from such a class, so a new one works with all heads and
    tasks. `mask` is True at valid steps, `(B, T)`; None for features of whole sequences.
    """

    targets: ClassVar[tuple[str, ...]] = ()  # the kinds of target it can learn; empty: any
    links_steps: ClassVar[bool] = False  # whether the decision at a step depends on other steps

    def forward(self, features: Features) -> Float[Tensor, "*steps logits"]:
        """Logits: `(B, C)` or `(B, T, C)`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Float[Tensor, ""]:
        """The mean loss over the known targets: not -100, not nan."""
        raise NotImplementedError(f"{type(self).__name__} must define loss")

    def losses(self, features: Any, targets: Tensor, mask: Mask = None) -> Float[Tensor, " batch"]:
        """The mean loss of each row over its known targets. Override it where one row after the
        other takes too long."""
        masks = [None] * len(targets) if mask is None else mask.split(1)
        rows = zip(features.split(1), targets.split(1), masks, strict=True)
        return torch.stack([self.loss(*row) for row in rows])

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        """The decision: `(B,)` or `(B, T)` int64 of classes, those with the highest logits; or of
        an output of values, `(B, K)` or `(B, T, K)`."""
        return self(features).argmax(dim=-1)

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Float[Tensor, ""], Tensor]:
        """Both at once; override it to share work between them. The decision is detached; metrics
        get it."""
        loss = self.loss(features, targets, mask)
        with torch.no_grad():
            return loss, self.decode(features, mask)


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
        class_weights: one number per class, in the order of `data["classes"]`; None weighs all
            equally.
    """

    class_weights: list[NonNegative] | None = None


class ClassOutput(Constants, Output):
    """Predicts one of `num_classes`; the loss is cross-entropy in nats.

    Args:
        width: of the features.
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
        self.register_buffer(
            "weights",
            None if weights is None else torch.tensor(weights),
            persistent=False,  # already saved as a hyper-parameter
        )

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return self.loss_and_decision(features, targets, mask)[0]

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        logits = full(self(features))
        loss = F.cross_entropy(
            logits.flatten(0, -2),
            targets.flatten(),
            weight=None if self.weights is None else self.weights.to(logits),
            label_smoothing=self.label_smoothing if self.training else 0.0,
        )
        return loss, logits.detach().argmax(dim=-1)
