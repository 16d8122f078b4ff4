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
FIRST_DATE = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?([T ]|$)|\d{8}T\d\d")  # how ISO 8601 begins
DURATION = re.compile(
    r"(?:(?P<days>-?\d+) days?\b ?\+?)?(?P<sign>-?)"
    r"(?:(?P<hours>\d+):(?P<minutes>\d\d)(?::(?P<seconds>\d\d(?:\.\d*)?))?)?"
)  # 1:30, 1:30:00.5, and 2 days 01:30:00 as pandas writes it
UNIT = r"(s|sec|seconds|ms|us|ns|min|h|utc|local)"
NAMES = re.compile(  # of columns with the times of steps
    rf"(date|time)s?([ _]?(time|stamp)s?)?([ _]?[\[(]?{UNIT}[\])]?)?", re.IGNORECASE
)
UNITS = {"days": 86_400.0, "h": 3_600.0, "min": 60.0}  # with their seconds


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
        """Whether they are no plain numbers."""
        return self.values.dtype.kind == "M"

    def apart(self) -> np.ndarray:
        """From each time to the next `(N - 1,)`, float64: in seconds, or as numbers count."""
        differences = np.diff(self.values)
        if self.are_dates:
            return np.asarray(differences / np.timedelta64(1, "s"))
        return differences.astype(np.float64)

    def until(self, later: Times) -> float:
        """From the last of these to the first of others, as `apart`."""
        both = Times(np.concatenate([self.values[-1:], later.values[:1]]))
        return float(both.apart()[0])

    def quoted(self, length: float) -> str:
        """What to call a length of time: `36 h`, or 5 of plain numbers."""
        return length_of_time(length) if self.are_dates or self.in_seconds else f"{length:g}"

    def texts(self) -> list[Any]:
        """As JSON holds them: numbers, or texts of dates."""
        if not self.are_dates:
            numbers = self.values.tolist()
            return [int(number) if number == int(number) else number for number in numbers]
        import pandas as pd  # slow to import

        dates = pd.DatetimeIndex(self.values)
        return [*map(str, dates.tz_localize("UTC") if self.in_utc else dates)]


def length_of_time(seconds: float) -> str:
    """Seconds in the largest unit of which there is one: `36 h`, `2.5 days`."""
    for unit, size in UNITS.items():
        if abs(seconds) >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def times_of(columns: Columns, column: str, key: str = "data.time") -> Times:
    """The times in a column that this key names. Raises a `UserError` for a row without one, and
    for texts that are none."""
    columns.check(column, key)
    if (durations := _durations(columns, column)) is not None:
        return Times(durations, in_seconds=True)
    if columns.holds_texts(column):
        dates = moments(columns, column, key)
        return Times(dates.tz_localize(None).to_numpy(), in_utc=dates.tz is not None)
    if (integers := _integers(columns, column)) is not None:
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
        instants = pd.DatetimeIndex(array.cast(pa.timestamp(array.type.unit)).to_numpy())
        return instants.tz_localize("UTC") if array.type.tz else instants
    names = columns.filled(column, key)
    texts = [text.replace("/", "-") for text in names.names]
    # pandas reads 2024.5 as a month
    dates = ["" if re.fullmatch(r"\d+\.\d*", text) else text for text in texts]
    parsed = pd.to_datetime(dates, format="ISO8601", errors="coerce", utc=True)[names.codes]
    if parsed.hasnans:
        row = parsed.isna().argmax()
        where = columns.where(row, column)
        raise UserError(
            f"{where} has {shown(repr(names.texts[row]))} as {column!r}: write "
            "times as 2013-01-31 06:00, with or without an offset such as +01:00"
        )
    has_offset = np.array([bool(OFFSET.search(text)) for text in texts])[names.codes]
    if has_offset.any() and not has_offset.all():
        first, other = np.sort([has_offset.argmax(), has_offset.argmin()])
        raise UserError(
            f"{columns.where(first, column)} has {shown(repr(names.texts[first]))} as {column!r}, "
            f"and row {columns.file_row(other)} {shown(repr(names.texts[other]))}: give all times "
            "an offset such as +01:00, or none"
        )
    return parsed if has_offset.all() else parsed.tz_localize(None)


def looks_like_times(columns: Columns, column: str) -> bool:
    """Whether a column has times by its type or its texts, of which the first ones are tried."""
    if columns.kind(column) != "text":
        return columns.kind(column) == "time"
    names = [name for name in columns.names(column).names[:20] if name]
    return bool(names) and all(
        FIRST_DATE.match(name) or _seconds(name) is not None for name in names
    )


def is_called_time(column: str) -> bool:
    """Whether a column has a name as those with times have: `time`, `Date`, `timestamp_ms`."""
    return NAMES.fullmatch(column.strip()) is not None


def _integers(columns: Columns, column: str) -> np.ndarray | None:
    """Whole numbers as such, because float64 has no 1_700_000_000_000_000_001; None for others."""
    import pyarrow as pa

    array = columns.table[column]
    if pa.types.is_integer(array.type) and not array.null_count:
        return None if pa.types.is_uint64(array.type) else array.cast(pa.int64()).to_numpy()
    if columns.kind(column) != "text":
        return None
    names = columns.names(column)
    if (names.codes < 0).any() or not all(map(INTEGER.fullmatch, names.names)):
        return None
    numbers = [*map(int, names.names)]
    if max(map(abs, numbers), default=0) > np.iinfo(np.int64).max:
        return None
    return np.array(numbers, np.int64)[names.codes]


def _durations(columns: Columns, column: str) -> np.ndarray | None:
    """Durations, and times of a day, in seconds; None for a column of others."""
    import pyarrow as pa

    dtype = columns.table[column].type
    if pa.types.is_duration(dtype):
        values = columns.table[column].to_numpy() / np.timedelta64(1, "s")
        columns.check_filled(column, np.isnan(values))
        return np.asarray(values, np.float64)
    if not (columns.kind(column) == "text" or pa.types.is_time(dtype)):
        return None
    names = columns.names(column)
    seconds = [_seconds(name) for name in names.names]
    if not seconds or None in seconds or (names.codes < 0).any():
        return None
    return np.array(seconds, np.float64)[names.codes]


def _seconds(text: str) -> float | None:
    """Of a duration as a text; None for another one."""
    match = DURATION.fullmatch(text)
    if match is None or not (match["days"] or match["hours"]):
        return None
    hours, minutes, seconds = (float(match[name] or 0) for name in ("hours", "minutes", "seconds"))
    clock = UNITS["h"] * hours + UNITS["min"] * minutes + seconds
    return UNITS["days"] * float(match["days"] or 0) + (-clock if match["sign"] else clock)
