"""Time series as scaled, and perhaps stacked, features."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.arguments import Count, checked
from seqmodels.data.channel_statistics import (
    FLOAT32_ROUNDING,
    FLOAT64_ROUNDING,
    fits_float32,
    statistics_of,
)
from seqmodels.data.columns import BLOCK, MANY_TEXTS, Names
from seqmodels.data.examples import content_of, contents
from seqmodels.data.inputs import DrawnChannel, InputEncoder
from seqmodels.data.times import Times
from seqmodels.errors import SettingError, UserError, choices, listed, shown
from seqmodels.machine import return_memory

# A series that is stacked automatically has at most so many steps.
MOST_STEPS = 160
MOST = np.finfo(np.float32).max
# A series of so many steps is long: its values are not kept beside what the network reads.
LONG = 10_000
# The memory of so many steps that are not kept is returned at once.
STEPS_TO_RETURN = 100_000
# Series of so many values together are cleaned once, and kept, while something is learned of them.
FEW_VALUES = 1 << 21
# A channel is in other units if this share of its values is so many deviations from training.
FAR, NEARLY_ALL = 5, 0.9
# A series is summarised in so many segments.
SEGMENTS = 8
# Each of the many texts of a category has at least so many steps, on average.
FEWEST_STEPS = 10

Stack = Count | Literal["auto"]
Missing = Literal["error", "interpolate", "last", "mark"]
Scale = Literal["split", "series", "both", "none"]


@dataclass(frozen=True, eq=False)
class TableSeries:
    """A series out of a table."""

    numbers: Float[np.ndarray, "time numeric"]  # nan where one is missing
    columns: Sequence[str]  # the names of all channels
    # The texts of each channel that holds some.
    texts: Mapping[str, Names] = field(default_factory=dict)
    name: str = ""
    times: Times | None = None  # one for each step
    number: int = 0  # the position of the series in its table

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> TableSeries:
        """The steps from `start` to before `stop`."""
        times = None if self.times is None else self.times[start:stop]
        texts = {column: names.part(start, stop) for column, names in self.texts.items()}
        return replace(self, numbers=self.numbers[start:stop], texts=texts, times=times)

    def after(self, last: Times, elapsed_channel: str) -> TableSeries:
        """The same series, whose channel of elapsed time knows the step before its first one.

        Args:
            last: the time of that step.
            elapsed_channel: the channel of elapsed time.

        Raises:
            UserError: if the first step is not after it.
        """
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
        """The numbers and texts as bytes, or a hash of many numbers: the same from each file that
        holds them."""
        content = content_of(f"{self.numbers.shape} ", self.numbers)
        for names in self.texts.values():
            content += b"\0" + repr(names.texts_in(slice(None)).tolist()).encode()
        return content


@dataclass(frozen=True, kw_only=True)
class EncodedSeries:
    """What is kept of a long series that is encoded."""

    length: int
    name: str
    times: Times | None  # one for each step
    hash: bytes  # what `contents` gave of it
    summary: np.ndarray  # see `summary_of`

    def __len__(self) -> int:
        return self.length

    def content(self) -> bytes:
        """The hash of the values, by which equal series are found."""
        return self.hash


class Series(InputEncoder, name="features"):
    """Scales each channel, and may stack several steps into one.

    The features of a step are, in this order: its scaled channels of numbers; for each channel of
    texts a 1 for the text that it has and a 0 for each of the others in training; the marks of
    `missing`.

    Args:
        stack: put the channels of this many steps side by side into one step; the last step repeats
            the end of the series where it is too short. `auto`: as many as leave the longest series
            of training at most 160 steps.
        missing: `error` refuses a series with missing values; `interpolate` fills them linearly;
            `last` repeats the last known value, and before the first the mean of the training
            split, or with `scale: series` that of the series; `mark` takes that mean, and adds a
            channel for each one with gaps in training, which is 1 where a value is missing.
        scale: `split` standardises by the mean and deviation in the training split; `series` by
            each series' own, which hides its level and amplitude; `both` puts the two side by side
            as channels; `none` leaves the values.
    """

    kind = "features"
    mean: np.ndarray
    deviation: np.ndarray
    columns: list[str] | None  # the names of the channels
    categories: list[list[str] | None]  # the texts of each channel in training; None: numbers

    @checked("data")
    def __init__(
        self, *, stack: Stack = 1, missing: Missing = "error", scale: Scale = "split"
    ) -> None:
        self.stack, self.missing, self.scale = stack, missing, scale
        self.arguments = {"stack": stack, "missing": missing, "scale": scale}
        self.doubts: dict[Any, str] = {}

    @property
    def num_channels(self) -> int:
        return len(self.categories)

    @property
    def holds_texts(self) -> dict[str, bool]:
        """Whether each channel holds texts, by its name."""
        holds_texts = [texts is not None for texts in self.categories]
        return dict(zip(self.columns or (), holds_texts, strict=True))

    def called(self, channel: int) -> str:
        """A channel, as messages call it."""
        return shown(self.columns[channel]) if self.columns else f"channel {channel + 1}"

    def feature_name(self, number: int) -> str:
        """What messages call a feature, counted from 0: its channel, if it holds the numbers of
        one."""
        place = number % (self.num_inputs // self.stacked)
        scaled_count = len(self.numeric)
        if self.scale == "both":
            scaled_count *= 2
        if place >= scaled_count:
            return f"feature {number + 1}"
        return self.called(self.numeric[place % len(self.numeric)])

    def fit(self, raw: Sequence[Any]) -> None:
        self.columns, self.categories = _columns_and_categories(raw)
        self._number_channels()

        def all_series() -> Iterable[np.ndarray]:
            return self._clean(raw, "the training split")

        if sum(map(len, raw)) * self.num_channels <= FEW_VALUES:
            clean_series = [*all_series()]
            all_series = lambda: clean_series  # noqa: E731
        statistics = statistics_of(all_series)
        gap_counts = statistics.step_count - statistics.value_counts
        means, deviations = list[float](), list[float]()
        for channel, texts in enumerate(self.categories):
            if texts is not None:
                self._check_text_count(channel, len(texts), statistics.step_count)
                continue
            if statistics.value_counts[channel] == 0:
                raise UserError(
                    f"every value of {self.called(channel)} is missing in training: leave it out "
                    "of data.inputs"
                )
            means.append(statistics.mean[channel].item())
            deviations.append(statistics.deviation[channel].item())
        marked = np.flatnonzero(gap_counts).tolist()
        self.note = self._note_of_constants(all_series())
        stacked = self.stack
        if stacked == "auto":
            longest = max(map(len, raw))
            stacked = -(-longest // MOST_STEPS)
        self.load(
            {
                "mean": means,
                "deviation": deviations,
                "marked": marked,
                "categories": self.categories,
                "stacked": stacked,
                "columns": self.columns,
            }
        )

    def _check_text_count(self, channel: int, text_count: int, step_count: int) -> None:
        """Raises a `UserError` for a channel with so many different texts that it is hardly a
        category."""
        if text_count > MANY_TEXTS and FEWEST_STEPS * text_count > step_count:
            raise UserError(
                f"data.inputs: {self.called(channel)} has {text_count:,} different texts in "
                f"{step_count:,} training steps: write numbers, or leave it out"
            )

    def _note_of_constants(self, all_series: Iterable[np.ndarray]) -> str:
        """A note on the channels that `scale=series` makes 0 in all series; empty if it makes
        none."""
        if self.scale != "series":
            return ""
        is_constant = np.ones(len(self.numeric), bool)
        for series in all_series:
            numbers = self._numbers(series)
            spread = np.fmax.reduce(numbers) - np.fmin.reduce(numbers)  # Both skip gaps.
            is_constant &= ~(spread > 0)
        if not is_constant.any():
            return ""
        channels = [self.numeric[position] for position in np.flatnonzero(is_constant)]
        names = listed(map(self.called, channels))
        return (
            f"data.scale=series makes 0 of {names}, the same at all steps of each series: set "
            "data.scale=both"
        )

    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> list[Tensor]:
        clean = self._clean(raw, source, first)
        return self._encoded(clean, source)

    def encode_kept(self, raw: list[Any], source: str) -> list[Tensor]:
        """Encodes the series of a list that is kept, in which `EncodedSeries` take the place of
        long ones: their values would take more memory than what the network reads."""
        clean = self._clean(self._let_go(raw), source)
        return self._encoded(clean, source)

    def _let_go(self, raw: list[Any]) -> Iterator[Any]:
        """Each series. When the next one is asked for, nobody reads it any more."""
        step_count = 0  # since memory was returned
        for position, series in enumerate(raw):
            yield series
            if len(series) >= LONG:
                [content] = contents([series])
                raw[position] = EncodedSeries(
                    length=len(series),
                    name=getattr(series, "name", ""),
                    times=getattr(series, "times", None),
                    hash=bytes(content),
                    summary=self.summary(series),
                )
                step_count += len(series)
                del series
                if step_count >= STEPS_TO_RETURN:
                    return_memory()
                    step_count = 0

    def _encoded(self, clean: Iterable[np.ndarray], source: str) -> list[Tensor]:
        """Encodes series as `_clean` gives them."""
        encoded = []
        step_count = 0
        # How many values of each channel lie far from training.
        far_counts = np.zeros(len(self.mean))
        for series in clean:
            steps = self.features(series)
            if self.stacked > 1:
                steps = stack_steps(steps, self.stacked)
            encoded.append(torch.from_numpy(steps))
            step_count += len(series)
            for start in range(0, len(series), BLOCK):
                numbers = self._numbers(series[start : start + BLOCK])
                is_far = np.abs(numbers - self.mean) > FAR * self.deviation
                far_counts += is_far.sum(axis=0)
        if self.scale != "series":
            self._doubt_units(far_counts, step_count, source)
        return encoded

    def _doubt_units(self, far_counts: np.ndarray, step_count: int, source: str) -> None:
        """Notes the channels of numbers that nearly always lie far from training."""
        for position in np.flatnonzero(far_counts > NEARLY_ALL * step_count):
            channel = self.called(self.numeric[position])
            percentage = 100 * far_counts[position] / step_count
            self.doubts[source, channel] = (
                f"{source}: {percentage:.0f} % of the values of {channel} lie further than "
                f"{FAR} deviations from training: are they in other units?"
            )

    def encode_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> list[Tensor]:
        if self.missing != "last":
            return self.encode(raw, "inputs")
        # The last known values before these steps, (1, channels) for each row.
        nothing_known = np.full((1, self.num_channels), np.nan)
        last_values = kept.setdefault("last", [nothing_known] * len(raw))
        filled = []
        for last, steps in zip(last_values, self._clean(raw, "inputs"), strict=True):
            filled.append(last_known(np.concatenate([last, steps])))
        kept["last"] = [steps[-1:] for steps in filled]
        return self._encoded([steps[1:] for steps in filled], "inputs")

    def reads_whole_rows(self) -> str:
        if self.stack != 1:
            return f"data.stack={self.stack} needs all of a series: train with data.stack=1"
        if self.missing == "interpolate":
            return "data.missing=interpolate reads later steps: train with data.missing=last"
        if self.scale in ("series", "both"):
            return f"data.scale={self.scale} needs all of a series: train with data.scale=split"
        return ""

    def features(self, series: Float[np.ndarray, "time channels"]) -> np.ndarray:
        """The features of each step, `(time, features)` float32, which the network reads.

        Args:
            series: without gaps, or with those that are marked. A channel of texts holds the
                position of each text among those of training, and -1 for a text that is new.
        """
        mean = deviation = None
        if self.scale in ("series", "both"):
            mean, deviation = mean_and_deviation(self._numbers(series))
        features = np.empty((len(series), self.num_inputs // self.stacked), np.float32)
        for start in range(0, len(series), BLOCK):
            steps = slice(start, start + BLOCK)
            features[steps] = self._features_of_block(series[steps], mean, deviation)
        return features

    def channels_of(
        self, features: Float[np.ndarray, "time features"], amounts: np.ndarray, num_steps: int
    ) -> list[DrawnChannel]:
        """Each channel of an encoded series once, however often it is read.

        Args:
            features: what the network reads of a series.
            amounts: a number for each feature, which are summed over those of a channel.
            num_steps: the steps of the series, which stacks may exceed.
        """
        width = self.num_inputs // self.stacked
        features = features.reshape(-1, width)[:num_steps]
        amounts = amounts.reshape(-1, width)[:num_steps]
        num_numeric = len(self.numeric)
        first_text = 2 * num_numeric if self.scale == "both" else num_numeric
        channels = {}
        for place, channel in enumerate(self.numeric):
            values = features[:, place]
            if self.scale in ("split", "both"):
                values = values * self.deviation[place] + self.mean[place]
            amount = amounts[:, place]
            if self.scale == "both":
                amount = amount + amounts[:, num_numeric + place]
            channels[channel] = DrawnChannel(self._name_of(channel), values, amount)
        start = first_text
        for channel in self._code_by_text:
            stop = start + len(self.categories[channel] or ())
            codes = features[:, start:stop].argmax(axis=1) if stop > start else np.zeros(num_steps)
            amount = amounts[:, start:stop].sum(axis=1)
            channels[channel] = DrawnChannel(self._name_of(channel), codes, amount)
            start = stop
        if self.missing == "mark":
            for place, channel in enumerate(self.marked, start):
                name, values, amount = channels[channel]
                channels[channel] = DrawnChannel(name, values, amount + amounts[:, place])
        return [channels[channel] for channel in sorted(channels)]

    def _name_of(self, channel: int) -> str:
        """The name of a channel; with `scale: series`, what it holds has no unit."""
        name = self.columns[channel] if self.columns else f"channel {channel + 1}"
        return f"{name} (scaled)" if self.scale == "series" else name

    def _features_of_block(
        self, series: np.ndarray, mean: np.ndarray | None, deviation: np.ndarray | None
    ) -> np.ndarray:
        """The features of some steps, in float64.

        Args:
            mean, deviation: those of the whole series, if it is standardised by them.
        """
        numbers = self._numbers(series)
        scaled = list[np.ndarray]()
        if self.scale in ("split", "both"):
            scaled.append((numbers - self.mean) / self.deviation)
        if mean is not None:
            scaled.append((numbers - mean) / deviation)
        if not scaled:
            scaled.append(np.where(np.isnan(numbers), self.mean, numbers))
        features = [*map(np.nan_to_num, scaled), *self._one_hot(series)]
        if self.missing == "mark":
            features.append(np.isnan(series[:, self.marked]))
        return np.concatenate(features, axis=1)

    def _numbers(self, series: np.ndarray) -> np.ndarray:
        """The channels of numbers, which are all in most data."""
        return series[:, self.numeric] if self._code_by_text else series

    def _one_hot(self, series: np.ndarray) -> list[np.ndarray]:
        """For each channel of texts, whether each step has each text of training, `(time,
        texts)`."""
        one_hot = []
        for channel, texts in enumerate(self.categories):
            if texts is not None:
                one_hot.append(series[:, [channel]] == np.arange(len(texts)))
        return one_hot

    def summary(self, raw: Any) -> np.ndarray:
        """What baselines read of a series, as `summary_of` says, of its numbers without scaling and
        of its texts as in `features`."""
        if isinstance(raw, EncodedSeries):
            return raw.summary
        series = self._values(raw, "a series")
        if self._code_by_text:
            series = np.concatenate([self._numbers(series), *self._one_hot(series)], axis=1)
        return summary_of(series)

    def name(self, raw: Any) -> dict[str, Any]:
        return self.describe(raw) or {"steps": len(raw)}

    def describe(self, raw: Any) -> dict[str, Any]:
        name = getattr(raw, "name", "")
        return {"series": name} if name else {}

    def load(self, fitted: Mapping[str, Any]) -> None:
        super().load(fitted)
        self.mean = np.array(fitted["mean"])
        self.deviation = np.array(fitted["deviation"])
        self.columns, self.categories = fitted["columns"], fitted["categories"]
        self.marked = fitted["marked"]
        self.stacked = int(fitted["stacked"])
        self._number_channels()
        scaled_count = len(self.numeric)
        if self.scale == "both":
            scaled_count *= 2
        text_count = sum(len(texts) for texts in self.categories if texts is not None)
        mark_count = len(self.marked) if self.missing == "mark" else 0
        self.num_inputs = (scaled_count + text_count + mark_count) * self.stacked

    def _number_channels(self) -> None:
        """Keeps which channels hold numbers, and of the others the number of each text."""
        self.numeric = list[int]()
        self._code_by_text = dict[int, dict[str, int]]()  # One for each channel of texts.
        for channel, texts in enumerate(self.categories):
            if texts is None:
                self.numeric.append(channel)
            else:
                self._code_by_text[channel] = {text: code for code, text in enumerate(texts)}

    def _values(self, raw: Any, where: str) -> Float[np.ndarray, "time channels"]:
        """The channels of training, by their names if both have some. Texts are numbers, as in
        `features`."""
        if isinstance(raw, TableSeries) and self.columns is not None:
            return self._values_by_name(raw, where)
        if isinstance(raw, EncodedSeries):
            raise RuntimeError(f"{where} is encoded, and its values are not kept: read it again")
        values = np.asarray(getattr(raw, "numbers", raw), dtype=np.float64)
        if self._code_by_text and values.ndim == 2:
            raise UserError(
                f"{where} has no names for its channels, and some hold texts: give a table "
                f"with {listed(self.columns or ())}"
            )
        return values[:, None] if values.ndim == self.num_channels == 1 else values

    def _values_by_name(self, series: TableSeries, where: str) -> np.ndarray:
        """The channels of training, by their names, `(time, channels)`."""
        columns = self.columns or []
        columns_of_series = set(series.columns)  # A table may have very many.
        for column in columns:
            if column not in columns_of_series:
                names = choices(column, series.columns)
                raise UserError(f"{where} has no column {column!r}: {names}")
        numeric_columns = [columns[channel] for channel in self.numeric]
        numeric_of_series = [column for column in series.columns if column not in series.texts]
        numbers = series.numbers
        if numeric_columns != numeric_of_series:
            positions = {column: number for number, column in enumerate(numeric_of_series)}
            numbers = numbers[:, [positions[column] for column in numeric_columns]]
        if not self._code_by_text:
            return numbers
        values = np.empty((len(series), self.num_channels))
        values[:, self.numeric] = numbers
        for channel in self._code_by_text:
            names_of_steps = series.texts[columns[channel]]
            values[:, channel] = self._codes(names_of_steps, channel, where)
        return values

    def _codes(self, names: Names, channel: int, where: str) -> np.ndarray:
        """The position of each step's text among those of training, `(time,)`; -1 for a text that
        is new, nan without a text."""
        code_by_text = self._code_by_text[channel]
        training_codes = [code_by_text.get(name, -1) for name in names.names]
        # The code -1 of `names`, which stands for no text, reads the last one.
        codes = np.array([*training_codes, np.nan], np.float64)[names.codes]
        source, _, _ = where.partition(": series")
        column = self.called(channel)
        is_new = codes == -1
        if is_new.any() and (source, column) not in self.doubts:
            new_text = names.texts[is_new.argmax()]
            self.doubts[source, column] = (
                f"{source}: {column} has {shown(repr(new_text))}, which was not in training "
                f"({listed(code_by_text)}): such texts read as none of them"
            )
        return codes

    def _clean(self, raw: Iterable[Any], source: str, first: int = 1) -> Iterator[np.ndarray]:
        """The channels of training of each series, `(time, channels)`, checked, and with the gaps
        filled as `missing` says."""
        for number, raw_series in enumerate(raw, first):
            name = getattr(raw_series, "name", "") or str(number)
            where = f"{source}: series {shown(name)}"
            series = self._values(raw_series, where)
            self._check_values(series, where)
            gap_count = int(np.isnan(series).sum())
            if gap_count == 0:
                yield series
                continue
            if self.missing == "error":
                plural = "s" if gap_count > 1 else ""
                raise UserError(
                    f"{where} has {gap_count} missing value{plural}; fill them, or train with "
                    "data.missing=interpolate, last or mark"
                )
            if self.missing == "interpolate":
                # Nothing lies between two texts, so only numbers are filled.
                series = series.copy()
                series[:, self.numeric] = interpolate(series[:, self.numeric], where)
            elif self.missing == "last":
                series = last_known(series)
            yield series

    def _check_values(self, series: np.ndarray, where: str) -> None:
        """Raises a `UserError` for a series of another shape, or with a number that is too
        large."""
        if series.ndim != 2 or not len(series) or series.shape[1] != self.num_channels:
            raise UserError(
                f"{where} has shape {series.shape}, not (steps, {self.num_channels}): steps come "
                "first, then channels"
            )
        blocks = (series[start : start + BLOCK] for start in range(0, len(series), BLOCK))
        if any((np.abs(block) > MOST).any() for block in blocks):
            raise UserError(f"{where} has a value beyond those of float32: leave it missing")


def _columns_and_categories(
    raw: Sequence[Any],
) -> tuple[list[str] | None, list[list[str] | None]]:
    """The names of the channels, or None if they have none; and the different texts of each
    channel, or None if it holds numbers."""
    first_series = raw[0]
    if isinstance(first_series, TableSeries):
        columns = list(first_series.columns)
        categories = [
            _texts_in(raw, column) if column in first_series.texts else None for column in columns
        ]
        return columns, categories
    channel_count = np.shape(first_series)[-1] if np.ndim(first_series) else 0
    return None, [None] * channel_count


def _texts_in(raw: Sequence[TableSeries], column: str) -> list[str]:
    """The different texts of a channel, of all series together, sorted."""
    # Series of one table share its names, so that these are looked at once for each table.
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
    """The mean and the deviation of each column without its gaps; nan and 1 if it has no value. The
    deviation of a column that is constant, but for rounding, is 1."""
    with warnings.catch_warnings():
        # NumPy warns of columns without a value.
        warnings.simplefilter("ignore", RuntimeWarning)
        least = np.nanmin(values, axis=0)
        # Sums of values of a large level would lose their digits.
        differences = values - least
        mean = least + np.nanmean(differences, axis=0)
        deviation = np.nanstd(differences, axis=0)
        is_constant = ~(deviation > rounding_of(values))
        return mean, np.where(is_constant, 1.0, deviation)


def rounding_of(
    values: Float[np.ndarray, "steps columns"], *, so_far: bool = False
) -> Float[np.ndarray, "*steps columns"]:
    """How far the numbers of each column may be off by rounding, which grows with the largest of
    them. Numbers that float32 holds may have been rounded to it. Nan for a column without values.

    Args:
        so_far: whether to say it at each step, from the numbers up to it.
    """
    is_of_float32 = fits_float32(values)
    are_of_float32: Any
    if so_far:
        are_of_float32 = np.minimum.accumulate(is_of_float32, axis=0)
        largest = np.fmax.accumulate(np.abs(values), axis=0)
    else:
        are_of_float32 = is_of_float32.all(axis=0)
        largest = np.fmax.reduce(np.abs(values), axis=0)
    return np.where(are_of_float32, FLOAT32_ROUNDING, FLOAT64_ROUNDING) * largest


def summary_of(series: Float[np.ndarray, "time channels"]) -> np.ndarray:
    """The mean of each channel, its means in eight segments of the series, and its deviation, one
    after the other. A segment without a value has the mean of the whole; a channel without any is
    nan."""
    ends = (np.arange(SEGMENTS + 1) * len(series) // SEGMENTS).tolist()
    with warnings.catch_warnings():
        # NumPy warns of channels without a value.
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = np.nanmean(series, axis=0)  # (F,)
        statistics = [mean]
        for start, stop in pairwise(ends):
            # A series with fewer steps than segments reads some of its steps twice.
            segment = series[start : max(stop, start + 1)]
            statistics.append(np.nanmean(segment, axis=0))
        statistics.append(np.nanstd(series, axis=0))
    summary = np.stack(statistics)  # (2 + SEGMENTS, F)
    return np.where(np.isnan(summary), mean, summary).ravel()


def last_known(series: Float[np.ndarray, "time channels"]) -> Float[np.ndarray, "time channels"]:
    """Repeats the last known value of each channel where one is missing; nan before the first."""
    is_known = ~np.isnan(series)
    steps = np.arange(len(series))[:, None]
    known_steps = np.where(is_known, steps, 0)
    last_known_steps = np.maximum.accumulate(known_steps, axis=0)  # (time, channels)
    return np.take_along_axis(series, last_known_steps, axis=0)


def interpolate(
    series: Float[np.ndarray, "time channels"], where: str
) -> Float[np.ndarray, "time channels"]:
    """Fills nan linearly, channel by channel; at the ends with the nearest value."""
    is_known = ~np.isnan(series)
    if not is_known.any(axis=0).all():
        problem = f"{where} has a channel without any value to interpolate from"
        raise SettingError(f"{problem}: set data.missing=mark", f"{problem}: give it one")
    steps = np.arange(len(series))
    filled_channels = []
    for values, is_value in zip(series.T, is_known.T, strict=True):
        filled_channels.append(np.interp(steps, steps[is_value], values[is_value]))
    return np.stack(filled_channels, axis=1)


def stack_steps(
    series: Float[np.ndarray, "time channels"], count: int
) -> Float[np.ndarray, "steps all_channels"]:
    """Puts the channels of each `count` steps side by side; the end repeats the last step."""
    missing_count = -len(series) % count
    repeated_end = np.repeat(series[-1:], missing_count, axis=0)
    filled = np.concatenate([series, repeated_end])
    return filled.reshape(len(filled) // count, -1)
