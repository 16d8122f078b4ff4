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

    # The name is empty if the file holds one series.
    name: str
    # Where a value isn't known, the last known one stands there; nan before the first.
    values: Float[np.ndarray, "time columns"]
    is_known: Bool[np.ndarray, "time columns"]
    # A `DatetimeIndex` that knows its frequency, if the file has one.
    times: Any = None
    # (3, columns): mean, deviation and naive error, once they are known.
    scale: Any = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def of(self) -> str:
        """` of <name>`, for errors; empty for the only series of a file."""
        return f" of {shown(self.name)}" if self.name else ""

    @property
    def known_values(self) -> Float[np.ndarray, "time columns"]:
        """`values` with nan where one is not known."""
        return np.where(self.is_known, self.values, np.nan)

    def scale_so_far(self, period: int) -> Float[np.ndarray, "time 3 columns"]:
        """What `scale` is after each step; nan before the first known value.

        Args:
            period: after how many steps the naive forecast repeats.
        """
        import pandas as pd  # It is slow to import.

        values = pd.DataFrame(self.known_values)
        rounding_error = rounding_of(self.known_values, so_far=True)
        mean = values.expanding().mean()
        deviation = values.expanding().std(ddof=0)
        deviation = deviation.where(deviation > rounding_error, 1.0)
        naive_error = values.diff(period).abs().expanding().mean()
        # Where each period is as the last one, the naive error is 0 but for rounding.
        naive_error = naive_error.where(naive_error > rounding_error, deviation)
        return np.stack([mean, deviation, naive_error], axis=1)

    def part(self, start: int, stop: int) -> TimedSeries:
        """Its steps from `start` to before `stop`."""
        return replace(
            self,
            values=self.values[start:stop],
            is_known=self.is_known[start:stop],
            times=None if self.times is None else self.times[start:stop],
        )

    def after(self, count: int) -> list[str]:
        """The times of the next steps."""
        import pandas as pd

        last_and_next = pd.date_range(self.times[-1], periods=count + 1, freq=self.times.freq)
        return [str(time) for time in last_and_next[1:]]

    @property
    def usual_period(self) -> int:
        """How many steps a day has; of steps that are as long, a week, or then a year; 1 without
        times, or for steps of a year."""
        if self.times is None or len(self) < 2:
            return 1
        seconds_in_all = (self.times[-1] - self.times[0]).total_seconds()
        seconds_of_step = seconds_in_all / (len(self) - 1)
        for days in (1, 7, 365.25):
            seconds_of_period = 86_400 * days
            if seconds_of_step < seconds_of_period / 1.5:
                return round(seconds_of_period / seconds_of_step)
        return 1


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
    import pandas as pd  # It is slow to import.

    tables = tables or Tables()
    if has_lines(path):  # A line holds a value of the first column.
        first_column = next(iter(columns))
        rows = [{first_column: line} for line in read_lines(path)]
        table = tables.of_rows(rows, path, [])
    else:
        text_columns = [name for name in (time, series) if name]
        table = tables.read(path, texts=text_columns)
        check_na_values(tables.na_values, table.file_columns, table.path)
    values = pd.DataFrame({name: table.numbers(name, key) for name, key in columns.items()})
    times = moments(table, time, "data.time") if time else None
    columns_of_times = [] if time else _columns_of_times(table, {*columns, series})
    if series:
        table.check(series, "data.series")
    needed_columns = dict.fromkeys([*columns, *columns_of_times])
    if series:
        needed_columns[series] = None
    steps = in_order(steps_of_rows(table.select(needed_columns), series), None)
    _check_order(steps, columns_of_times)
    values = values.iloc[steps.rows]
    all_series = []
    for name, (start, stop) in zip(steps.names, pairwise(steps.starts.tolist()), strict=True):
        all_series.append(_series(name, table, values.iloc[start:stop], times, fill=fill))
    return all_series


def _columns_of_times(table: Columns, named_columns: Collection[str | None]) -> list[str]:
    """The columns that no key names and that may have the times of the rows."""
    unnamed_columns = [name for name in table.table.column_names if name not in named_columns]
    columns = [name for name in unnamed_columns if looks_like_times(table, name)]
    if len(columns) > 1:
        # Some may hold other times than those of the rows.
        columns = [name for name in columns if is_called_time(name)]
    for name in unnamed_columns:
        if is_called_time(name) and not table.holds_texts(name):
            columns.append(name)
    return columns


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
    is_known = values.notna().to_numpy()
    has_values = is_known.any(axis=0)  # (columns,)
    if not has_values.all():
        column = values.columns[has_values.argmin()]
        raise UserError(f"{where}: every {column!r} is missing")
    if not (fill or is_known.all()):
        row, column = np.argwhere(~is_known)[0]
        step = f"row {values.index[row] + 1}" if times is None else values.index[row]
        message = f"{where}: {step} has no {values.columns[column]!r}: fill it"
        raise SettingError(f"{message}, or set data.missing=last", message)
    # Only earlier values fill a gap, because nobody knows later ones in time.
    filled_values = last_known(values.to_numpy())
    return TimedSeries(name, filled_values, is_known, None if times is None else values.index)


def _equal_steps(times: Any, where: str) -> Any:
    """The times with those that are missing between them."""
    import pandas as pd

    goes_back = times[1:] <= times[:-1]
    if goes_back.any():
        raise _not_after(f"{where}: {times[1:][goes_back][0]}")
    step = None
    if len(times) > 2:
        step = pd.infer_freq(times)  # This knows months and business days, too.
    if step is None:
        step = times.to_series().diff().mode().get(0, pd.Timedelta(days=1))
        if times[-1] - times[0] >= 2 * len(times) * step:
            raise UserError(f"{where}: more than half of all rows are missing, in steps of {step}")
    all_times = pd.date_range(times[0], times[-1], freq=step)
    times_between = times.difference(all_times)
    if len(times_between):
        raise UserError(
            f"{where}: {times_between[0]} is no multiple of the usual step, {step}, after "
            f"{times[0]}: make the steps equal, such as by averages"
        )
    return all_times
