"""Time series as scaled, and perhaps stacked, features."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.arguments import Count, checked
from seqmodels.data.columns import MANY_TEXTS, Names
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.times import Times
from seqmodels.errors import SettingError, UserError, choices, listed, shown

MOST_STEPS = 160  # of a series that is stacked automatically
MOST = np.finfo(np.float32).max
FLOAT64_ROUNDING = 1e-13  # of a number: what is smaller beside it is none
FLOAT32_ROUNDING = 2.4e-7  # two last digits
FAR, NEARLY_ALL = 5, 0.9  # deviations from training, and the share of values further away
FEWEST_STEPS = 10  # of each text of a category, on average

Stack = Count | Literal["auto"]
Missing = Literal["error", "interpolate", "last", "mark"]
Scale = Literal["split", "series", "both", "none"]


@dataclass(frozen=True, eq=False)
class TableSeries:
    """A series out of a table."""

    numbers: Float[np.ndarray, "time numeric"]  # nan where one is missing
    columns: Sequence[str]  # the names of all channels
    texts: Mapping[str, Names] = field(default_factory=dict)  # of the channels that hold texts
    name: str = ""
    times: Times | None = None  # of its steps, if it has some
    number: int = 0  # of the series, in its table

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> TableSeries:
        """Its steps from `start` to before `stop`."""
        times = None if self.times is None else self.times[start:stop]
        texts = {column: names.part(start, stop) for column, names in self.texts.items()}
        return replace(self, numbers=self.numbers[start:stop], texts=texts, times=times)

    def after(self, last: Times, elapsed_channel: str) -> TableSeries:
        """The same, with the time from another step to its first one in a channel."""
        assert self.times is not None
        elapsed = last.until(self.times[:1])
        if elapsed <= 0:
            [time] = self.times[:1].texts()
            raise UserError(f"time {time} is not after that of the step before")
        numbers = self.numbers.copy()
        numeric = [column for column in self.columns if column not in self.texts]
        numbers[0, numeric.index(elapsed_channel)] = np.log1p(elapsed)
        return replace(self, numbers=numbers)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numbers, dtype)

    def content(self) -> bytes:
        """What it consists of, for a hash: the same from each file that holds it."""
        content = f"{self.numbers.shape} ".encode() + self.numbers.tobytes()
        for names in self.texts.values():
            content += b"\0" + repr(names.texts.tolist()).encode()
        return content


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
    def holds_texts(self) -> dict[str, bool]:
        """The names of the channels, each with whether it holds texts."""
        of_texts = [names is not None for names in self.categories]
        return dict(zip(self.columns or (), of_texts, strict=True))

    def called(self, channel: int) -> str:
        """A channel, for an error."""
        return shown(self.columns[channel]) if self.columns else f"channel {channel + 1}"

    def fit(self, raw: Sequence[Any]) -> None:
        self.columns = [*raw[0].columns] if isinstance(raw[0], TableSeries) else None
        width = np.shape(raw[0])[-1] if self.columns is None and np.ndim(raw[0]) else 0
        texts = getattr(raw[0], "texts", {})
        self.categories = [
            _texts_in(raw, column) if column in texts else None
            for column in self.columns or [""] * width
        ]
        self._find_places()
        series = [*self._clean(raw, "the training split")]
        longest = max(map(len, series))
        count = sum(map(len, series))
        found: dict[str, list[Any]] = {"mean": [], "deviation": [], "marked": []}
        for n, texts_of_training in enumerate(self.categories):
            steps = np.concatenate([each[:, n] for each in series])
            if (unknown := np.isnan(steps)).any():
                found["marked"].append(n)
            if texts_of_training is not None:
                different = len(texts_of_training)
                if different > MANY_TEXTS and FEWEST_STEPS * different > count:
                    raise UserError(
                        f"data.inputs: {self.called(n)} has {different:,} different texts in "
                        f"{count:,} training steps: write numbers, or leave it out"
                    )
            elif unknown.all():
                raise UserError(
                    f"every value of {self.called(n)} is missing in training: leave it out of "
                    "data.inputs"
                )
            else:
                mean, deviation = mean_and_deviation(steps[:, None])
                found["mean"].append(mean.item())
                found["deviation"].append(deviation.item())
        self.note = self._about_constants(series)
        stacked = -(-longest // MOST_STEPS) if self.stack == "auto" else self.stack
        fitted = {"categories": self.categories, "stacked": stacked, "columns": self.columns}
        self.load({**found, **fitted})

    def _about_constants(self, series: Sequence[np.ndarray]) -> str:
        """Which channels `scale=series` makes 0 in all series; empty if it makes none."""
        if self.scale != "series":
            return ""
        is_constant = np.ones(len(self.numeric), bool)
        for values in series:
            numbers = self._numbers(values)
            spread = np.fmax.reduce(numbers) - np.fmin.reduce(numbers)  # without gaps
            is_constant &= ~(spread > 0)
        if not is_constant.any():
            return ""
        names = listed(self.called(self.numeric[n]) for n in np.flatnonzero(is_constant))
        return (
            f"data.scale=series makes 0 of {names}, the same at all steps of each series: set "
            "data.scale=both"
        )

    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> list[Tensor]:
        clean = self._clean(raw, source, first)
        return self._encoded(clean, source)

    def _encoded(self, clean: Iterable[np.ndarray], source: str) -> list[Tensor]:
        """Encodes series as `_clean` gives them."""
        encoded, far, count = [], np.zeros(len(self.mean)), 0
        for series in clean:
            steps = self.features(series)
            if self.stacked > 1:
                steps = stack_steps(steps, self.stacked)
            encoded.append(torch.from_numpy(steps.astype(np.float32)))
            apart = np.abs(self._numbers(series) - self.mean) > FAR * self.deviation
            far, count = far + apart.sum(axis=0), count + len(series)
        for n in np.flatnonzero(far > NEARLY_ALL * count) if self.scale != "series" else ():
            what = self.called(self.numeric[n])
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
        return self._encoded([steps[1:] for steps in filled], "inputs")

    def reads_whole_rows(self) -> str:
        known = ("last", "error", "mark")
        by_steps = {"stack": (1,), "missing": known, "scale": ("split", "none")}
        for name, fits in by_steps.items():
            if (value := self.given[name]) not in fits:
                why = "reads later steps" if name == "missing" else "needs all of a series"
                return f"data.{name}={value} {why}: train with data.{name}={fits[0]}"
        return ""

    def features(self, series: Float[np.ndarray, "time channels"]) -> np.ndarray:
        """What the network reads of a series without gaps, or with those that are marked. In a
        channel of texts, the series has the place of each among those of training, and -1 for
        another one."""
        numbers, scaled = self._numbers(series), list[np.ndarray]()
        if self.scale in ("split", "both"):
            scaled.append((numbers - self.mean) / self.deviation)
        if self.scale in ("series", "both"):
            mean, deviation = mean_and_deviation(numbers)
            scaled.append((numbers - mean) / deviation)
        if not scaled:
            scaled.append(np.where(np.isnan(numbers), self.mean, numbers))
        marks = [np.isnan(series[:, self.marked])] if self.missing == "mark" else []
        return np.concatenate([*map(np.nan_to_num, scaled), *self._one_hot(series), *marks], axis=1)

    def _numbers(self, series: np.ndarray) -> np.ndarray:
        """The channels of numbers: of most data, all."""
        return series[:, self.numeric] if self._places else series

    def _one_hot(self, series: np.ndarray) -> list[np.ndarray]:
        return [
            series[:, [n]] == np.arange(len(names))
            for n, names in enumerate(self.categories)
            if names is not None
        ]

    def plain(self, given: Any) -> np.ndarray:
        """The numbers of a series as they stand in it, and its texts as in `features`: what
        baselines read."""
        series = self._values(given, "a series")
        return np.concatenate([self._numbers(series), *self._one_hot(series)], axis=1)

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
        self._find_places()
        times_scaled = 2 if self.scale == "both" else 1
        of_texts = sum(len(names) for names in self.categories if names is not None)
        marks = len(self.marked) if self.missing == "mark" else 0
        self.num_inputs = (len(self.numeric) * times_scaled + of_texts + marks) * self.stacked

    def _find_places(self) -> None:
        """Where the channels of numbers are, and each text of the others."""
        self.numeric = [n for n, names in enumerate(self.categories) if names is None]
        self._places = {
            n: {name: place for place, name in enumerate(names)}
            for n, names in enumerate(self.categories)
            if names is not None
        }

    def _values(self, given: Any, where: str) -> Float[np.ndarray, "time channels"]:
        """The channels of training, by their names if both have some."""
        if not isinstance(given, TableSeries) or self.columns is None:
            values = np.asarray(getattr(given, "numbers", given), dtype=np.float64)
            if self._places and values.ndim == 2:
                names = listed(self.columns or ())
                raise UserError(
                    f"{where} has no names for its channels, and some hold texts: give a table "
                    f"with {names}"
                )
            return values[:, None] if values.ndim == self.num_channels == 1 else values
        return self._values_by_name(given, where)

    def _values_by_name(self, given: TableSeries, where: str) -> np.ndarray:
        """As `_values`, where both have names."""
        columns = self.columns or []
        known_columns = {*given.columns}  # of which a table may have very many
        for column in columns:
            if column not in known_columns:
                names = choices(column, given.columns)
                raise UserError(f"{where} has no column {column!r}: {names}")
        numeric = [column for column in given.columns if column not in given.texts]
        wanted = [columns[n] for n in self.numeric]
        numbers = given.numbers
        if wanted != numeric:
            places = {column: place for place, column in enumerate(numeric)}
            numbers = numbers[:, [places[column] for column in wanted]]
        if not self._places:
            return numbers
        values = np.empty((len(given), self.num_channels))
        values[:, self.numeric] = numbers
        for n in self._places:
            values[:, n] = self._codes(given.texts[columns[n]], n, where)
        return values

    def _codes(self, names: Names, channel: int, where: str) -> np.ndarray:
        """The place of each text among those of training; -1 for another, nan for none."""
        places = self._places[channel]
        lookup = np.array([*(places.get(name, -1) for name in names.names), np.nan], np.float64)
        codes = lookup[names.codes]
        source, column = where.partition(": series")[0], self.called(channel)
        if (is_new := codes == -1).any() and (source, column) not in self.doubts:
            self.doubts[source, column] = (
                f"{source}: {column} has {shown(repr(names.texts[is_new.argmax()]))}, which was "
                f"not in training ({listed(places)}): such texts read as none of them"
            )
        return codes

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
                series[:, self.numeric] = interpolate(series[:, self.numeric], where)
            yield last_known(series) if missing and self.missing == "last" else series


def _texts_in(raw: Sequence[TableSeries], column: str) -> list[str]:
    """The different texts of some series in a channel, sorted."""
    codes_by_table = dict[int, list[np.ndarray]]()
    names_by_table = dict[int, list[str]]()
    for series in raw:
        names = series.texts[column]
        names_by_table[id(names.names)] = names.names
        codes_by_table.setdefault(id(names.names), []).append(names.codes)
    texts = set[str]()
    for table, codes in codes_by_table.items():
        used_codes = np.unique(np.concatenate(codes))
        texts.update(names_by_table[table][code] for code in used_codes.tolist() if code >= 0)
    return sorted(texts)


def mean_and_deviation(
    values: Float[np.ndarray, "steps columns"],
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Of what is known of each column: nan and 1 where nothing is. The deviation of a constant, but
    for rounding, is 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns where nothing is
        least = np.nanmin(values, axis=0)
        apart = values - least  # the sums of a large level would lose their digits
        deviation = np.nanstd(apart, axis=0)
        deviation = np.where(deviation > rounding_of(values), deviation, 1.0)
        return least + np.nanmean(apart, axis=0), deviation


def rounding_of(
    values: Float[np.ndarray, "steps columns"], *, so_far: bool = False
) -> Float[np.ndarray, "*steps columns"]:
    """How far the numbers of each column may be off by rounding, beside the largest of them: those
    that float32 holds may come from there. Nan where nothing is known.

    Args:
        so_far: at each step, by what is known up to it.
    """
    with np.errstate(over="ignore"):
        is_of_float32 = (values.astype(np.float32) == values) | np.isnan(values)
    if so_far:
        are_of_float32 = np.minimum.accumulate(is_of_float32, axis=0)
        largest = np.fmax.accumulate(np.abs(values), axis=0)
    else:
        are_of_float32 = is_of_float32.all(axis=0)
        largest = np.fmax.reduce(np.abs(values), axis=0)
    return np.where(are_of_float32, FLOAT32_ROUNDING, FLOAT64_ROUNDING) * largest


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
        raise SettingError(f"{without}: set data.missing=mark", f"{without}: give it one")
    channels = zip(series.T, known.T, strict=True)
    return np.stack([np.interp(steps, steps[there], x[there]) for x, there in channels], axis=1)


def stack_steps(
    series: Float[np.ndarray, "time channels"], count: int
) -> Float[np.ndarray, "steps all_channels"]:
    """Puts the channels of each `count` steps side by side; the end repeats the last step."""
    missing = -len(series) % count
    filled = np.concatenate([series, np.repeat(series[-1:], missing, axis=0)])
    return filled.reshape(len(filled) // count, -1)
