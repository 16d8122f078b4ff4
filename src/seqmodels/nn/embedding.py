"""Turn a batch's inputs, tokens or features, into the inputs of the recurrent network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from seqmodels.arguments import ArgumentsOf, Count, NonNegative, NonNegativeFraction
from seqmodels.batch import PADDING_ID, UNKNOWN_ID, Words
from seqmodels.errors import UserError
from seqmodels.nn.encoder import RecurrentEncoder

TOKEN_EMBEDDING_SIZE = 128
LARGEST_WEIGHT = 0.1  # A new embedding of tokens has no larger one.
# Levels of a number lie between these, in deviations of its channel if the data is scaled.
LOWEST_LEVEL, HIGHEST_LEVEL = -3.0, 3.0
# Levels tell a feature's numbers badly apart if more than this share of them lies in one.
NEARLY_ALL = 0.9


class LockedDropout(nn.Dropout1d):
    """Drops the same features at all steps of a row: `(B, T, F) -> (B, T, F)` (Gal and Ghahramani
    2016, https://arxiv.org/abs/1512.05287). Without steps, `(B, F)`, it is `nn.Dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        steps = input if input.dim() == 3 else input.unsqueeze(1)
        return super().forward(steps.transpose(1, 2)).transpose(1, 2).view_as(input)


class SmallEmbedding(nn.Embedding):
    """An `nn.Embedding` of small weights: PyTorch's initial weights are as large as well-learned
    ones, so that words which training has hardly seen would be noise."""

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -LARGEST_WEIGHT, LARGEST_WEIGHT)


class TokenEmbedding(SmallEmbedding):
    """An embedding that hides words and drops features in training.

    Args:
        hidden: the share of the vocabulary that reads as the unknown token, others in each batch,
            so that this one is learned too.
        dropout: acts on the embeddings.
    """

    def __init__(self, vocabulary_size: int, width: int, hidden: float, dropout: nn.Module) -> None:
        super().__init__(vocabulary_size, width)
        self.hidden, self.dropout = hidden, dropout

    def forward(self, input: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time width"]:
        if self.training:
            input = hide_tokens(input, self.hidden, self.num_embeddings)
        return self.dropout(super().forward(input))


def hide_tokens(
    tokens: Int[Tensor, "batch time"], share: float, vocabulary_size: int
) -> Int[Tensor, "batch time"]:
    """Replaces this share of the vocabulary by the unknown token; not the one that marks padding
    and the start of a stream."""
    if not share:
        return tokens
    hidden = torch.rand(vocabulary_size, device=tokens.device) < share
    hidden[PADDING_ID] = False
    return tokens.where(~hidden[tokens], UNKNOWN_ID)


@dataclass(frozen=True)
class CharacterOptions:
    """The sizes of a `CharacterEncoder`.

    Args:
        embedding_size: the width of the embedding of characters.
        hidden_size: the width of the state in each direction.
    """

    embedding_size: Count = 32
    hidden_size: Count = 32


@dataclass(frozen=True)
class EmbeddingOptions:
    """What stands between the inputs and the recurrent network.

    Args:
        size: tokens: the width of the embedding (None: 128); features: the width of a linear
            projection (None: no projection). With pre-trained vectors, what they leave of the width
            is trained from scratch (None: the vectors alone).
        dropout: on embedded tokens, and on the projection of features; None: the task's.
        noise: in training: tokens: the share of the vocabulary that reads as unknown, others in
            each batch; features: the deviation of Gaussian noise that is added.
        levels: features: read each number as `Levels` of this count. None: the number itself.
        freeze: keep pre-trained vectors as they are; the trained part beside them learns.
        character_options: arguments of `CharacterOptions`: what reads the characters of each word,
            if the data gives them.
        convolutions: the sizes, in steps, of convolutions between inputs and recurrent network,
            such as [7, 5]; see `Convolutions`. None: there are none.
        channels: of each convolution.
    """

    size: Count | None = None
    dropout: NonNegativeFraction | None = None
    noise: NonNegative = 0.0
    levels: Count | None = None
    freeze: bool = False
    character_options: (
        Annotated[dict[str, Any], ArgumentsOf("seqmodels.nn.embedding.CharacterOptions")] | None
    ) = None
    convolutions: Annotated[list[Count], Field(min_length=1)] | None = None
    channels: Count = 128


class VectorEmbedding(nn.Module):
    """Pre-trained vectors, `W` wide, with an embedding that is trained from scratch beside them,
    `E - W` wide. Hides words and drops features as `TokenEmbedding` does.

    A token that training has never seen has a vector, and the trained part of the unknown token.

    Args:
        width: `E`. If it equals `vector_size`, `W`, there is no trained part.
        num_trained: tokens with ids below it are the training's.
        freeze: keep the vectors as they are.
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        hidden: float,
        dropout: nn.Module,
        *,
        vector_size: int,
        num_trained: int,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary_size, vector_size)
        self.vectors.weight.requires_grad_(not freeze)
        rest = width - vector_size
        self.trained = SmallEmbedding(num_trained, rest) if rest else None
        self.hidden, self.dropout = hidden, dropout

    def forward(self, input: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time width"]:
        if self.training:
            input = hide_tokens(input, self.hidden, self.vectors.num_embeddings)
        embedded = self.vectors(input)
        if self.trained is not None:
            known = input.where(input < self.trained.num_embeddings, UNKNOWN_ID)
            embedded = torch.cat([embedded, self.trained(known)], dim=-1)
        return self.dropout(embedded)


class CharacterEncoder(nn.Module):
    """Reads each word in both directions and gives its final states side by side, `(B, T, 2 * H)`
    (Lample et al. 2016, https://arxiv.org/abs/1603.01360).

    So it is the head `bidirectional_concat` once more, with a word for a sequence and characters
    for its steps. A step without characters, such as padding, gives zeros.

    Args:
        dropout: acts on the final states.
    """

    def __init__(self, num_characters: int, options: CharacterOptions, dropout: nn.Module) -> None:
        super().__init__()
        self.embedding = SmallEmbedding(num_characters, options.embedding_size)
        self.encoder = RecurrentEncoder(
            options.embedding_size, options.hidden_size, bidirectional=True
        )
        self.dropout = dropout
        self.width = 2 * self.encoder.output_size

    def forward(
        self, characters: Int[Tensor, "batch time most"], words: Words | None = None
    ) -> Float[Tensor, "batch time width"]:
        """`(B, T, K) -> (B, T, 2 * H)`; `words` are the different ones, if you know them."""
        different, lengths, places = words or Words.of(characters)
        h_n = self.encoder(self.embedding(different), lengths).h_n[-1]  # (D, N, H)
        final = torch.cat([*h_n], dim=-1) * (different != PADDING_ID).any(dim=1, keepdim=True)
        return self.dropout(final[places])


class WordEmbedding(nn.Module):
    """Embeds words and their characters: the first number of a step is the word, the others are its
    characters, `(B, T, 1 + K)`. Gives the two embeddings side by side."""

    def __init__(self, words: nn.Module, characters: CharacterEncoder) -> None:
        super().__init__()
        self.words = words
        self.characters = characters

    def forward(
        self, inputs: Int[Tensor, "batch time one_and_most"], words: Words | None = None
    ) -> Float[Tensor, "batch time width"]:
        """`(B, T, 1 + K) -> (B, T, E)`; `words` are the different ones, if you know them."""
        embedded_words = self.words(inputs[..., 0])
        embedded_characters = self.characters(inputs[..., 1:], words)
        return torch.cat([embedded_words, embedded_characters], dim=-1)


class FeatureNoise(nn.Module):
    """Adds Gaussian noise with this standard deviation to features `(B, T, F)` in training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, features: Tensor) -> Tensor:
        if self.training and self.deviation:
            features = features + self.deviation * torch.randn_like(features)
        return features


class Levels(nn.Module):
    """Says how far each number has come through each of `count` equal intervals from -3 to 3:
    0 if it lies below an interval, 1 above it, linear inside (the piecewise linear encoding of
    Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556).

    A single weight then tells numbers below a threshold from those above, wherever it lies.
    `(B, T, F) -> (B, T, F * count)`, the intervals of a feature side by side.
    """

    starts: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.width = (HIGHEST_LEVEL - LOWEST_LEVEL) / count
        starts = LOWEST_LEVEL + self.width * torch.arange(count)
        self.register_buffer("starts", starts, persistent=False)

    def forward(
        self, features: Float[Tensor, "batch time features"]
    ) -> Float[Tensor, "batch time levels"]:
        intervals_passed = (features.unsqueeze(-1) - self.starts) / self.width
        return intervals_passed.clamp(0, 1).flatten(-2)

    def crowded(self, features: Float[Tensor, "steps features"]) -> list[int]:
        """The features of which levels tell hardly any numbers apart: nearly all steps lie beyond
        the same end of the levels, or have several numbers within one."""
        ends = functional.pad(self.starts, (0, 1), value=HIGHEST_LEVEL)
        crowded_features = []
        for number, values in enumerate(features.T.contiguous()):
            levels = torch.bucketize(values, ends)  # 0 below the lowest one
            fullest = int(levels.bincount().argmax())
            values_there = values[levels == fullest]
            if len(values_there) <= NEARLY_ALL * len(values):
                continue
            is_beyond = fullest in (0, len(ends))
            has_several = bool((values_there != values_there[0]).any())
            # A single level is meant to hold all numbers.
            if is_beyond or (has_several and len(self.starts) > 1):
                crowded_features.append(number)
        return crowded_features


def build_embedding(
    data: Mapping[str, Any], options: EmbeddingOptions, dropout: nn.Module
) -> tuple[nn.Module, int]:
    """Builds the module that turns inputs into the encoder's `(B, T, E)`; returns it and `E`.

    Args:
        data: `inputs` is "tokens" or "features", and `num_inputs` is their number; with
            pre-trained vectors, `vector_size` is their width, and `num_trained` as in
            `VectorEmbedding`; of words with characters, `num_characters` says how many there are.
    """
    if data.get("inputs") == "features":
        return build_feature_embedding(data["num_inputs"], options, dropout)
    embedding, width = build_token_embedding(data, options, dropout)
    num_characters = data.get("num_characters")
    if num_characters is None:
        return embedding, width
    sizes = CharacterOptions(**(options.character_options or {}))
    characters = CharacterEncoder(num_characters, sizes, dropout)
    return WordEmbedding(embedding, characters), width + characters.width


def build_feature_embedding(
    num_features: int, options: EmbeddingOptions, dropout: nn.Module
) -> tuple[nn.Module, int]:
    """Builds what reads numbers: noise, levels and a linear projection, those that the options ask
    for; returns it and `E`."""
    layers: list[nn.Module] = [FeatureNoise(options.noise)]
    width = num_features
    if options.levels is not None:
        layers.append(Levels(options.levels))
        width = num_features * options.levels
    if options.size is not None:
        layers += [nn.Linear(width, options.size), dropout]
        width = options.size
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers), width


def build_token_embedding(
    data: Mapping[str, Any], options: EmbeddingOptions, dropout: nn.Module
) -> tuple[nn.Module, int]:
    """Builds what reads tokens, by pre-trained vectors if the data has some; returns it and `E`."""
    if options.noise >= 1:
        raise UserError(
            f"model.embedding.noise is {options.noise}: it must be at least 0 and less than 1"
        )
    if options.levels is not None:
        raise UserError(
            f"model.embedding.levels is {options.levels}, but only numbers have levels, and this "
            "data has tokens: set model.embedding.levels=null"
        )
    num_tokens = data["num_inputs"]
    vector_size = data.get("vector_size")
    if not vector_size:
        width = options.size or TOKEN_EMBEDDING_SIZE
        return TokenEmbedding(num_tokens, width, options.noise, dropout), width
    width = vector_size if options.size is None else options.size
    if width < vector_size:
        raise UserError(
            f"model.embedding.size is {width}, but the vectors of data.vectors are "
            f"{vector_size} wide: set model.embedding.size=null to use them alone, or more "
            f"than {vector_size} to train an embedding beside them"
        )
    embedding = VectorEmbedding(
        num_tokens,
        width,
        options.noise,
        dropout,
        vector_size=vector_size,
        num_trained=data["num_trained"],
        freeze=options.freeze,
    )
    return embedding, width
