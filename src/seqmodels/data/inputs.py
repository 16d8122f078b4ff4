"""Encode raw inputs as tensors. What an encoder learns from the training split is saved in the
checkpoint, so you can predict without the training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from seqmodels.errors import UserError, choices

ENCODERS: dict[str, type[InputEncoder]] = {}
"""The encoders by their name in a saved state."""


class DrawnChannel(NamedTuple):
    """A channel of one series for a picture, with a number for each step.

    Args:
        values: in its own units; of a channel of texts, their numbers.
        amounts: how much each step counts.
    """

    name: str
    values: Float[np.ndarray, " time"]
    amounts: Float[np.ndarray, " time"]


class InputEncoder(ABC):
    """Encodes raw inputs as one tensor each: `(T,)` int64 tokens, `(T, 1 + K)` int64 words with
    their characters, or `(T, F)` float32 features. A subclass names its saved state:
    `class Tokens(InputEncoder, name="tokens")`."""

    kind: ClassVar[Literal["tokens", "features"]]
    # The name in a saved state.
    saved_as: ClassVar[str]
    # The arguments to save, as plain values.
    arguments: Mapping[str, Any] = MappingProxyType({})
    # These two are there once `fit` or `load` was called: what the encoder has learned, as plain
    # values; and the vocabulary size, or the number of features.
    fitted: Mapping[str, Any]
    num_inputs: int
    # The vectors of the tokens, `(V, W)`, if `fit` has read pre-trained ones.
    vectors: Tensor | None = None
    # A sentence for the user on what `fit` has read.
    note = ""
    # Sizes that a task must know besides `num_inputs`.
    further_spec: Mapping[str, int] = MappingProxyType({})
    # Sentences for the user on what was encoded.
    doubts: Mapping[Any, str] = MappingProxyType({})

    def __init_subclass__(cls, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if name is not None:
            ENCODERS[name] = cls
            cls.saved_as = name

    @abstractmethod
    def fit(self, raw: Sequence[Any]) -> None:
        """Learns from the raw inputs of the training split: what it gives to `load`."""

    @abstractmethod
    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> Sequence[Tensor]:
        """One tensor per raw input. Raises a `UserError` naming the source and, counted from
        `first`, an input that is wrong."""

    def encode_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> Sequence[Tensor]:
        """Encodes the next steps of some rows.

        Args:
            raw: these steps, one raw input for each row.
            kept: what an encoder remembers of the steps before; empty where the rows begin.
        """
        return self.encode(raw, "inputs")

    def reads_whole_rows(self) -> str:
        """Why a raw input can't be encoded some steps at a time; empty if it can."""
        return ""

    def describe(self, raw: Any) -> dict[str, Any]:
        """What of a raw input belongs beside its prediction, in plain values that JSON can hold."""
        return {}

    def pieces(self, raw: Any) -> list[tuple[str, bool]]:
        """The pieces of a text, and whether each is a token; empty where inputs are no texts."""
        return []

    @property
    def num_channels(self) -> int:
        """How many channels of numbers, or texts, a raw series has; here, every feature is one."""
        return self.num_inputs

    def channels_of(
        self, features: Float[np.ndarray, "time features"], amounts: np.ndarray, num_steps: int
    ) -> list[DrawnChannel]:
        """The channels of encoded features, each once; here, every feature is one.

        Args:
            features: what the network reads of a raw input.
            amounts: a number for each feature, which are summed over those of a channel.
            num_steps: the steps of the raw input, which the features may exceed.
        """
        channels = []
        for place in range(features.shape[1]):
            name = f"channel {place + 1}"
            channels.append(DrawnChannel(name, features[:, place], amounts[:, place]))
        return channels

    def name(self, raw: Any) -> dict[str, Any]:
        """What a raw input can be recognised by in a table, in plain values."""
        return self.describe(raw) or {"input": raw}

    @abstractmethod
    def load(self, fitted: Mapping[str, Any]) -> None:
        """Takes what `fit` has learned, as `fitted` of a saved state holds it."""
        self.fitted = fitted

    def state(self) -> dict[str, Any]:
        """What `load_inputs` needs, as plain values."""
        return {
            "kind": self.saved_as,
            "options": dict(self.arguments),
            "fitted": dict(self.fitted),
        }


def load_inputs(state: dict[str, Any]) -> InputEncoder:
    """The fitted encoder that `state()` describes. Raises a `UserError` for an unknown kind of
    inputs."""
    kind = state["kind"]
    if kind not in ENCODERS:
        raise UserError(f"inputs are {kind!r}: {choices(kind, ENCODERS)}")
    encoder = ENCODERS[kind](**state["options"])
    encoder.load(state["fitted"])
    return encoder
