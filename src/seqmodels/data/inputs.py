"""From raw inputs to tensors. What is learned here, from the training part alone, is saved inside
the checkpoint, so that prediction needs nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from seqmodels.data.tokenizer import train_tokenizer
from seqmodels.errors import UserError, choices

log = logging.getLogger(__name__)


class TextPreprocessor:
    """Tokenises; cuts texts longer than `max_length` tokens and counts what it cut.

    Args:
        tokenizer: `word`, `char`, `byte` or `bpe`.
        max_length: in tokens; None keeps all.
        keep: which end of a longer text stays: `start` or `end`.
    """

    kind: ClassVar[str] = "tokens"

    def __init__(
        self,
        tokenizer: str = "word",
        *,
        lowercase: bool = True,
        min_count: int = 1,
        vocabulary_size: int = 30_000,
        max_length: int | None = None,
        keep: str = "start",
    ) -> None:
        if keep not in ("start", "end"):
            raise UserError(f"data.keep is {keep!r}: choose start or end")
        if max_length is not None and max_length < 1:
            raise UserError(f"data.max_length is {max_length}: it must be at least 1, or null")
        self.options: dict[str, Any] = {
            "tokenizer": tokenizer,
            "lowercase": lowercase,
            "min_count": min_count,
            "vocabulary_size": vocabulary_size,
            "max_length": max_length,
            "keep": keep,
        }
        self.tokenizer: Tokenizer | None = None

    def _trained(self) -> Tokenizer:
        if self.tokenizer is None:
            raise RuntimeError("the tokenizer is not trained yet: call fit, or load a saved state")
        return self.tokenizer

    @property
    def num_inputs(self) -> int:
        return self._trained().get_vocab_size()

    def fit(self, inputs: Sequence[str]) -> None:
        self.tokenizer = train_tokenizer(
            inputs,
            self.options["tokenizer"],
            lowercase=self.options["lowercase"],
            min_count=self.options["min_count"],
            vocabulary_size=self.options["vocabulary_size"],
        )

    def encode(self, inputs: Sequence[str], source: str, first: int = 1) -> list[Tensor]:
        """Raises UserError for a text without a single token; `first` is the first one's number."""
        sequences, limit, cut = [], self.options["max_length"], 0
        for number, encoding in enumerate(self._trained().encode_batch_fast(list(inputs)), first):
            tokens = encoding.ids
            if not tokens:
                raise UserError(f"{source}: text {number} is empty; remove it or give it some text")
            if limit is not None and len(tokens) > limit:
                cut += 1
                tokens = tokens[:limit] if self.options["keep"] == "start" else tokens[-limit:]
            sequences.append(torch.tensor(tokens, dtype=torch.int64))
        if cut:
            log.info(
                f"{source}: data.max_length={limit} cut {cut} of {len(sequences)} texts "
                f"(kept the {self.options['keep']})"
            )
        return sequences

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "options": self.options, "fitted": self._trained().to_str()}

    def load(self, fitted: str) -> None:
        self.tokenizer = Tokenizer.from_str(fitted)


class SeriesPreprocessor:
    """Standardises each channel by the training part's mean and deviation.

    Args:
        downsample: averages each window of this many steps into one.
        missing: `error` names a series with missing values; `interpolate` fills them linearly.
    """

    kind: ClassVar[str] = "features"

    def __init__(self, *, downsample: int = 1, missing: str = "error") -> None:
        if downsample < 1:
            raise UserError(f"data.downsample is {downsample}: it must be at least 1")
        if missing not in ("error", "interpolate"):
            raise UserError(f"data.missing is {missing!r}: choose error or interpolate")
        self.options: dict[str, Any] = {"downsample": downsample, "missing": missing}
        self.mean: np.ndarray | None = None
        self.deviation: np.ndarray | None = None

    @property
    def num_inputs(self) -> int:
        if self.mean is None:
            raise RuntimeError("nothing was learned yet: call fit, or load a saved state")
        return len(self.mean)

    def fit(self, inputs: Sequence[np.ndarray]) -> None:
        steps = np.concatenate(self._clean(inputs, "the training part"))
        self.mean = steps.mean(axis=0)
        deviation = steps.std(axis=0)
        self.deviation = np.where(deviation > 0, deviation, 1.0)  # a constant channel becomes 0

    def encode(self, inputs: Sequence[np.ndarray], source: str, first: int = 1) -> list[Tensor]:
        """Raises UserError for a series that is empty, has other channels, or misses values;
        `first` is the first one's number."""
        if self.mean is None or self.deviation is None:
            raise RuntimeError("nothing was learned yet: call fit, or load a saved state")
        return [
            torch.from_numpy(((x - self.mean) / self.deviation).astype(np.float32))
            for x in self._clean(inputs, source, first)
        ]

    def _clean(self, inputs: Sequence[np.ndarray], source: str, first: int = 1) -> list[np.ndarray]:
        cleaned = []
        for number, series in enumerate(inputs, first):
            series = np.asarray(series, dtype=np.float64)
            if series.ndim != 2 or len(series) == 0:
                raise UserError(
                    f"{source}: series {number} has shape {series.shape}; "
                    "it must be (steps, channels) with at least one step"
                )
            channels = series.shape[1] if self.mean is None else len(self.mean)
            if series.shape[1] != channels:
                raise UserError(
                    f"{source}: series {number} has {series.shape[1]} channels, not {channels}"
                )
            if not np.isfinite(series).all():
                series = self._fill(series, f"{source}: series {number}")
            step = self.options["downsample"]
            if step > 1:
                starts = np.arange(0, len(series), step)
                counts = np.diff(np.append(starts, len(series)))[:, None]
                series = np.add.reduceat(series, starts, axis=0) / counts
            cleaned.append(series)
        return cleaned

    def _fill(self, series: np.ndarray, where: str) -> np.ndarray:
        known = np.isfinite(series)
        if self.options["missing"] == "error":
            raise UserError(
                f"{where} misses {(~known).sum()} values; set data.missing=interpolate to fill them"
            )
        if not known.any(axis=0).all():
            raise UserError(
                f"{where} has a channel without a single value: nothing to fill it from"
            )
        steps = np.arange(len(series))
        return np.stack(
            [
                np.interp(steps, steps[known[:, channel]], series[known[:, channel], channel])
                for channel in range(series.shape[1])
            ],
            axis=1,
        )

    def state(self) -> dict[str, Any]:
        if self.mean is None or self.deviation is None:
            raise RuntimeError("nothing was learned yet: call fit, or load a saved state")
        fitted = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        return {"kind": self.kind, "options": self.options, "fitted": fitted}

    def load(self, fitted: dict[str, list[float]]) -> None:
        self.mean, self.deviation = np.array(fitted["mean"]), np.array(fitted["deviation"])


Preprocessor = TextPreprocessor | SeriesPreprocessor

_KINDS: dict[str, type[TextPreprocessor] | type[SeriesPreprocessor]] = {
    cls.kind: cls for cls in (TextPreprocessor, SeriesPreprocessor)
}


def load_preprocessor(state: dict[str, Any]) -> Preprocessor:
    """The preprocessor that `state()` describes, ready to encode."""
    if state["kind"] not in _KINDS:
        raise UserError(f"preprocessor {state['kind']!r}: {choices(state['kind'], _KINDS)}")
    preprocessor = _KINDS[state["kind"]](**state["options"])
    preprocessor.load(state["fitted"])
    return preprocessor
