"""Turn a batch's inputs, tokens or features, into the inputs of the recurrent network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqmodels.errors import UserError
from seqmodels.signatures.ranges import Positive

TOKEN_EMBEDDING_SIZE = 128
UNKNOWN_ID = 1  # of every tokenizer


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
        if self.training:
            embedded = drop_tokens(embedded, self.token_dropout)
        return self.dropout(embedded)


def drop_tokens(
    embedded: Float[Tensor, "batch time width"], share: float
) -> Float[Tensor, "batch time width"]:
    """Sets this share of the embeddings to zero."""
    return embedded * (torch.rand_like(embedded[..., :1]) >= share) if share else embedded


@dataclass(frozen=True)
class VectorOptions:
    """How to train pre-trained vectors.

    Args:
        freeze: keep them as they are; the trained part beside them learns.
        lr: a learning rate of their own; None: that of the optimizer.

    Raises:
        UserError: for a learning rate of vectors that don't learn.
    """

    freeze: bool = False
    lr: Positive | None = None

    def __post_init__(self) -> None:
        if self.freeze and self.lr is not None:
            raise UserError(
                f"model.embedding.lr is {self.lr}, but model.embedding.freeze=true keeps the "
                "vectors as they are: set one of the two"
            )


class VectorEmbedding(nn.Module):
    """Pre-trained vectors, `W` wide, with an embedding that is trained from scratch beside them,
    `E - W` wide. Drops tokens and features as `TokenEmbedding` does.

    A token that training has never seen has a vector, and the trained part of the unknown token.

    Args:
        vocabulary_size: the number of tokens.
        width: `E`. If it equals `vector_size`, there is no trained part.
        vector_size: `W`.
        num_trained: tokens with ids below it are those of training.
        freeze: as in `VectorOptions`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        token_dropout: float,
        dropout: nn.Module,
        *,
        vector_size: int,
        num_trained: int,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary_size, vector_size)
        self.vectors.weight.requires_grad_(not freeze)
        self.trained = (
            nn.Embedding(num_trained, width - vector_size) if width > vector_size else None
        )
        self.token_dropout, self.dropout = token_dropout, dropout

    def forward(self, input: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time width"]:
        embedded = self.vectors(input)
        if self.trained is not None:
            known = input.where(input < self.trained.num_embeddings, UNKNOWN_ID)
            embedded = torch.cat([embedded, self.trained(known)], dim=-1)
        if self.training:
            embedded = drop_tokens(embedded, self.token_dropout)
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
    vectors: VectorOptions | None = None,
) -> tuple[nn.Module, int]:
    """Builds the module that turns inputs into the encoder's `(B, T, E)`; returns it and `E`.

    Args:
        data: `inputs` is "tokens" or "features", and `num_inputs` is their number; with
            pre-trained vectors, `vector_size` is their width, and `num_trained` as in
            `VectorEmbedding`.
        size: the width of the embedding (None: 128, or that of the vectors), or for features of a
            linear layer (None: no layer).
        noise: tokens: the share to drop; features: the standard deviation of Gaussian noise.
        uniform: draw token embeddings from -uniform to uniform; None: PyTorch's normal weights.
        vectors: how to train pre-trained vectors, if there are some.

    Raises:
        UserError: for a noise that is negative, or a share of 1 and more, or a width that the
            vectors don't fit in.
    """
    count, by_token = data["num_inputs"], data.get("inputs") != "features"
    if noise < 0 or (by_token and noise >= 1):
        raise UserError(f"model.input_noise is {noise}: it must be at least 0 and less than 1")
    if not by_token:
        if size is None:
            return FeatureNoise(noise), count
        return FeatureProjection(count, size, noise, dropout), size
    if vector_size := data.get("vector_size"):
        width = vector_size if size is None else size
        if width < vector_size:
            raise UserError(
                f"model.embedding_size is {width}, but the vectors of data.vectors are "
                f"{vector_size} wide: set model.embedding_size=null to use them alone, or more "
                f"than {vector_size} to train an embedding beside them"
            )
        return VectorEmbedding(
            count,
            width,
            noise,
            dropout,
            vector_size=vector_size,
            num_trained=data["num_trained"],
            freeze=vectors is not None and vectors.freeze,
        ), width
    embedding = TokenEmbedding(count, size or TOKEN_EMBEDDING_SIZE, noise, dropout)
    if uniform is not None:
        nn.init.uniform_(embedding.weight, -uniform, uniform)
    return embedding, embedding.embedding_dim
