"""All encoders of raw inputs, and the one that a checkpoint describes."""

from __future__ import annotations

from typing import Any

from seqmodels.data.input_encoder import InputEncoder
from seqmodels.data.series_inputs import Series
from seqmodels.data.token_inputs import Tokens
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.errors import UserError, choices

__all__ = ["InputEncoder", "Series", "Tokens", "load_inputs"]


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
    elif kind != "features":
        raise UserError(f"inputs are {kind!r}: {choices(kind, ('tokens', 'features'))}")
    encoder: InputEncoder = Tokens(**options) if kind == "tokens" else Series(**options)
    encoder.load(state["fitted"])
    return encoder
