"""Heads of language models: every step of `output` into a softmax over the vocabulary."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from seqmodels.batch import PADDING_TARGET
from seqmodels.errors import UserError
from seqmodels.heads.base import Head
from seqmodels.nn.cross_entropy import linear_cross_entropy
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput


class LanguageHead(Head):
    """`p(w_{t+1} | w_1..w_t)` from `h_t`, for every `t`; one direction only."""

    reads = ("output",)
    in_pytorch = "features = output"
    requires_bidirectional = False
    because = ", because a backward direction has seen the token that is to be predicted"
    every_step = True

    def select(self, states: RNNOutput) -> Tensor:
        return states.output  # (B, T, H): all of it

    def loss(
        self,
        states: RNNOutput,
        targets: Int[Tensor, "batch time"],
        label_smoothing: float = 0.0,
    ) -> Float[Tensor, ""]:
        """The mean cross-entropy, in nats, over the targets that are not -100."""
        features = self.dropout(self.select(states))
        return self.cross_entropy(features.flatten(0, 1), targets.flatten(), label_smoothing)

    def cross_entropy(
        self,
        features: Float[Tensor, "steps width"],
        targets: Int[Tensor, " steps"],
        label_smoothing: float,
    ) -> Float[Tensor, ""]:
        project = self.project
        assert isinstance(project, nn.Linear)
        return linear_cross_entropy(
            features, project.weight, project.bias, targets, label_smoothing
        )


class Softmax(LanguageHead, name="softmax"):
    """`softmax(W h_t + b)`."""


class TiedSoftmax(LanguageHead, name="tied_softmax"):
    """`softmax(E h_t + b)` with the embedding's own weight `E` (Press and Wolf 2017,
    https://arxiv.org/abs/1608.05859). Where `h_t` is not as wide as the embedding, a linear layer
    comes between."""

    def projection(self, width: int, num_classes: int, embedding: nn.Embedding | None) -> nn.Module:
        if embedding is None:
            raise UserError("head 'tied_softmax' shares an embedding: it needs one")
        project = nn.Linear(embedding.embedding_dim, num_classes)
        nn.init.zeros_(project.bias)
        project.weight = embedding.weight
        self.resize: nn.Module = nn.Identity()
        if width != embedding.embedding_dim:
            self.resize = nn.Linear(width, embedding.embedding_dim)
        return project

    def forward(self, states: RNNOutput) -> Tensor:
        return self.project(self.resize(self.dropout(self.select(states))))

    def cross_entropy(self, features: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        return super().cross_entropy(self.resize(features), targets, label_smoothing)


class AdaptiveSoftmax(LanguageHead, name="adaptive_softmax"):
    """Rare tokens in clusters of fewer features, looked at only where needed (Grave et al. 2017,
    https://arxiv.org/abs/1609.04309), by `nn.AdaptiveLogSoftmaxWithLoss`.

    Token ids must go from frequent to rare, as `word` and `char` tokenisers number them.

    `head_options.cutoffs`: where a cluster begins; by default at a tenth and at a third of the
    vocabulary. `head_options.div_value`: each cluster has this many times fewer features.
    """

    def build(
        self,
        encoder: RecurrentEncoder,
        cutoffs: list[int] | None = None,
        div_value: float = 4.0,
    ) -> None:
        self.cutoffs, self.div_value = cutoffs, div_value

    def projection(self, width: int, num_classes: int, embedding: nn.Embedding | None) -> nn.Module:
        cutoffs = self.cutoffs or [max(num_classes // 10, 1), max(num_classes // 3, 2)]
        if width < self.div_value ** len(cutoffs):
            raise UserError(
                f"head {self.name!r}: {width} features are too few for {len(cutoffs)} clusters, "
                f"each with div_value={self.div_value:g} times fewer: give fewer "
                "model.head_options.cutoffs, a lower div_value or a larger encoder.hidden_size"
            )
        try:
            return nn.AdaptiveLogSoftmaxWithLoss(width, num_classes, cutoffs, self.div_value)
        except ValueError as error:
            raise UserError(
                f"model.head_options.cutoffs is {cutoffs}, for a vocabulary of {num_classes}: "
                f"{error}"
            ) from error

    def forward(self, states: RNNOutput) -> Tensor:
        features = self.dropout(self.select(states))
        project = self.project
        assert isinstance(project, nn.AdaptiveLogSoftmaxWithLoss)
        return project.log_prob(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def cross_entropy(self, features: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        if label_smoothing:
            raise UserError(f"head {self.name!r} knows no model.label_smoothing: set it to 0")
        valid = targets != PADDING_TARGET
        if not bool(valid.all()):
            features, targets = features[valid], targets[valid]
        return self.project(features, targets).loss
