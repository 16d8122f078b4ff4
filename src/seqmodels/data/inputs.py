"""Encode raw inputs as tensors. What an encoder learns from the training split is saved in the
checkpoint, so you can predict without the training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import Tensor

from seqmodels.errors import UserError, choices

ENCODERS: dict[str, type[InputEncoder]] = {}
"""By the name in a saved state."""


class InputEncoder(ABC):
    """Encodes raw inputs as one tensor each: `(T,)` int64 tokens, `(T, 1 + K)` int64 words with
    their characters, or `(T, F)` float32 features. A subclass gives the name that its saved state
    has: `class Tokens(InputEncoder, name="tokens")`."""

    kind: ClassVar[Literal["tokens", "features"]]
    num_inputs: int  # the vocabulary size or the number of features; known once `fit` or `load`
    vectors: Tensor | None = None  # `(V, W)` of the tokens, if `fit` has read pre-trained ones
    note = ""  # what the user should know of what `fit` has read
    own_spec: Mapping[str, int] = MappingProxyType({})  # what else a task must know

    num_characters: int | None = None  # how many different ones words have, if these are given, too

    def __init_subclass__(cls, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if name is not None:
            ENCODERS[name] = cls

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> InputEncoder:
        """The encoder with the `options` of a saved state, not yet fitted."""
        return cls(**options)

    @abstractmethod
    def fit(self, raw: Sequence[Any]) -> None:
        """Learns from the raw inputs of the training split."""

    @abstractmethod
    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> Sequence[Tensor]:
        """One tensor per raw input.

        Raises:
            UserError: naming the source and, counted from `first`, an input that is wrong.
        """

    def describe(self, raw: Any) -> dict[str, Any]:
        """What of a raw input belongs beside its prediction, in plain values that JSON can hold."""
        return {}

    def pieces(self, raw: Any) -> list[tuple[str, bool]]:
        """A text in pieces, each with whether it is a token; empty where inputs are no texts."""
        return []

    def name(self, raw: Any) -> dict[str, Any]:
        """What a raw input can be recognised by in a table, in plain values."""
        return self.describe(raw) or {"input": raw}

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `load_inputs` needs, as plain values: `kind`, `options` and what was `fitted`."""

    @abstractmethod
    def load(self, fitted: Any) -> None:
        """Restores what `fit` learned from the `fitted` of a saved state."""


def load_inputs(state: dict[str, Any]) -> InputEncoder:
    """The fitted encoder that `state()` describes.

    Raises:
        UserError: for an unknown kind of inputs.
    """
    kind = state["kind"]
    if kind not in ENCODERS:
        raise UserError(f"inputs are {kind!r}: {choices(kind, ENCODERS)}")
    encoder = ENCODERS[kind].from_options(dict(state["options"]))
    encoder.load(state["fitted"])
    return encoder
