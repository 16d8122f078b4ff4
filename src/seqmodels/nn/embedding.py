"""From a batch's inputs, tokens or features, to what the recurrent network takes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class LockedDropout(nn.Dropout1d):
    """Drops the same features at all steps of a row: `(B, T, F) -> (B, T, F)` (Gal and Ghahramani
    2016, https://arxiv.org/abs/1512.05287)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class TokenEmbedding(nn.Embedding):
    """An `nn.Embedding` that drops whole tokens, then single features, in training.

    Args:
        dropout: acts on the embeddings.
        token_dropout: the share of the tokens whose embedding is set to zero.
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        *,
        dropout: nn.Module | None = None,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__(vocabulary_size, width)
        self.dropout = dropout or nn.Identity()
        self.token_dropout = token_dropout

    def forward(self, input: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time width"]:
        embedded = super().forward(input)
        if self.training and self.token_dropout:
            embedded = embedded * (torch.rand_like(embedded[..., :1]) >= self.token_dropout)
        return self.dropout(embedded)


class FeatureNoise(nn.Module):
    """Adds Gaussian noise of this deviation to the features `(B, T, F)` in training."""

    def __init__(self, deviation: float = 0.0) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, features: Tensor) -> Tensor:
        if self.training and self.deviation:
            features = features + self.deviation * torch.randn_like(features)
        return features


class FeatureProjection(nn.Linear):
    """Noise, a linear layer and dropout: `(B, T, F) -> (B, T, E)`.

    Args:
        noise: the deviation of Gaussian noise on the features, in training.
        dropout: on what the linear layer gives.
    """

    def __init__(
        self, num_features: int, width: int, *, noise: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__(num_features, width)
        self.noise, self.dropout = FeatureNoise(noise), nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        return self.dropout(super().forward(self.noise(input)))
