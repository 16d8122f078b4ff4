"""Time series as scaled, and perhaps stacked, features."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from seqmodels.arguments import Count, checked
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.times import Times
from seqmodels.errors import UserError, choices, listed, shown

MOST_STEPS = 160  # of a series that is stacked automatically
MOST = np.finfo(np.float32).max
ROUNDING = 1e-13  # of a number: what is smaller beside it is none
FAR, NEARLY_ALL = 5, 0.9  # deviations from training, and the share of values further away

Stack = Count | Literal["auto"]
Missing = Literal["error", "interpolate", "last", "mark"]
Scale = Literal["split", "series", "both", "none"]


@dataclass(frozen=True, eq=False)
class TableSeries:
    """A series out of a table. A value is nan where one is missing, and in a channel of texts the
    number that `text_number` gives each."""

    values: Float[np.ndarray, "time channels"]
    columns: Sequence[str]  # the names of the channels
    texts: Mapping[str, Mapping[float, str]] = field(default_factory=dict)  # of these numbers
    name: str = ""
    times: Times | None = None  # of its steps, if it has some
    number: int = 0  # of the series, in its table

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> TableSeries:
        """Its steps from `start` to before `stop`."""
        times = None if self.times is None else self.times[start:stop]
        return replace(self, values=self.values[start:stop], times=times)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.values, dtype)


def text_number(text: str) -> float:
    """A number that stands for a text wherever it occurs: equal texts have equal ones."""
    return float(xxhash.xxh3_64_intdigest(text.encode()) >> 11)  # which float64 holds exactly


class Series(InputEncoder, name="features"):
    """Scales each channel, and may stack several steps into one.

    The features of a step are its scaled channels; then of each channel of texts a 1 for the text
    that it has, of those in training, and a 0 for the others; then the marks of `missing`.

    Args:
        stack: put the channels of this many steps side by side into one step; the last step repeats
            the end of the series where it is too short. `auto`: as many as leave the longest series
            of training at most 160 steps.
        missing: `error` refuses a series with missing values; `interpolate` fills them linearly;
            `last` repeats the last known value, and before the first the mean of the training
            split; `mark` takes that mean, and adds a channel for each one with gaps in training,
            which is 1 where a value is missing.
        scale: `split` standardises by the mean and deviation in the training split; `series` by
            each series' own, which hides its level and amplitude; `both` puts the two side by side
            as channels; `none` leaves the values.
    """

    kind = "features"
    mean: np.ndarray
    deviation: np.ndarray
    columns: list[str] | None  # the names of the channels
    categories: list[list[str] | None]  # of each channel, the texts in training; None: numbers

    @checked("data")
    def __init__(
        self, *, stack: Stack = 1, missing: Missing = "error", scale: Scale = "split"
    ) -> None:
        self.stack, self.missing, self.scale = stack, missing, scale
        self.given = {"stack": stack, "missing": missing, "scale": scale}
        self.doubts: dict[Any, str] = {}

    @property
    def num_channels(self) -> int:
        return len(self.categories)

    @property
    def numbers(self) -> list[int]:
        """The channels of numbers."""
        return [n for n, names in enumerate(self.categories) if names is None]

    def called(self, channel: int) -> str:
        """A channel, for an error."""
        return shown(self.columns[channel]) if self.columns else f"channel {channel + 1}"

    def fit(self, raw: Sequence[Any]) -> None:
        self.columns = [*raw[0].columns] if hasattr(raw[0], "columns") else None
        texts = getattr(raw[0], "texts", {})
        names = self.columns or [""] * (np.shape(raw[0])[-1] if np.ndim(raw[0]) else 0)
        self.categories = [sorted(texts[c].values()) if c in texts else None for c in names]
        series = [*self._clean(raw, "the training split")]
        longest = max(map(len, series))
        found: dict[str, list[Any]] = {"mean": [], "deviation": [], "categories": [], "marked": []}
        for n, known in enumerate(self.categories):
            steps = np.concatenate([each[:, n] for each in series])
            if (unknown := np.isnan(steps)).any():
                found["marked"].append(n)
            if known is not None:  # of all texts in the file
                there = {*np.unique(steps).tolist()}
                known = [name for name in known if text_number(name) in there]
            elif unknown.all():
                raise UserError(f"every value of {self.called(n)} is missing in training")
            else:
                mean, deviation = mean_and_deviation(steps[:, None])
                found["mean"].append(mean.item())
                found["deviation"].append(deviation.item())
            found["categories"].append(known)
        stacked = -(-longest // MOST_STEPS) if self.stack == "auto" else self.stack
        self.load({**found, "stacked": stacked, "columns": self.columns})

    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> list[Tensor]:
        encoded, far, count = [], np.zeros(len(self.mean)), 0
        for given, series in zip(raw, self._clean(raw, source, first), strict=True):
            if any(self.categories):
                self._note_unknown(given, series, source)
            steps = self.features(series)
            if self.stacked > 1:
                steps = stack_steps(steps, self.stacked)
            encoded.append(torch.from_numpy(steps.astype(np.float32)))
            apart = np.abs(series[:, self.numbers] - self.mean) > FAR * self.deviation
            far, count = far + apart.sum(axis=0), count + len(series)
        for n in np.flatnonzero(far > NEARLY_ALL * count) if self.scale != "series" else ():
            what = self.called(self.numbers[n])
            self.doubts[source, what] = (
                f"{source}: {100 * far[n] / count:.0f} % of the values of {what} lie further than "
                f"{FAR} deviations from training: are they in other units?"
            )
        return encoded

    def encode_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> list[Tensor]:
        if self.missing != "last":
            return self.encode(raw, "inputs")
        before = kept.setdefault("last", [np.full((1, self.num_channels), np.nan)] * len(raw))
        filled = [
            last_known(np.concatenate([last, steps]))
            for last, steps in zip(before, self._clean(raw, "inputs"), strict=True)
        ]
        kept["last"] = [steps[-1:] for steps in filled]
        return self.encode([steps[1:] for steps in filled], "inputs")

    def reads_whole_rows(self) -> str:
        known = ("last", "error", "mark")
        by_steps = {"stack": (1,), "missing": known, "scale": ("split", "none")}
        for name, fits in by_steps.items():
            if (value := self.given[name]) not in fits:
                why = "reads later steps" if name == "missing" else "needs all of a series"
                return f"data.{name}={value} {why}: train with data.{name}={fits[0]}"
        return ""

    def features(self, series: Float[np.ndarray, "time channels"]) -> np.ndarray:
        """What the network reads of a series without gaps, or with those that are marked."""
        numbers, scaled = series[:, self.numbers], list[np.ndarray]()
        if self.scale in ("split", "both"):
            scaled.append((numbers - self.mean) / self.deviation)
        if self.scale in ("series", "both"):
            mean, deviation = mean_and_deviation(numbers)
            scaled.append((numbers - mean) / deviation)
        if not scaled:
            scaled.append(np.where(np.isnan(numbers), self.mean, numbers))
        marks = [np.isnan(series[:, self.marked])] if self.missing == "mark" else []
        return np.concatenate([*map(np.nan_to_num, scaled), *self._one_hot(series), *marks], axis=1)

    def _one_hot(self, series: np.ndarray) -> list[np.ndarray]:
        return [series[:, [n]] == codes for n, codes in self.codes.items()]

    def plain(self, given: Any) -> np.ndarray:
        """The numbers of a series as they stand in it, and its texts as in `features`: what
        baselines read."""
        series = self._values(given, "a series")
        return np.concatenate([series[:, self.numbers], *self._one_hot(series)], axis=1)

    def name(self, raw: Any) -> dict[str, Any]:
        return self.describe(raw) or {"steps": len(raw)}

    def describe(self, raw: Any) -> dict[str, Any]:
        name = getattr(raw, "name", "")
        return {"series": name} if name else {}

    def load(self, fitted: Mapping[str, Any]) -> None:
        super().load(fitted)
        self.mean, self.deviation = np.array(fitted["mean"]), np.array(fitted["deviation"])
        self.columns, self.categories = fitted["columns"], fitted["categories"]
        self.marked, self.stacked = fitted["marked"], int(fitted["stacked"])
        of_texts = {n: names for n, names in enumerate(self.categories) if names is not None}
        self.codes = {n: np.array([*map(text_number, names)]) for n, names in of_texts.items()}
        scaled = len(self.numbers) * (1 + (self.scale == "both"))
        marks = len(self.marked) if self.missing == "mark" else 0
        self.num_inputs = (scaled + sum(map(len, self.codes.values())) + marks) * self.stacked

    def _values(self, given: Any, where: str) -> Float[np.ndarray, "time channels"]:
        """The channels of training, by their names if both have some."""
        names = getattr(given, "columns", None)
        if names is None or self.columns is None:
            values = np.asarray(given, dtype=np.float64)
            return values[:, None] if values.ndim == self.num_channels == 1 else values
        for column in self.columns:
            if column not in names:
                raise UserError(f"{where} has no column {column!r}: {choices(column, [*names])}")
        if isinstance(given, TableSeries):
            places = [given.columns.index(column) for column in self.columns]
            return given.values[:, places] if places != [*range(len(names))] else given.values
        columns = [given[column] for column in self.columns]
        for n in {*range(self.num_channels)} - {*self.numbers}:
            filled = (isinstance(text, str) and bool(text.strip()) for text in columns[n])
            both = zip(columns[n], filled, strict=True)
            columns[n] = [text_number(text) if there else np.nan for text, there in both]
        return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)

    def _clean(self, raw: Sequence[Any], source: str, first: int = 1) -> Iterator[np.ndarray]:
        for number, given in enumerate(raw, first):
            where = f"{source}: series {shown(getattr(given, 'name', '') or str(number))}"
            series = self._values(given, where)
            if series.ndim != 2 or not len(series) or series.shape[1] != self.num_channels:
                wanted = f"(steps, {self.num_channels}): steps come first, then channels"
                raise UserError(f"{where} has shape {series.shape}, not {wanted}")
            if (np.abs(series) > MOST).any():
                raise UserError(f"{where} has a value beyond those of float32: leave it missing")
            missing = int(np.isnan(series).sum())
            if missing and self.missing == "error":
                raise UserError(
                    f"{where} has {missing} missing value{'s' if missing > 1 else ''}; fill them, "
                    "or train with data.missing=interpolate, last or mark"
                )
            if missing and self.missing == "interpolate":  # but not between texts
                series = series.copy()
                series[:, self.numbers] = interpolate(series[:, self.numbers], where)
            yield last_known(series) if missing and self.missing == "last" else series

    def _note_unknown(self, given: Any, series: np.ndarray, source: str) -> None:
        for n, codes in self.codes.items():
            new = np.setdiff1d(series[~np.isnan(series[:, n]), n], codes)
            if len(new) and (source, column := self.called(n)) not in self.doubts:
                texts = getattr(given, "texts", {}).get((self.columns or [""])[n], {})
                one = shown(repr(texts[new[0]])) if new[0] in texts else "a text"
                known = f"({listed(self.categories[n] or ())}): such texts read as none of them"
                doubt = f"{source}: {column} has {one}, which was not in training {known}"
                self.doubts[source, column] = doubt


def mean_and_deviation(
    values: Float[np.ndarray, "steps columns"],
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Of what is known of each column: nan and 1 where nothing is. The deviation of a constant, but
    for rounding, is 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns where nothing is
        least = np.nanmin(values, axis=0)
        apart = values - least  # the sums of a large level would lose their digits
        largest, deviation = np.nanmax(np.abs(values), axis=0), np.nanstd(apart, axis=0)
        deviation = np.where(deviation > ROUNDING * largest, deviation, 1.0)
        return least + np.nanmean(apart, axis=0), deviation


def last_known(series: Float[np.ndarray, "time channels"]) -> Float[np.ndarray, "time channels"]:
    """Repeats the last known value of each channel where one is missing; nan before the first."""
    known, steps = ~np.isnan(series), np.arange(len(series))[:, None]
    last = np.maximum.accumulate(np.where(known, steps, 0), axis=0)
    return np.take_along_axis(series, last, axis=0)


def interpolate(
    series: Float[np.ndarray, "time channels"], where: str
) -> Float[np.ndarray, "time channels"]:
    """Fills nan linearly, channel by channel; at the ends with the nearest value."""
    known, steps = ~np.isnan(series), np.arange(len(series))
    if not known.any(axis=0).all():
        without = f"{where} has a channel without any value to interpolate from"
        raise UserError(f"{without}: set data.missing=mark")
    channels = zip(series.T, known.T, strict=True)
    return np.stack([np.interp(steps, steps[there], x[there]) for x, there in channels], axis=1)


def stack_steps(
    series: Float[np.ndarray, "time channels"], count: int
) -> Float[np.ndarray, "steps all_channels"]:
    """Puts the channels of each `count` steps side by side; the end repeats the last step."""
    missing = -len(series) % count
    filled = np.concatenate([series, np.repeat(series[-1:], missing, axis=0)])
    return filled.reshape(len(filled) // count, -1)
