"""What is made of the selected features: logits, a loss, a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET
from seqmodels.errors import UserError, choices
from seqmodels.nn.cross_entropy import linear_cross_entropy

Features = Float[Tensor, "*steps width"]
Mask = Bool[Tensor, "batch time"] | None


class Output(nn.Module):
    """Turns features `(B, S)`, or `(B, T, S)` at every step, into logits, a loss and a decision.

    Loss and decision of every task live in such a class, so a new one serves all heads and tasks.
    `mask` is True at valid steps, `(B, T)`; None for features of whole sequences.
    """

    frequent_first: ClassVar[bool] = False  # needs ids that go from frequent to rare

    def forward(self, features: Features) -> Float[Tensor, "*steps logits"]:
        """Logits: `(B, C)` or `(B, T, C)`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Float[Tensor, ""]:
        """The mean loss over the targets that are there: not -100, not nan."""
        raise NotImplementedError(f"{type(self).__name__} must define loss")

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        """The decision: `(B,)` or `(B, T)` int64 of classes, `(B, K)` of values."""
        raise NotImplementedError(f"{type(self).__name__} must define decode")

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Float[Tensor, ""], Tensor]:
        """Both at once, for outputs that can share work between them; the decision is detached."""
        loss = self.loss(features, targets, mask)
        with torch.no_grad():
            return loss, self.decode(features, mask)


class Classes(Output):
    """One of `num_classes`, by cross-entropy in nats.

    Args:
        width: of the features.
        weights: one number a class; None weighs all alike.
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
            persistent=False,  # they are a hyper-parameter
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


class Vocabulary(Output):
    """`softmax(W h_t + b)` over a vocabulary at every step, by cross-entropy in nats a token.

    Args:
        width: of the features.
        embedding: of the input tokens, for a subclass that shares it.
        label_smoothing: as in `torch.nn.functional.cross_entropy`; acts in training only.
    """

    def __init__(
        self,
        width: int,
        vocabulary_size: int,
        *,
        embedding: nn.Embedding | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.resize, self.project = self.layers(width, vocabulary_size, embedding)

    def layers(
        self, width: int, vocabulary_size: int, embedding: nn.Embedding | None
    ) -> tuple[nn.Module, nn.Linear]:
        """What comes before the projection, and the projection."""
        return nn.Identity(), nn.Linear(width, vocabulary_size)

    def forward(self, features: Features) -> Tensor:
        return self.project(self.resize(features))

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return linear_cross_entropy(
            self.resize(features).flatten(0, 1),
            self.project.weight,
            self.project.bias,
            targets.flatten(),
            self.label_smoothing if self.training else 0.0,
        )

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self(features).argmax(dim=-1)


class TiedVocabulary(Vocabulary):
    """`softmax(E h_t + b)` with the embedding's own weight `E` (Press and Wolf 2017,
    https://arxiv.org/abs/1608.05859). Where `h_t` is not as wide as the embedding, a linear layer
    comes between."""

    def layers(
        self, width: int, vocabulary_size: int, embedding: nn.Embedding | None
    ) -> tuple[nn.Module, nn.Linear]:
        if embedding is None:
            raise UserError("a tied softmax shares the embedding of the tokens: give it one")
        project = nn.Linear(embedding.embedding_dim, vocabulary_size)
        nn.init.zeros_(project.bias)
        project.weight = embedding.weight
        if width == embedding.embedding_dim:
            return nn.Identity(), project
        return nn.Linear(width, embedding.embedding_dim), project


class AdaptiveVocabulary(Output):
    """Rare tokens in clusters of fewer features, computed only where needed (Grave et al. 2017,
    https://arxiv.org/abs/1609.04309), by `nn.AdaptiveLogSoftmaxWithLoss`.

    Token ids must go from frequent to rare, as `word` and `char` tokenizers number them.

    Args:
        cutoffs: where each cluster begins; None: at a tenth and at a third of the vocabulary.
        div_value: each cluster has this many times fewer features than the one before.

    Raises:
        UserError: naming the option and what to change.
    """

    frequent_first = True

    def __init__(
        self,
        width: int,
        vocabulary_size: int,
        *,
        embedding: nn.Embedding | None = None,
        label_smoothing: float = 0.0,
        cutoffs: list[int] | None = None,
        div_value: float = 4.0,
    ) -> None:
        super().__init__()
        if label_smoothing:
            raise UserError("an adaptive softmax cannot smooth labels: set model.label_smoothing=0")
        cutoffs = cutoffs or [max(vocabulary_size // 10, 1), max(vocabulary_size // 3, 2)]
        if width < div_value ** len(cutoffs):
            raise UserError(
                f"an adaptive softmax cannot cut {width} features into {len(cutoffs)} clusters, "
                f"each with div_value={div_value:g} times fewer: give fewer "
                "model.head_options.cutoffs, a lower div_value or a larger encoder.hidden_size"
            )
        try:
            self.project = nn.AdaptiveLogSoftmaxWithLoss(width, vocabulary_size, cutoffs, div_value)
        except ValueError as error:
            raise UserError(
                f"model.head_options.cutoffs is {cutoffs}, for a vocabulary of {vocabulary_size}: "
                f"{error}"
            ) from error

    def forward(self, features: Features) -> Tensor:
        return self.project.log_prob(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        features, targets = features.flatten(0, 1), targets.flatten()
        valid = targets != PADDING_TARGET
        if not bool(valid.all()):
            features, targets = features[valid], targets[valid]
        return self.project(features, targets).loss

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.project.predict(features.flatten(0, 1)).unflatten(0, features.shape[:2])


ERRORS: dict[str, Callable[..., Tensor]] = {
    "squared": F.mse_loss,
    "absolute": F.l1_loss,
    "huber": F.huber_loss,
}


class Values(Output):
    """`num_values` numbers; the loss is the mean error over the targets that are not nan.

    Args:
        width: of the features.
        error: `squared`, `absolute` or `huber` (quadratic below 1, linear above).
    """

    def __init__(self, width: int, num_values: int, *, error: str = "squared") -> None:
        super().__init__()
        if error not in ERRORS:
            raise UserError(f"error is {error!r}: {choices(error, ERRORS)}")
        self.project = nn.Linear(width, num_values)
        self.error = error

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return self.loss_and_decision(features, targets, mask)[0]

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self(features)

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        predictions = self(features)
        targets = targets.view_as(predictions)  # (B,) where there is one value
        known = ~targets.isnan()
        if mask is not None:
            known = known & mask.unsqueeze(-1)
        targets = targets.where(known, predictions.detach())  # no error, and no gradient
        errors = ERRORS[self.error](predictions, targets, reduction="sum")
        return errors / known.sum(), predictions.detach()
