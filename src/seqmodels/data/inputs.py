"""Encode raw inputs as tensors. What an encoder learns from the training split is saved in the
checkpoint, so you can predict without the training data."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from seqmodels.data.tokenizer import TokenizerOptions, load_tokenizer, train_tokenizer
from seqmodels.errors import UserError, choices

log = logging.getLogger(__name__)


class InputEncoder(ABC):
    """Encodes raw inputs as one tensor each: `(T,)` int64 tokens or `(T, F)` float32 features."""

    kind: ClassVar[Literal["tokens", "features"]]
    num_inputs: int  # the vocabulary size or the number of features; known once `fit` or `load`

    @abstractmethod
    def fit(self, raw: Sequence[Any]) -> None:
        """Learns from the raw inputs of the training split."""

    @abstractmethod
    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> list[Tensor]:
        """One tensor per raw input.

        Raises:
            UserError: naming the source and, counted from `first`, an input that is wrong.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `load_inputs` needs, as plain values: `kind`, `options` and what was `fitted`."""

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
    tokenizer: Tokenizer

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
        self.options = tokenizer or TokenizerOptions()
        self.max_length, self.keep = max_length, keep

    def fit(self, raw: Sequence[str]) -> None:
        self.load(train_tokenizer(raw, self.options).to_str())

    def encode(self, raw: Sequence[str], source: str, first: int = 1) -> list[Tensor]:
        sequences, limit, truncated = [], self.max_length, 0
        for number, encoding in enumerate(self.tokenizer.encode_batch_fast(list(raw)), first):
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
        options = {
            "tokenizer": self.options.level,
            "lowercase": self.options.lowercase,
            "min_count": self.options.min_count,
            "vocabulary_size": self.options.vocabulary_size,
            "max_length": self.max_length,
            "keep": self.keep,
        }
        return {"kind": self.kind, "options": options, "fitted": self.tokenizer.to_str()}

    def load(self, fitted: str) -> None:
        self.tokenizer = load_tokenizer(fitted, self.options)
        self.num_inputs = self.tokenizer.get_vocab_size()


class Series(InputEncoder):
    """Standardises each channel by its mean and deviation in the training split.

    Args:
        downsample: average windows of this many steps into one step.
        missing: `error` refuses a series with missing values; `interpolate` fills them linearly.

    Raises:
        UserError: for a wrong `downsample` or `missing`.
    """

    kind = "features"
    mean: np.ndarray
    deviation: np.ndarray

    def __init__(self, *, downsample: int = 1, missing: str = "error") -> None:
        if downsample < 1:
            raise UserError(f"data.downsample is {downsample}: it must be at least 1")
        if missing not in ("error", "interpolate"):
            raise UserError(f"data.missing is {missing!r}: choose error or interpolate")
        self.downsample, self.missing = downsample, missing

    def fit(self, raw: Sequence[np.ndarray]) -> None:
        self.num_inputs = np.shape(raw[0])[-1] if np.ndim(raw[0]) else 0
        steps = np.concatenate([*self._clean(raw, "the training split")])
        deviation = steps.std(axis=0)
        self.load({"mean": steps.mean(axis=0), "deviation": np.where(deviation > 0, deviation, 1)})

    def encode(self, raw: Sequence[np.ndarray], source: str, first: int = 1) -> list[Tensor]:
        encoded = []
        for number, series in enumerate(self._clean(raw, source, first), first):
            standardised = (series - self.mean) / self.deviation
            if np.abs(standardised).max() > np.finfo(np.float32).max:
                raise UserError(
                    f"{source}: series {number} has a value too far from those of training "
                    f"({np.abs(series).max():g}); correct it"
                )
            encoded.append(torch.from_numpy(standardised.astype(np.float32)))
        return encoded

    def state(self) -> dict[str, Any]:
        options = {"downsample": self.downsample, "missing": self.missing}
        fitted = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        return {"kind": self.kind, "options": options, "fitted": fitted}

    def load(self, fitted: dict[str, Any]) -> None:
        self.mean, self.deviation = np.array(fitted["mean"]), np.array(fitted["deviation"])
        self.num_inputs = len(self.mean)

    def _clean(self, raw: Sequence[Any], source: str, first: int = 1) -> Iterator[np.ndarray]:
        for number, given in enumerate(raw, first):
            where = f"{source}: series {number}"
            series = np.asarray(given, dtype=np.float64)
            if series.ndim != 2 or len(series) == 0:
                raise UserError(
                    f"{where} has shape {series.shape}; "
                    "it must be (steps, channels) with at least one step"
                )
            if series.shape[1] != self.num_inputs:
                raise UserError(f"{where} has {series.shape[1]} channels, not {self.num_inputs}")
            if np.isinf(series).any():
                raise UserError(f"{where} has an infinite value; correct it, or leave it missing")
            missing = int(np.isnan(series).sum())
            if missing and self.missing == "error":
                raise UserError(
                    f"{where} has {missing} missing value{'s' if missing > 1 else ''}; "
                    "set data.missing=interpolate to fill them"
                )
            filled = interpolate(series, where) if missing else series
            yield average_windows(filled, self.downsample)


def interpolate(
    series: Float[np.ndarray, "time channels"], where: str
) -> Float[np.ndarray, "time channels"]:
    """Fills nan linearly, channel by channel; at the ends with the nearest value."""
    known, steps = ~np.isnan(series), np.arange(len(series))
    if not known.any(axis=0).all():
        raise UserError(f"{where} has a channel without any value to interpolate from")
    channels = zip(series.T, known.T, strict=True)
    return np.stack([np.interp(steps, steps[there], x[there]) for x, there in channels], axis=1)


def average_windows(
    series: Float[np.ndarray, "time channels"], window: int
) -> Float[np.ndarray, "windows channels"]:
    """Averages each `window` steps into one step; the last window may be shorter."""
    if window == 1:
        return series
    starts = np.arange(0, len(series), window)
    counts = np.diff(np.append(starts, len(series)))[:, None]
    return np.add.reduceat(series, starts, axis=0) / counts


def load_inputs(state: dict[str, Any]) -> InputEncoder:
    """The fitted encoder that `state()` describes.

    Raises:
        UserError: for an unknown kind of inputs.
    """
    kind, options = state["kind"], dict(state["options"])
    if kind == "tokens":
        names = ("tokenizer", "lowercase", "min_count", "vocabulary_size")
        options["tokenizer"] = TokenizerOptions(*(options.pop(name) for name in names))
    elif kind != "features":
        raise UserError(f"inputs are {kind!r}: {choices(kind, ('tokens', 'features'))}")
    encoder: InputEncoder = Tokens(**options) if kind == "tokens" else Series(**options)
    encoder.load(state["fitted"])
    return encoder
