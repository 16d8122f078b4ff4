"""Turn a batch's inputs, tokens or features, into the inputs of the recurrent network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqmodels.errors import UserError

TOKEN_EMBEDDING_SIZE = 128


class LockedDropout(nn.Dropout1d):
    """Drops the same features at all steps of a row: `(B, T, F) -> (B, T, F)` (Gal and Ghahramani
    2016, https://arxiv.org/abs/1512.05287)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class TokenEmbedding(nn.Embedding):
    """An `nn.Embedding` that drops whole tokens, then single features, in training.

    Args:
        token_dropout: the share of tokens whose embedding is set to zero.
        dropout: acts on the embeddings.
    """

    def __init__(
        self, vocabulary_size: int, width: int, token_dropout: float, dropout: nn.Module
    ) -> None:
        super().__init__(vocabulary_size, width)
        self.token_dropout, self.dropout = token_dropout, dropout

    def forward(self, input: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time width"]:
        embedded = super().forward(input)
        if self.training and self.token_dropout:
            embedded = embedded * (torch.rand_like(embedded[..., :1]) >= self.token_dropout)
        return self.dropout(embedded)


class FeatureNoise(nn.Module):
    """Adds Gaussian noise with this standard deviation to features `(B, T, F)` in training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, features: Tensor) -> Tensor:
        if self.training and self.deviation:
            features = features + self.deviation * torch.randn_like(features)
        return features


class FeatureProjection(nn.Linear):
    """Noise, a linear layer and dropout: `(B, T, F) -> (B, T, E)`."""

    def __init__(self, num_features: int, width: int, noise: float, dropout: nn.Module) -> None:
        super().__init__(num_features, width)
        self.noise, self.dropout = FeatureNoise(noise), dropout

    def forward(self, input: Tensor) -> Tensor:
        return self.dropout(super().forward(self.noise(input)))


def build_embedding(
    data: Mapping[str, Any],
    size: int | None,
    noise: float,
    dropout: nn.Module,
    uniform: float | None = None,
) -> tuple[nn.Module, int]:
    """Builds the module that turns inputs into the encoder's `(B, T, E)`; returns it and `E`.

    Args:
        data: `inputs` is "tokens" or "features", and `num_inputs` is their number.
        size: the width of the embedding (None: 128), or for features of a linear layer (None: no
            layer).
        noise: tokens: the share to drop; features: the standard deviation of Gaussian noise.
        uniform: draw token embeddings from -uniform to uniform; None: PyTorch's normal weights.

    Raises:
        UserError: for a noise that is negative, or a share of 1 and more.
    """
    count, by_token = data["num_inputs"], data.get("inputs") != "features"
    if noise < 0 or (by_token and noise >= 1):
        raise UserError(f"model.input_noise is {noise}: it must be at least 0 and less than 1")
    if not by_token:
        if size is None:
            return FeatureNoise(noise), count
        return FeatureProjection(count, size, noise, dropout), size
    embedding = TokenEmbedding(count, size or TOKEN_EMBEDDING_SIZE, noise, dropout)
    if uniform is not None:
        nn.init.uniform_(embedding.weight, -uniform, uniform)
    return embedding, embedding.embedding_dim
