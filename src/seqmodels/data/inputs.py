"""Encode raw inputs as tensors. What an encoder learns from the training split is saved in the
checkpoint, so you can predict without the training data."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from seqmodels.data.resampling import average_windows, interpolate
from seqmodels.data.tokenizer import TokenizerOptions, train_tokenizer
from seqmodels.errors import UserError, choices

log = logging.getLogger(__name__)


class InputEncoder(ABC):
    """Encodes raw inputs as one tensor per example.

    `options` are the constructor's settings as plain values; they are saved with the encoder.
    """

    kind: ClassVar[Literal["tokens", "features"]]
    options: dict[str, Any]

    @property
    @abstractmethod
    def num_inputs(self) -> int:
        """The vocabulary size for tokens, the number of features a step otherwise."""

    @abstractmethod
    def fit(self, raw: Sequence[Any]) -> None:
        """Learns from the raw inputs of the training split."""

    @abstractmethod
    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> list[Tensor]:
        """One tensor per raw input: `(T,)` int64 tokens or `(T, F)` float32 features.

        Args:
            source: where the inputs come from, for error messages.
            first: the number of the first input within the source.

        Raises:
            UserError: naming the source and the number of an input that cannot be encoded.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything `load_inputs` needs, as plain values: `kind`, `options` and `fitted`."""

    @abstractmethod
    def load(self, fitted: Any) -> None:
        """Restores what `fit` learned from the `fitted` of a saved state."""


class Tokens(InputEncoder):
    """Tokenises texts, and truncates those longer than `max_length`.

    Args:
        tokenizer: how to train the tokenizer; None takes the default options.
        max_length: the largest number of tokens a text may keep; None keeps all.
        keep: which end of a longer text to keep, `start` or `end`.

    Raises:
        UserError: for a wrong `max_length` or `keep`.
    """

    kind = "tokens"

    def __init__(
        self,
        tokenizer: TokenizerOptions | None = None,
        *,
        max_length: int | None = None,
        keep: str = "start",
    ) -> None:
        if keep not in ("start", "end"):
            raise UserError(f"data.keep is {keep!r}: choose start or end")
        if max_length is not None and max_length < 1:
            raise UserError(f"data.max_length is {max_length}: it must be at least 1, or null")
        self.tokenizer_options = tokenizer or TokenizerOptions()
        self.max_length, self.keep = max_length, keep
        self.options = {
            "tokenizer": self.tokenizer_options.level,
            "lowercase": self.tokenizer_options.lowercase,
            "min_count": self.tokenizer_options.min_count,
            "vocabulary_size": self.tokenizer_options.vocabulary_size,
            "max_length": max_length,
            "keep": keep,
        }
        self.tokenizer: Tokenizer | None = None

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Tokens:
        """An encoder with saved `options`."""
        tokenizer = TokenizerOptions(
            options["tokenizer"],
            options["lowercase"],
            options["min_count"],
            options["vocabulary_size"],
        )
        return cls(tokenizer, max_length=options["max_length"], keep=options["keep"])

    def _trained(self) -> Tokenizer:
        if self.tokenizer is None:
            raise RuntimeError("the tokenizer is not trained yet: call fit, or load a saved state")
        return self.tokenizer

    @property
    def num_inputs(self) -> int:
        return self._trained().get_vocab_size()

    def fit(self, raw: Sequence[str]) -> None:
        self.tokenizer = train_tokenizer(raw, self.tokenizer_options)

    def encode(self, raw: Sequence[str], source: str, first: int = 1) -> list[Tensor]:
        sequences, limit, truncated = [], self.max_length, 0
        for number, encoding in enumerate(self._trained().encode_batch_fast(list(raw)), first):
            tokens = encoding.ids
            if not tokens:
                raise UserError(f"{source}: text {number} is empty; remove it or give it some text")
            if limit is not None and len(tokens) > limit:
                truncated += 1
                tokens = tokens[:limit] if self.keep == "start" else tokens[-limit:]
            sequences.append(torch.tensor(tokens, dtype=torch.int64))
        if truncated:
            log.info(
                f"{source}: data.max_length={limit} truncated {truncated} of {len(sequences)} "
                f"texts (kept the {self.keep})"
            )
        return sequences

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "options": self.options, "fitted": self._trained().to_str()}

    def load(self, fitted: str) -> None:
        self.tokenizer = Tokenizer.from_str(fitted)


class Series(InputEncoder):
    """Standardises each channel by its mean and deviation in the training split.

    Args:
        downsample: average windows of this many steps into one step.
        missing: `error` refuses a series with missing values; `interpolate` fills them linearly.

    Raises:
        UserError: for a wrong `downsample` or `missing`.
    """

    kind = "features"

    def __init__(self, *, downsample: int = 1, missing: str = "error") -> None:
        if downsample < 1:
            raise UserError(f"data.downsample is {downsample}: it must be at least 1")
        if missing not in ("error", "interpolate"):
            raise UserError(f"data.missing is {missing!r}: choose error or interpolate")
        self.downsample, self.missing = downsample, missing
        self.options = {"downsample": downsample, "missing": missing}
        self.mean: np.ndarray | None = None
        self.deviation: np.ndarray | None = None

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Series:
        """An encoder with saved `options`."""
        return cls(downsample=options["downsample"], missing=options["missing"])

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self.mean is None or self.deviation is None:
            raise RuntimeError("mean and deviation are unknown: call fit, or load a saved state")
        return self.mean, self.deviation

    @property
    def num_inputs(self) -> int:
        return len(self._fitted()[0])

    def fit(self, raw: Sequence[np.ndarray]) -> None:
        steps = np.concatenate(self._clean(raw, "the training split"))
        self.mean = steps.mean(axis=0)
        deviation = steps.std(axis=0)
        self.deviation = np.where(deviation > 0, deviation, 1.0)  # a constant channel becomes 0

    def encode(self, raw: Sequence[np.ndarray], source: str, first: int = 1) -> list[Tensor]:
        mean, deviation = self._fitted()
        return [
            torch.from_numpy(((series - mean) / deviation).astype(np.float32))
            for series in self._clean(raw, source, first)
        ]

    def _clean(self, raw: Sequence[np.ndarray], source: str, first: int = 1) -> list[np.ndarray]:
        cleaned = []
        for number, given in enumerate(raw, first):
            where = f"{source}: series {number}"
            series = np.asarray(given, dtype=np.float64)
            if series.ndim != 2 or len(series) == 0:
                raise UserError(
                    f"{where} has shape {series.shape}; "
                    "it must be (steps, channels) with at least one step"
                )
            channels = series.shape[1] if self.mean is None else len(self.mean)
            if series.shape[1] != channels:
                raise UserError(f"{where} has {series.shape[1]} channels, not {channels}")
            missing = int((~np.isfinite(series)).sum())
            if missing and self.missing == "error":
                raise UserError(
                    f"{where} has {missing} missing value{'s' if missing > 1 else ''}; "
                    "set data.missing=interpolate to fill them"
                )
            filled = interpolate(series, where) if missing else series
            cleaned.append(average_windows(filled, self.downsample))
        return cleaned

    def state(self) -> dict[str, Any]:
        mean, deviation = self._fitted()
        fitted = {"mean": mean.tolist(), "deviation": deviation.tolist()}
        return {"kind": self.kind, "options": self.options, "fitted": fitted}

    def load(self, fitted: dict[str, list[float]]) -> None:
        self.mean, self.deviation = np.array(fitted["mean"]), np.array(fitted["deviation"])


_KINDS: dict[str, type[Tokens] | type[Series]] = {cls.kind: cls for cls in (Tokens, Series)}


def load_inputs(state: dict[str, Any]) -> InputEncoder:
    """The fitted encoder that `state()` describes.

    Raises:
        UserError: for an unknown kind of inputs.
    """
    if state["kind"] not in _KINDS:
        raise UserError(f"inputs are {state['kind']!r}: {choices(state['kind'], _KINDS)}")
    encoder = _KINDS[state["kind"]].from_options(state["options"])
    encoder.load(state["fitted"])
    return encoder
