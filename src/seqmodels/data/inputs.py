"""Encode raw inputs as tensors. What an encoder learns from the training split is saved in the
checkpoint, so you can predict without the training data."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from seqmodels.data.steps import average_windows, fold_steps, interpolate
from seqmodels.data.tokenizer import TokenizerOptions, load_tokenizer, train_tokenizer
from seqmodels.data.vectors import LEVELS, find_vectors
from seqmodels.errors import UserError, choices

log = logging.getLogger(__name__)

MOST_STEPS = 160  # of a series that is folded automatically


class InputEncoder(ABC):
    """Encodes raw inputs as one tensor each: `(T,)` int64 tokens or `(T, F)` float32 features."""

    kind: ClassVar[Literal["tokens", "features"]]
    num_inputs: int  # the vocabulary size or the number of features; known once `fit` or `load`
    vectors: Tensor | None = None  # `(V, W)` of the tokens, if `fit` has read pre-trained ones
    note = ""  # what the user should know of what `fit` has read
    vector_spec: Mapping[str, int] = MappingProxyType({})  # what a task must know of them

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
        vectors: pre-trained vectors of words: a file as `vector_rows` reads it, or `glove`. Only
            `fit` reads it: what is saved needs no file.
        vocabulary: `train` takes the words of the training texts only; `vectors` also takes words
            that only the file of vectors has, first those at its beginning, until there are
            `vocabulary_size`.

    Raises:
        UserError: for a wrong argument, or vectors for tokens that are no words.
    """

    kind = "tokens"
    tokenizer: Tokenizer

    def __init__(
        self,
        tokenizer: TokenizerOptions | None = None,
        *,
        max_length: int | None = None,
        keep: str = "start",
        vectors: str | None = None,
        vocabulary: str = "train",
    ) -> None:
        if keep not in ("start", "end"):
            raise UserError(f"data.keep is {keep!r}: choose start or end")
        if max_length is not None and max_length < 1:
            raise UserError(f"data.max_length is {max_length}: it must be at least 1, or null")
        if vocabulary not in ("train", "vectors"):
            raise UserError(f"data.vocabulary is {vocabulary!r}: choose train or vectors")
        if vocabulary == "vectors" and vectors is None:
            raise UserError(
                "data.vocabulary=vectors takes words from a file of vectors: "
                "set data.vectors=glove, or data.vectors=<file>"
            )
        self.options = tokenizer or TokenizerOptions()
        if vectors is not None and self.options.level not in LEVELS:
            raise UserError(
                f"data.vectors={vectors} has vectors of words, and data.tokenizer="
                f"{self.options.level} makes other tokens: set data.tokenizer=word, or =space"
            )
        self.max_length, self.keep = max_length, keep
        self.vectors_from, self.vocabulary = vectors, vocabulary
        self.trained: str | None = None

    def use(self, trained: str, options: TokenizerOptions) -> None:
        """Takes a tokenizer that was trained elsewhere, so that `fit` doesn't train one.

        Args:
            trained: the tokenizer as JSON.
            options: that it was trained with.

        Raises:
            UserError: if these options don't make such a tokenizer.
        """
        self.options, self.trained = options, trained
        self.load(trained)

    def fit(self, raw: Sequence[str]) -> None:
        if self.trained is not None:
            self.load(self.trained)
            return
        trained = train_tokenizer(raw, self.options)
        if self.vectors_from is None:
            self.load(trained.to_str())
            return
        tokenizer, self.vectors, self.note = find_vectors(
            self.vectors_from, trained, self.options, add_words=self.vocabulary == "vectors"
        )
        fitted = {"tokenizer": tokenizer.to_str(), "vector_size": self.vectors.shape[1]}
        self.load({**fitted, "num_trained": trained.get_vocab_size()})

    def encode(self, raw: Sequence[str], source: str, first: int = 1) -> list[Tensor]:
        sequences, limit, truncated = [], self.max_length, 0
        encodings = self.tokenizer.encode_batch_fast(list(raw))
        for number, (text, encoding) in enumerate(zip(raw, encodings, strict=True), first):
            tokens = encoding.ids
            if not tokens or text.isspace():
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
        how = asdict(self.options)
        options = {"tokenizer": how.pop("level"), **how}
        options |= {"max_length": self.max_length, "keep": self.keep}
        fitted: Any = self.tokenizer.to_str()
        if self.vector_spec:
            fitted = {"tokenizer": fitted, **self.vector_spec}
        return {"kind": self.kind, "options": options, "fitted": fitted}

    def load(self, fitted: str | dict[str, Any]) -> None:
        if not isinstance(fitted, str):
            self.vector_spec = {name: int(fitted[name]) for name in ("vector_size", "num_trained")}
            fitted = str(fitted["tokenizer"])
        self.tokenizer = load_tokenizer(fitted, self.options)
        self.num_inputs = self.tokenizer.get_vocab_size()


class Series(InputEncoder):
    """Scales each channel, and may fold several steps into one.

    Args:
        downsample: average windows of this many steps into one step.
        fold: put the channels of this many steps side by side into one step; the last step repeats
            the end of the series where it is too short. `auto`: as many as leave the longest series
            of training at most 160 steps.
        missing: `error` refuses a series with missing values; `interpolate` fills them linearly.
        scale: `split` standardises by the mean and deviation in the training split, `series` by
            those of each series, which hides its level and amplitude; `none` leaves the values.
        add_scale: append the mean and the logarithm of the deviation of each channel of a series to
            all its steps, standardised by the training split.

    Raises:
        UserError: for a wrong `downsample`, `fold`, `missing` or `scale`.
    """

    kind = "features"
    mean: np.ndarray
    deviation: np.ndarray
    scale_mean: np.ndarray  # of means and logarithms of deviations
    scale_deviation: np.ndarray

    def __init__(
        self,
        *,
        downsample: int = 1,
        fold: int | str = 1,
        missing: str = "error",
        scale: str = "split",
        add_scale: bool = False,
    ) -> None:
        if downsample < 1:
            raise UserError(f"data.downsample is {downsample}: it must be at least 1")
        if fold != "auto" and (isinstance(fold, str) or fold < 1):
            raise UserError(f"data.fold is {fold}: it must be at least 1, or auto")
        for name, choice, known in (
            ("missing", missing, ("error", "interpolate")),
            ("scale", scale, ("split", "series", "none")),
        ):
            if choice not in known:
                raise UserError(f"data.{name} is {choice!r}: {choices(choice, known)}")
        self.downsample, self.fold, self.missing = downsample, fold, missing
        self.scale, self.add_scale = scale, add_scale

    def fit(self, raw: Sequence[np.ndarray]) -> None:
        self.num_channels = np.shape(raw[0])[-1] if np.ndim(raw[0]) else 0
        series = [*self._clean(raw, "the training split")]
        scales = np.stack([_level_and_scale(each) for each in series])
        steps = np.concatenate(series)
        self.load(
            {
                "mean": steps.mean(axis=0),
                "deviation": _positive(steps.std(axis=0)),
                "scale_mean": scales.mean(axis=0),
                "scale_deviation": _positive(scales.std(axis=0)),
                "folded": self._folded(max(map(len, series))),
            }
        )

    def encode(self, raw: Sequence[np.ndarray], source: str, first: int = 1) -> list[Tensor]:
        encoded = []
        for number, series in enumerate(self._clean(raw, source, first), first):
            steps = fold_steps(self._scaled(series), self.folded)
            if self.add_scale:
                scale = (_level_and_scale(series) - self.scale_mean) / self.scale_deviation
                steps = np.concatenate([steps, np.tile(scale, (len(steps), 1))], axis=1)
            if np.abs(steps).max() > np.finfo(np.float32).max:
                raise UserError(
                    f"{source}: series {number} has a value too far from those of training "
                    f"({np.abs(series).max():g}); correct it"
                )
            encoded.append(torch.from_numpy(steps.astype(np.float32)))
        return encoded

    def _scaled(self, series: np.ndarray) -> np.ndarray:
        if self.scale == "none":
            return series
        if self.scale == "series":
            return (series - series.mean(axis=0)) / _positive(series.std(axis=0))
        return (series - self.mean) / self.deviation

    def state(self) -> dict[str, Any]:
        options = {
            "downsample": self.downsample,
            "fold": self.fold,
            "missing": self.missing,
            "scale": self.scale,
            "add_scale": self.add_scale,
        }
        names = ("mean", "deviation", "scale_mean", "scale_deviation")
        fitted = {name: getattr(self, name).tolist() for name in names}
        fitted["folded"] = self.folded
        return {"kind": self.kind, "options": options, "fitted": fitted}

    def load(self, fitted: dict[str, Any]) -> None:
        self.mean, self.deviation = np.array(fitted["mean"]), np.array(fitted["deviation"])
        self.num_channels = len(self.mean)
        # version 0.1 did not have them
        self.scale_mean = np.array(fitted.get("scale_mean", np.zeros(2 * self.num_channels)))
        self.scale_deviation = np.array(
            fitted.get("scale_deviation", np.ones(2 * self.num_channels))
        )
        self.folded = int(fitted.get("folded", 1))
        self.num_inputs = self.num_channels * (self.folded + 2 * self.add_scale)

    def _folded(self, longest: int) -> int:
        return -(-longest // MOST_STEPS) if self.fold == "auto" else int(self.fold)

    def _clean(self, raw: Sequence[Any], source: str, first: int = 1) -> Iterator[np.ndarray]:
        for number, given in enumerate(raw, first):
            where = f"{source}: series {number}"
            series = np.asarray(given, dtype=np.float64)
            if series.ndim != 2 or len(series) == 0:
                raise UserError(
                    f"{where} has shape {series.shape}; "
                    "it must be (steps, channels) with at least one step"
                )
            if series.shape[1] != self.num_channels:
                raise UserError(f"{where} has {series.shape[1]} channels, not {self.num_channels}")
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


def _positive(deviation: np.ndarray) -> np.ndarray:
    return np.where(deviation > 0, deviation, 1)


def _level_and_scale(series: np.ndarray) -> np.ndarray:
    return np.concatenate([series.mean(axis=0), np.log(_positive(series.std(axis=0)))])


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
