"""All encoders of raw inputs, and the one that a checkpoint describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqmodels.data.input_encoder import InputEncoder
from seqmodels.data.series_inputs import Series
from seqmodels.data.token_inputs import Tokens
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.data.word_inputs import Words
from seqmodels.errors import UserError, choices

__all__ = ["InputEncoder", "Series", "Tokens", "Words", "load_inputs"]

ENCODERS: dict[str, Callable[..., InputEncoder]] = {
    "tokens": Tokens,
    "words": Words,
    "features": Series,
}


def load_inputs(state: dict[str, Any]) -> InputEncoder:
    """The fitted encoder that `state()` describes.

    Raises:
        UserError: for an unknown kind of inputs.
    """
    kind, options = state["kind"], dict(state["options"])
    if kind == "tokens":
        options.setdefault("keep_whitespace", False)  # absent in older checkpoints
        names = ("tokenizer", "lowercase", "min_count", "vocabulary_size", "keep_whitespace")
        options["tokenizer"] = TokenizerOptions(*(options.pop(name) for name in names))
    if kind not in ENCODERS:
        raise UserError(f"inputs are {kind!r}: {choices(kind, ENCODERS)}")
    encoder = ENCODERS[kind](**options)
    encoder.load(state["fitted"])
    return encoder
