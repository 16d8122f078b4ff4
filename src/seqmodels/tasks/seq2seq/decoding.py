"""Build the decoder that the options of a model describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from seqmodels.arguments import NonNegativeFraction
from seqmodels.errors import UserError
from seqmodels.nn.embedding import (
    TOKEN_EMBEDDING_SIZE,
    EmbeddingOptions,
    LockedDropout,
    TokenEmbedding,
)
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import Output
from seqmodels.nn.vocabulary import TiedVocabulary, Vocabulary
from seqmodels.tasks.seq2seq.bridge import Attention
from seqmodels.tasks.seq2seq.decoder import Decoder


@dataclass(frozen=True)
class TextOptions:
    """How texts are learned.

    Args:
        label_smoothing: of PyTorch's cross-entropy; acts in training only.
        tied: whether the logits use the embedding of the target tokens.
    """

    label_smoothing: NonNegativeFraction = 0.0
    tied: bool = False


def build_decoder(
    model: Mapping[str, Any],
    options: EmbeddingOptions,
    data: Mapping[str, Any],
    encoder: RecurrentEncoder,
    *,
    shared: nn.Module | None = None,
    attention: Mapping[str, Any] | None = None,
) -> Decoder:
    """The decoder of this encoder.

    Args:
        model: the arguments of a `Seq2Seq`, or some of them.
        options: of the embedding on both sides.
        data: its `num_targets`, `start` and `end`.
        shared: the embedding of one vocabulary for both sides.
        attention: `score` and `size` of an `Attention`; None: without.

    Raises:
        UserError: for a decoder that cannot start from this encoder's state.
    """
    locked = bool(model.get("locked_dropout"))
    dropout = LockedDropout if locked else nn.Dropout
    output = TextOptions(**(model.get("output") or {}))
    size = options.size or TOKEN_EMBEDDING_SIZE
    embedding: Any = shared
    if shared is None:
        drop = dropout(options.dropout or 0.0)
        embedding = TokenEmbedding(data["num_targets"], size, options.noise, drop)
    rnn = _recurrent(encoder, size, model.get("decoder"), locked)
    attend = None
    if attention is not None:
        width = encoder.num_directions * encoder.output_size
        attend = Attention(rnn.output_size, width, **attention)
    make: Callable[..., Output] = TiedVocabulary if output.tied else Vocabulary
    return Decoder(
        encoder,
        rnn,
        embedding,
        partial(
            make,
            vocabulary_size=data["num_targets"],
            embedding=embedding,
            label_smoothing=output.label_smoothing,
        ),
        attention=attend,
        start=data["start"],
        end=data["end"],
        sampling=model.get("scheduled_sampling", 0.0),
        dropout=dropout(model.get("dropout", 0.0)),
    )


def _recurrent(
    encoder: RecurrentEncoder, size: int, options: Mapping[str, Any] | None, locked: bool
) -> RecurrentEncoder:
    directions, own = encoder.num_directions, dict(options or {})
    usual: dict[str, Any] = {
        "cell": encoder.cell,
        "hidden_size": directions * encoder.rnn.hidden_size,
        "num_layers": encoder.num_layers,
        "proj_size": directions * encoder.rnn.proj_size,
        "dropout": encoder.rnn.dropout,
        "locked_dropout": locked,
    }
    if own.get("hidden_size") is not None or own.get("cell") not in (None, "lstm"):
        usual["proj_size"] = 0
    if (own.get("num_layers") or encoder.num_layers) == 1:
        usual["dropout"] = 0.0
    try:
        return RecurrentEncoder(size, **usual | {k: v for k, v in own.items() if v is not None})
    except TypeError as error:
        raise UserError(f"model.decoder: {error}") from error
    except ValueError as error:
        raise UserError(f"model.{error}".replace("encoder.", "decoder.")) from error
