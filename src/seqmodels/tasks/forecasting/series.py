"""Series of numbers from a table with a row for each step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from seqmodels.data.columns import Columns
from seqmodels.data.gaps import check_na_values
from seqmodels.data.series_inputs import last_known, rounding_of
from seqmodels.data.steps import Steps, in_order, step_back, steps_of_rows
from seqmodels.data.tables import Tables, has_lines
from seqmodels.data.times import is_called_time, looks_like_times, moments, times_of
from seqmodels.errors import SettingError, UserError, shown
from seqmodels.files import read_lines


@dataclass(frozen=True, eq=False)
class TimedSeries:
    """A series in the order of time, with equal steps."""

    name: str  # empty if the file holds one series
    values: Float[np.ndarray, "time columns"]  # nan before the first one that is known
    known: Bool[np.ndarray, "time columns"]  # where it isn't, the last known value stands there
    times: Any = None  # a `DatetimeIndex` that knows its frequency, if the file has one
    scale: Any = None  # (3, columns), mean, deviation and naive error, once known

    def __len__(self) -> int:
        return len(self.values)

    @property
    def of(self) -> str:
        """` of <name>`, for errors; empty for the only series of a file."""
        return f" of {shown(self.name)}" if self.name else ""

    @property
    def known_values(self) -> Float[np.ndarray, "time columns"]:
        """`values` with nan where one is not known."""
        return np.where(self.known, self.values, np.nan)

    def scale_so_far(self, period: int) -> Float[np.ndarray, "time 3 columns"]:
        """What `scale` is after each step; nan before the first known value.

        Args:
            period: after how many steps the naive forecast repeats.
        """
        import pandas as pd  # slow to import

        values = pd.DataFrame(self.known_values)
        so_far, least = values.expanding(), rounding_of(self.known_values, so_far=True)
        deviation = so_far.std(ddof=0).where(lambda found: found > least, 1.0)
        error = values.diff(period).abs().expanding().mean()
        error = error.where(error > least, deviation)  # else each period is as the last one
        return np.stack([so_far.mean(), deviation, error], axis=1)

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
    tables: Tables | None = None,
) -> list[TimedSeries]:
    """The series of a CSV, TSV, JSON Lines or Parquet file, in the order in which they begin.
    Raises a `UserError` if the file cannot be read, or a row is wrong.

    Args:
        columns: those with numbers, each with the key that names it, such as `data.target`.
        time: the column with the time of each row; None: rows follow each other in equal steps.
        series: the column that says which of several series a row is of; None: all are of one.
        fill: whether rows and values that are missing become the last known ones, which says
            nothing about what comes later, as interpolation would; else they are errors.
        tables: how to read them.
    """
    import pandas as pd  # slow to import

    tables = tables or Tables()
    if has_lines(path):  # with a value on each
        first = next(iter(columns))
        table = tables.of_rows([{first: line} for line in read_lines(path)], path, [])
    else:
        table = tables.read(path, texts=[*filter(None, (time, series))])
        check_na_values(tables.na_values, table.file_columns, table.path)
    values = pd.DataFrame({name: table.numbers(name, key) for name, key in columns.items()})
    times = moments(table, time, "data.time") if time else None
    columns_of_times = [] if time else _columns_of_times(table, {*columns, series})
    if series:
        table.check(series, "data.series")
    needed = dict.fromkeys([*columns, *filter(None, [series]), *columns_of_times])
    steps = in_order(steps_of_rows(table.select(needed), series), None)
    _check_order(steps, columns_of_times)
    values = values.iloc[steps.rows]
    return [
        _series(name, table, values.iloc[start:stop], times, fill=fill)
        for name, (start, stop) in zip(steps.names, pairwise(steps.starts.tolist()), strict=True)
    ]


def _columns_of_times(table: Columns, named: Collection[str | None]) -> list[str]:
    """The columns that no key names and that may have the times of the rows."""
    others = [name for name in table.table.column_names if name not in named]
    candidates = [name for name in others if looks_like_times(table, name)]
    if len(candidates) > 1:  # some may be other times than those of the rows
        candidates = [name for name in candidates if is_called_time(name)]
    return candidates + [n for n in others if is_called_time(n) and not table.holds_texts(n)]


def _check_order(steps: Steps, columns_of_times: Sequence[str]) -> None:
    """Raises a `UserError` if one of these columns has times which go back within a series: then
    the rows are of several, or in another order."""
    for name in columns_of_times:
        step = step_back(steps, name)
        if step is not None:
            [time] = times_of(steps.columns, name)[[step]].texts()
            raise _not_after(f"{steps.columns.path}: {name}: {time}")


def _not_after(time: str) -> UserError:
    problem = f"{time} is not after the row before"
    cures = "sort the rows by time, have each once, or write times in UTC"
    return SettingError(
        f"{problem}: {cures}; of several series, set data.series", f"{problem}: {cures}"
    )


def _series(name: str, table: Columns, values: Any, times: Any, *, fill: bool) -> TimedSeries:
    where = f"{table.path}: series {shown(name)}" if name else table.path
    if times is not None:
        index = times[values.index]
        values = values.set_axis(index).reindex(_equal_steps(index, where))
    known = values.notna().to_numpy()
    if not known.any(axis=0).all():
        column = values.columns[known.any(axis=0).argmin()]
        raise UserError(f"{where}: every {column!r} is missing")
    if not (fill or known.all()):
        row, column = np.argwhere(~known)[0]
        step = f"row {values.index[row] + 1}" if times is None else values.index[row]
        lacks = f"{step} has no {values.columns[column]!r}"
        raise SettingError(
            f"{where}: {lacks}: fill it, or set data.missing=last", f"{where}: {lacks}: fill it"
        )
    filled = last_known(values.to_numpy())  # nothing of what comes later
    return TimedSeries(name, filled, known, None if times is None else values.index)


def _equal_steps(times: Any, where: str) -> Any:
    """The times with those that are missing between them."""
    import pandas as pd

    wrong = times[1:] <= times[:-1]
    if wrong.any():
        raise _not_after(f"{where}: {times[1:][wrong][0]}")
    step = pd.infer_freq(times) if len(times) > 2 else None  # months and business days, too
    if step is None:
        step = times.to_series().diff().mode().get(0, pd.Timedelta(days=1))
        if times[-1] - times[0] >= 2 * len(times) * step:
            raise UserError(f"{where}: more than half of all rows are missing, in steps of {step}")
    whole = pd.date_range(times[0], times[-1], freq=step)
    if len(odd := times.difference(whole)):
        after = f"is no multiple of the usual step, {step}, after {times[0]}"
        raise UserError(f"{where}: {odd[0]} {after}: make the steps equal, such as by averages")
    return whole
