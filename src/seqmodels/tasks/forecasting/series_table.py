"""Series of numbers from a table with one row a step."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from seqmodels.data.tables import Row, Tables, as_number, check_ending
from seqmodels.errors import UserError, shown
from seqmodels.tasks.forecasting.times import Clock, Moment, clock, moment

MISSING = ("NA", "N/A", "null")  # how others write what is not there


@dataclass(frozen=True, eq=False)
class TimedSeries:
    """A series in the order of time, with equal steps.

    Args:
        name: its id in the file; empty if the file holds one series.
        values: of the columns, without nan.
        known: False where the file lacks a value, and the last one stands in `values` instead.
        clock: of the column of times, if there is one.
        ahead: how many steps after these the columns that are known in advance reach.
    """

    name: str
    values: Float[np.ndarray, "time columns"]
    known: Bool[np.ndarray, "time columns"]
    clock: Clock | None = None
    ahead: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def of(self) -> str:
        """` of <name>`, for errors; empty for the only series of a file."""
        return f" of {shown(self.name)}" if self.name else ""

    def part(self, start: int, stop: int) -> TimedSeries:
        """Its steps from `start` to before `stop`, with the clock of the whole series."""
        return replace(self, values=self.values[start:stop], known=self.known[start:stop])


@dataclass
class _Rows:
    """The rows of one series, in the order of the file."""

    numbers: array[int] = field(default_factory=lambda: array("q"))  # of the rows
    values: array[float] = field(default_factory=lambda: array("d"))
    moments: list[Moment] = field(default_factory=list)
    last: str = ""


@dataclass(frozen=True)
class SeriesTable:
    """How to read series from a CSV, TSV, JSON Lines or Parquet file, by its ending.

    Args:
        columns: those with numbers, each with the key that names it, such as `data.target`.
        time: the column with the time of each row; None: rows follow each other in equal steps.
        series: the column that says which series a row is of; None: all are of one.
        fill: whether rows and values that are missing become the last known ones, which says
            nothing about what comes later, as interpolation would; else they are errors.
        future: how many columns, the last ones, are known in advance. The last rows may hold these
            alone.
        later: how many steps later these are read.
    """

    columns: Mapping[str, str]
    time: str | None = None
    series: str | None = None
    fill: bool = False
    future: int = 0
    later: int = 0

    def read(self, path: str) -> list[TimedSeries]:
        """The series of a file, in the order in which they begin.

        Raises:
            UserError: if the file cannot be read, or a row is wrong.
        """
        check_ending(path)
        found: dict[str, _Rows] = {}
        others = ((self.time, "data.time"), (self.series, "data.series"))
        named = {**self.columns, **{name: key for name, key in others if name is not None}}
        for row in Tables().rows(path, [*named]):
            for column, key in named.items() if row.number == 1 else ():
                row.value(column, key)
            rows = found.setdefault(self._name(row), _Rows())
            rows.numbers.append(row.number)
            for column in self.columns:
                rows.values.append(as_number(_value(row.values.get(column)), row.where, column))
            if self.time is not None:
                rows.moments.append(moment(row.values.get(self.time), row.where))
                rows.last = str(row.values[self.time])
        if not found:
            raise UserError(f"{path} has no rows")
        return [self._series(name, found.pop(name), path) for name in [*found]]

    def _name(self, row: Row) -> str:
        if self.series is None:
            return ""
        name = row.values.get(self.series)
        if name is None or not name.strip():
            raise UserError(f"{row.where} has no {self.series!r}; fill it")
        return name

    def _series(self, name: str, rows: _Rows, path: str) -> TimedSeries:
        values = np.array(rows.values).reshape(-1, len(self.columns))
        of = f" of {shown(name)}" if name else ""
        found: Any = None
        if self.time is not None:

            def name_of(index: int) -> str:
                moment = shown(str(rows.moments[index]))
                return f"{path}: row {rows.numbers[index]}{of}, at {moment},"

            found, steps = clock(rows.moments, rows.last, name_of)
            values = self._without_gaps(values, steps, name_of)
        known = ~np.isnan(values)
        count, ahead = len(self.columns) - self.future, 0
        if self.future:
            ahead = int(known[::-1, :count].any(axis=1).argmax())
            known[len(known) - ahead :, :count] = True  # which are cut off
        if not known.all():
            if not self.fill:
                row, column = np.argwhere(~known)[0]
                raise UserError(
                    f"{path}: row {rows.numbers[row]}{of} has no {[*self.columns][column]!r}: fill "
                    "it, or set data.missing=last to repeat the last known value"
                )
            for column, there in enumerate(known.T):
                if not there.any():
                    raise UserError(f"{path}: every {[*self.columns][column]!r}{of} is missing")
            values = _filled(values, known)
        now = np.arange(len(values) - ahead)
        # the last row stands for those after the file, which no window of a split reads
        read = np.minimum(now + self.later, len(values) - 1)
        values, known = (
            np.hstack([each[now, :count], each[read, count:]]) for each in (values, known)
        )
        if ahead and found:
            found = replace(found, last=str(found.after(1, since=-ahead - 1)[0]))
        return TimedSeries(name, values, known, found, ahead)

    def _without_gaps(
        self, values: np.ndarray, steps: np.ndarray, name_of: Callable[[int], str]
    ) -> np.ndarray:
        count = int(steps[-1]) + 1
        if count == len(steps):
            return values
        gaps = np.diff(steps) - 1
        if not self.fill or count > 2 * len(steps):
            at = int(np.flatnonzero(gaps)[0] if not self.fill else gaps.argmax())
            missing = f"{gaps[at]:,} row{'s' if gaps[at] > 1 else ''}"
            raise UserError(
                f"{name_of(at + 1)} comes after a gap: {missing} of equal steps "
                f"{'are' if gaps[at] > 1 else 'is'} missing before it; add them"
                + (
                    ", or set data.missing=last to repeat the last known values; if clocks went "
                    "forward there, write times in UTC"
                    if not self.fill
                    else ": more than half of all rows are missing"
                )
            )
        spread = np.full((count, values.shape[1]), np.nan)
        spread[steps] = values
        return spread


def _value(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip() in MISSING else value


def _filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    # the last known value; before the first one, that
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(known, rows, -1), axis=0)
    return np.take_along_axis(values, np.where(last < 0, known.argmax(axis=0), last), axis=0)
