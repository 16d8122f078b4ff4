"""Series of numbers from a table with a row for each step."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from seqmodels.data.tables import Row, Tables, as_number
from seqmodels.errors import UserError, shown
from seqmodels.files import called

MISSING = ("NA", "N/A", "null")  # how others write what is not there
DECIMAL = re.compile(r"\d+\.\d*")
OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


@dataclass(frozen=True, eq=False)
class TimedSeries:
    """A series in the order of time, with equal steps.

    Args:
        name: its id in the file; empty if the file holds one series.
        values: of the columns; nan before the first one that is known.
        known: False where the file lacks a value, and the last one stands in `values` instead.
        times: of the steps, a `DatetimeIndex` that knows its frequency; None: the file has none.
    """

    name: str
    values: Float[np.ndarray, "time columns"]
    known: Bool[np.ndarray, "time columns"]
    times: Any = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def of(self) -> str:
        """` of <name>`, for errors; empty for the only series of a file."""
        return f" of {shown(self.name)}" if self.name else ""

    def part(self, start: int, stop: int) -> TimedSeries:
        """Its steps from `start` to before `stop`."""
        times = None if self.times is None else self.times[start:stop]
        values, known = self.values[start:stop], self.known[start:stop]
        return replace(self, values=values, known=known, times=times)

    def after(self, count: int) -> list[str]:
        """The times of the next steps."""
        import pandas as pd

        ahead = pd.date_range(self.times[-1], periods=count + 1, freq=self.times.freq)
        return [*map(str, ahead[1:])]

    @property
    def usual_period(self) -> int:
        """How many steps a day has; of steps that are as long, a week, or then a year; 1 without
        times, or for steps of a year."""
        if self.times is None or len(self) < 2:
            return 1
        step = (self.times[-1] - self.times[0]).total_seconds() / (len(self) - 1)
        days = (1, 7, 365.25)
        return next((round(86_400 * n / step) for n in days if step < 86_400 * n / 1.5), 1)


def read_series(
    path: str,
    columns: Mapping[str, str],
    time: str | None = None,
    series: str | None = None,
    *,
    fill: bool = False,
) -> list[TimedSeries]:
    """The series of a CSV, TSV, JSON Lines or Parquet file, in the order in which they begin.

    Args:
        columns: those with numbers, each with the key that names it, such as `data.target`.
        time: the column with the time of each row; None: rows follow each other in equal steps.
        series: the column that says which of several series a row is of; None: all are of one.
        fill: whether rows and values that are missing become the last known ones, which says
            nothing about what comes later, as interpolation would; else they are errors.

    Raises:
        UserError: if the file cannot be read, or a row is wrong.
    """
    found: dict[str, tuple[array[float], list[Any]]] = {}
    named = {**columns, **({time: "data.time"} if time else {})}
    named |= {series: "data.series"} if series else {}
    for row in Tables().rows(path, [*named]):
        for column, key in named.items() if row.number == 1 else ():
            row.value(column, key)
        name = row.filled(row.values.get(series), series) if series else ""
        values, times = found.setdefault(name, (array("d"), []))
        values.extend(_number(row, column) for column in columns)
        times.append(row.values.get(time) if time else None)
    if not found:
        raise UserError(f"{called(path)} has no rows")
    return [
        _series(name, called(path), [*columns], values, times if time else None, fill=fill)
        for name, (values, times) in found.items()
    ]


def _number(row: Row, column: str) -> float:
    value = row.values.get(column)
    missing = isinstance(value, str) and value.strip() in MISSING
    return as_number(None if missing else value, row.where, column)


def _series(
    name: str, path: str, columns: list[str], cells: Any, times: Sequence[Any] | None, *, fill: bool
) -> TimedSeries:
    import pandas as pd  # slow to import

    where = f"{path}: series {shown(name)}" if name else path
    values = pd.DataFrame(np.array(cells).reshape(-1, len(columns)))
    if times is not None:
        index = _moments(times, where)
        values = values.set_axis(index).reindex(_equal_steps(index, where))
    known = values.notna().to_numpy()
    if not known.any(axis=0).all():
        raise UserError(f"{where}: every {columns[int(known.any(axis=0).argmin())]!r} is missing")
    if not (fill or known.all()):
        row, column = np.argwhere(~known)[0]
        step = f"row {row + 1}" if times is None else values.index[row]
        raise UserError(
            f"{where}: {step} has no {columns[column]!r}: fill it, or set data.missing=last to "
            "repeat the last known value"
        )
    filled = values.ffill().to_numpy()  # nothing of what comes later
    return TimedSeries(name, filled, known, None if times is None else values.index)


def _moments(times: Sequence[Any], where: str) -> Any:
    import pandas as pd

    texts = ["" if time is None else str(time).strip().replace("/", "-") for time in times]
    dates = ["" if DECIMAL.fullmatch(text) else text for text in texts]  # pandas reads a month
    found = pd.to_datetime(dates, format="ISO8601", errors="coerce", utc=True)
    if found.hasnans:
        row = int(found.isna().argmax())
        raise UserError(
            f"{where}: row {row + 1} has {shown(repr(texts[row]))} as its time; write times as "
            "2013-01-31 06:00, with or without an offset such as +01:00"
        )
    return found if OFFSET.search(texts[0]) else found.tz_localize(None)


def _equal_steps(times: Any, where: str) -> Any:
    """The times with those that are missing between them."""
    import pandas as pd

    wrong = times[1:] <= times[:-1]
    if wrong.any():
        raise UserError(
            f"{where}: {times[1:][wrong][0]} is not after the row before: sort the rows by time, "
            "and have each once; if there are several series, set data.series; if clocks change, "
            "write times in UTC"
        )
    step = pd.infer_freq(times) if len(times) > 2 else None  # months and business days, too
    if step is None:
        step = times.to_series().diff().mode().get(0, pd.Timedelta(days=1))
        if times[-1] - times[0] >= 2 * len(times) * step:
            raise UserError(f"{where}: more than half of all rows are missing, in steps of {step}")
    whole = pd.date_range(times[0], times[-1], freq=step)
    if len(odd := times.difference(whole)):
        raise UserError(
            f"{where}: {odd[0]} is no multiple of the usual step, {step}, after {times[0]}: make "
            "the steps equal, such as by averages"
        )
    return whole
