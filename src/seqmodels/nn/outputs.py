"""Output modules: turn the selected features into logits, a loss and a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import UserError, choices

Features = Float[Tensor, "*steps width"]
Mask = Bool[Tensor, "batch time"] | None


class Output(nn.Module):
    """Turns features `(B, S)`, or `(B, T, S)` at every step, into logits, a loss and a decision.

    Every task takes its loss and decision from such a class, so a new one works with all heads and
    tasks. `mask` is True at valid steps, `(B, T)`; None for features of whole sequences.
    """

    targets: ClassVar[tuple[str, ...]] = ()  # the kinds of target it can learn; empty: any
    frequent_first: ClassVar[bool] = False  # needs token ids sorted from frequent to rare

    def forward(self, features: Features) -> Float[Tensor, "*steps logits"]:
        """Logits: `(B, C)` or `(B, T, C)`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Float[Tensor, ""]:
        """The mean loss over the known targets: not -100, not nan."""
        raise NotImplementedError(f"{type(self).__name__} must define loss")

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        """The decision: `(B,)` or `(B, T)` int64 of classes, `(B, K)` of values."""
        raise NotImplementedError(f"{type(self).__name__} must define decode")

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Float[Tensor, ""], Tensor]:
        """Both at once; override it to share work between them. The decision is detached."""
        loss = self.loss(features, targets, mask)
        with torch.no_grad():
            return loss, self.decode(features, mask)


class Classes(Output):
    """Predicts one of `num_classes`; the loss is cross-entropy in nats.

    Args:
        width: of the features.
        weights: one number per class; None weighs all equally.
        label_smoothing: as in `torch.nn.functional.cross_entropy`; acts in training only.
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

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self(features).argmax(dim=-1)

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        logits = self(features)
        loss = F.cross_entropy(
            logits.flatten(0, -2),
            targets.flatten(),
            weight=self.weights,
            label_smoothing=self.label_smoothing if self.training else 0.0,
        )
        return loss, logits.detach().argmax(dim=-1)


ERRORS: dict[str, Callable[..., Tensor]] = {
    "squared": F.mse_loss,
    "absolute": F.l1_loss,
    "huber": F.huber_loss,
}


class Values(Output):
    """Predicts `num_values` numbers: learns them standardised, decides in their own units.

    Args:
        width: of the features.
        mean, deviation: one per value, as used to standardise the targets; None: the targets are
            in their own units.
        error: `squared`, `absolute` or `huber` (quadratic below 1, linear above); the loss is its
            mean over the targets that are not nan.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        width: int,
        num_values: int,
        *,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        error: str = "squared",
    ) -> None:
        super().__init__()
        if error not in ERRORS:
            raise UserError(f"error is {error!r}: {choices(error, ERRORS)}")
        self.project = nn.Linear(width, num_values)
        self.error = error
        for name, value, usual in (("mean", mean, 0.0), ("deviation", deviation, 1.0)):
            scale = torch.tensor([usual] * num_values if value is None else value)
            self.register_buffer(name, scale, persistent=False)  # already saved in the data's spec

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return self.loss_and_decision(features, targets, mask)[0]

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.restore(self(features))

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        predictions = self(features)
        targets = targets.view_as(predictions)  # (B,) if there is one value
        known = ~targets.isnan()
        if mask is not None:
            known = known & mask.unsqueeze(-1)
        targets = targets.where(known, predictions.detach())  # no error, and no gradient
        errors = ERRORS[self.error](predictions, targets, reduction="sum")
        return errors / known.sum(), self.restore(predictions.detach())

    def restore(self, standardised: Tensor) -> Tensor:
        """Standardised values `(..., K)` in their own units."""
        return standardised * self.deviation + self.mean
