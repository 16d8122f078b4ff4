"""The times of steps: dates, durations such as 1:02:03.5, and plain numbers."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqmodels.data.columns import Columns
from seqmodels.errors import UserError, shown

OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
INTEGER = re.compile(r"[+-]?\d{1,19}")
# Dates in ISO 8601 begin so.
FIRST_DATE = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?([T ]|$)|\d{8}T\d\d")
# 1:30, 1:30:00.5, and 2 days 01:30:00 as pandas writes it.
DURATION = re.compile(
    r"(?:(?P<days>-?\d+) days?\b ?\+?)?(?P<sign>-?)"
    r"(?:(?P<hours>\d+):(?P<minutes>\d\d)(?::(?P<seconds>\d\d(?:\.\d*)?))?)?"
)
UNIT = r"(s|sec|seconds|ms|us|ns|min|h|utc|local)"
# Columns with the times of steps are called so.
NAMES = re.compile(rf"(date|time)s?([ _]?(time|stamp)s?)?([ _]?[\[(]?{UNIT}[\])]?)?", re.IGNORECASE)
# How many seconds a unit has, the largest unit first.
UNITS = {"days": 86_400.0, "h": 3_600.0, "min": 60.0}
# So many of a column's texts are tried when it is not said whether they are times.
TEXTS_TO_TRY = 20


@dataclass(frozen=True)
class Times:
    """The times of some steps, `values (N,)`: `datetime64`, or numbers. Those of durations are in
    seconds."""

    values: np.ndarray
    in_utc: bool = False  # whether the file gives an offset
    in_seconds: bool = False  # whether numbers are seconds

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, steps: Any) -> Times:
        return Times(self.values[steps], self.in_utc, self.in_seconds)

    @property
    def are_dates(self) -> bool:
        """Whether the times are dates, and no plain numbers."""
        return self.values.dtype.kind == "M"

    def apart(self) -> np.ndarray:
        """How far each time is from the next, `(N - 1,)` float64: in seconds, or in the unit of
        plain numbers."""
        differences = np.diff(self.values)
        if self.are_dates:
            return np.asarray(differences / np.timedelta64(1, "s"))
        return differences.astype(np.float64)

    def until(self, later: Times) -> float:
        """How far the last of these times is from the first of later ones, in the unit of
        `apart`."""
        last_and_first = Times(np.concatenate([self.values[-1:], later.values[:1]]))
        return float(last_and_first.apart()[0])

    def quoted(self, length: float) -> str:
        """What to call a length of time: `36 h`, or 5 of plain numbers."""
        if self.are_dates or self.in_seconds:
            return length_of_time(length)
        return f"{length:g}"

    def texts(self) -> list[Any]:
        """The times as JSON holds them: numbers, or texts of dates."""
        if not self.are_dates:
            numbers = self.values.tolist()
            return [int(number) if number == int(number) else number for number in numbers]
        import pandas as pd  # slow to import

        dates = pd.DatetimeIndex(self.values)
        if self.in_utc:
            dates = dates.tz_localize("UTC")
        return [str(date) for date in dates]


def length_of_time(seconds: float) -> str:
    """Seconds in the largest unit of which there is one, of days two: `36 h`, `2.5 days`."""
    for unit, seconds_of_unit in UNITS.items():
        least_seconds = 2 * seconds_of_unit if unit == "days" else seconds_of_unit
        if abs(seconds) >= least_seconds:
            return f"{seconds / seconds_of_unit:.3g} {unit}"
    return f"{seconds:.3g} s"


def times_of(columns: Columns, column: str, key: str = "data.time") -> Times:
    """The times in a column that this key names. Raises a `UserError` for a row without one, and
    for texts that are none."""
    columns.check(column, key)
    durations = _durations(columns, column)
    if durations is not None:
        return Times(durations, in_seconds=True)
    if columns.holds_texts(column):
        dates = moments(columns, column, key)
        values = dates.tz_localize(None).to_numpy()
        return Times(values, in_utc=dates.tz is not None)
    integers = _integers(columns, column)
    if integers is not None:
        return Times(integers)
    numbers = columns.numbers(column)
    columns.check_filled(column, np.isnan(numbers))
    return Times(numbers)


def times_or_none(columns: Columns, column: str) -> Times | None:
    """The times in a column of which nobody has said that it has some; None if it has none."""
    with suppress(UserError):
        return times_of(columns, column)
    return None


def moments(columns: Columns, column: str, key: str) -> Any:
    """A column of dates in ISO 8601, also with slashes, as a `DatetimeIndex`; in UTC if they have
    an offset. Raises a `UserError` for another text, or none, or if only some have an offset."""
    import pandas as pd  # slow to import
    import pyarrow as pa

    columns.check(column, key)
    array = columns.table[column]
    if pa.types.is_timestamp(array.type) and not array.null_count:
        without_zone = array.cast(pa.timestamp(array.type.unit))
        instants = pd.DatetimeIndex(without_zone.to_numpy())
        return instants.tz_localize("UTC") if array.type.tz else instants
    names = columns.filled(column, key)
    texts = [text.replace("/", "-") for text in names.names]
    # Of 2024.5, pandas would make a month.
    texts_of_dates = ["" if re.fullmatch(r"\d+\.\d*", text) else text for text in texts]
    date_by_code = pd.to_datetime(texts_of_dates, format="ISO8601", errors="coerce", utc=True)
    dates = date_by_code[names.codes]
    if dates.hasnans:
        row = dates.isna().argmax()
        raise UserError(
            f"{columns.where(row, column)} has {shown(repr(names.texts[row]))} as {column!r}: "
            "write times as 2013-01-31 06:00, with or without an offset such as +01:00"
        )
    has_offset_by_code = np.array([OFFSET.search(text) is not None for text in texts])
    has_offset = has_offset_by_code[names.codes]  # (N,)
    if has_offset.all():
        return dates
    if has_offset.any():
        first_row, second_row = np.sort([has_offset.argmax(), has_offset.argmin()])
        raise UserError(
            f"{columns.where(first_row, column)} has {shown(repr(names.texts[first_row]))} as "
            f"{column!r}, and row {columns.file_row(second_row)} "
            f"{shown(repr(names.texts[second_row]))}: give all times an offset such as +01:00, or "
            "none"
        )
    return dates.tz_localize(None)


def looks_like_times(columns: Columns, column: str) -> bool:
    """Whether a column has times by its type or its texts, of which the first ones are tried."""
    if columns.kind(column) != "text":
        return columns.kind(column) == "time"
    texts = [text for text in columns.names(column).names[:TEXTS_TO_TRY] if text]
    is_time = [bool(FIRST_DATE.match(text)) or _seconds(text) is not None for text in texts]
    return bool(texts) and all(is_time)


def is_called_time(column: str) -> bool:
    """Whether a column has a name as those with times have: `time`, `Date`, `timestamp_ms`."""
    return NAMES.fullmatch(column.strip()) is not None


def _integers(columns: Columns, column: str) -> np.ndarray | None:
    """Whole numbers as such, because float64 has no 1_700_000_000_000_000_001; None for others."""
    import pyarrow as pa

    array = columns.table[column]
    if pa.types.is_integer(array.type) and not array.null_count:
        if pa.types.is_uint64(array.type):
            return None
        return array.cast(pa.int64()).to_numpy()
    if columns.kind(column) != "text":
        return None
    names = columns.names(column)
    if (names.codes < 0).any() or not all(map(INTEGER.fullmatch, names.names)):
        return None
    numbers = [int(name) for name in names.names]
    if max(map(abs, numbers), default=0) > np.iinfo(np.int64).max:
        return None
    return np.array(numbers, np.int64)[names.codes]


def _durations(columns: Columns, column: str) -> np.ndarray | None:
    """A column of durations, or of times of a day, in seconds, `(N,)` float64; None for another
    column."""
    import pyarrow as pa

    dtype = columns.table[column].type
    if pa.types.is_duration(dtype):
        values = columns.table[column].to_numpy() / np.timedelta64(1, "s")
        columns.check_filled(column, np.isnan(values))
        return np.asarray(values, np.float64)
    if columns.kind(column) != "text" and not pa.types.is_time(dtype):
        return None
    names = columns.names(column)
    seconds = [_seconds(name) for name in names.names]
    if not seconds or None in seconds or (names.codes < 0).any():
        return None
    return np.array(seconds, np.float64)[names.codes]


def _seconds(text: str) -> float | None:
    """The seconds of a duration that is written as a text; None for another text."""
    match = DURATION.fullmatch(text)
    if match is None or not (match["days"] or match["hours"]):
        return None
    hours = float(match["hours"] or 0)
    minutes = float(match["minutes"] or 0)
    seconds = float(match["seconds"] or 0)
    time_of_day = UNITS["h"] * hours + UNITS["min"] * minutes + seconds
    if match["sign"]:
        time_of_day = -time_of_day
    return UNITS["days"] * float(match["days"] or 0) + time_of_day
