"""From a table to the steps of its series: functions without state."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqmodels.data.columns import Columns, Names, Origin, as_number, is_list, kind_of
from seqmodels.data.times import Times, times_or_none
from seqmodels.errors import UserError, shown


@dataclass(frozen=True)
class StepsOfSeries:
    """All steps of a table, in any order."""

    columns: Columns
    numbers: np.ndarray  # (N,), of the series that each step is of
    names: Names | None  # of the series of each step; None: they have none
    are_in_order: bool = False  # whether the steps of a series stand as they follow each other


@dataclass(frozen=True)
class Steps:
    """All steps of a table, one series after the other, each in the order of time."""

    columns: Columns
    starts: np.ndarray  # (S + 1,), where each series begins, and the end of the last one
    names: list[str]  # of the series; empty where they have none
    times: Times | None  # of the steps

    def series(self, step: Any) -> int:
        """The number of the series that a step is of."""
        return int(np.searchsorted(self.starts, step, "right")) - 1

    def called(self, number: int) -> str:
        """A series, for an error."""
        return f"series {shown(self.names[number] or str(number + 1))}"

    @property
    def sizes(self) -> np.ndarray:
        """How many steps each series has, `(S,)`."""
        return np.diff(self.starts)

    def is_inside(self) -> np.ndarray:
        """Whether each step but the last one is followed by one of its series, `(N - 1,)`."""
        is_inside = np.ones(len(self.columns) - 1, bool)
        is_inside[self.starts[1:-1] - 1] = False
        return is_inside

    def elapsed(self) -> np.ndarray:
        """`log1p` of the time since the step before, `(N,)`; 0 at the first step of a series."""
        assert self.times is not None
        elapsed = np.zeros(len(self.columns))
        elapsed[1:] = np.where(self.is_inside(), np.log1p(np.abs(self.times.apart())), 0.0)
        return elapsed

    def varying(self, column: str, *, numbers: bool = False) -> str:
        """`series 7 has 2 values of 'label' (walk, run)`; empty if no series has several.

        Args:
            numbers: whether to compare numbers, of which 1 and 1.0 are one.
        """
        names = None if numbers else self.columns.names(column)
        values = self.columns.numbers(column) if names is None else names.codes
        first = np.repeat(values[self.starts[:-1]], self.sizes)
        differs = (values != first) & ~((values != values) & (first != first))  # nan is nan
        if not differs.any():
            return ""
        number = self.series(differs.argmax())
        of_series = slice(self.starts[number], self.starts[number + 1])
        texts = (values if names is None else names.texts)[of_series]
        different = [*dict.fromkeys("empty" if text is None else str(text) for text in texts)]
        examples = ", ".join(map(shown, different[:3]))
        if len(different) > 3:
            examples += ", ..."
        return f"{self.called(number)} has {len(different)} values of {column!r} ({examples})"

    def is_only_in_one_step(self, column: str) -> bool:
        """Whether each series has one text in a column, and at some steps none."""
        names = self.columns.names(column)
        is_filled = names.codes >= 0
        series = np.repeat(np.arange(len(self.names)), self.sizes)
        pairs = np.unique(np.stack([series[is_filled], names.codes[is_filled]]), axis=1)
        return not is_filled.all() and len(pairs[0]) == len(self.names) == len({*pairs[0].tolist()})


def step_back(steps: Steps, column: str) -> int | None:
    """The first step whose time, in this column, is before that of the step before in its series;
    None if there is none."""
    times = times_or_none(steps.columns, column)
    if times is None:
        return None
    goes_back = steps.is_inside() & (times.apart() < 0)
    return int(goes_back.argmax()) + 1 if goes_back.any() else None


def steps_of_rows(columns: Columns, series: str | None) -> StepsOfSeries:
    """Of a table with a row for each step.

    Args:
        series: the column that names the series of each row; None: all are of one.
    """
    if series is None:
        return StepsOfSeries(columns, np.zeros(len(columns), int), None)
    names = columns.filled(series, "data.series")
    return StepsOfSeries(columns, names.codes, names)


def steps_of_lists(
    columns: Columns, series: str | None, wanted: Collection[str] = (), *, guess: bool = True
) -> StepsOfSeries:
    """Of a table with a row for each series, whose cells are lists of its steps.

    Args:
        series: the column that names the series of each row; None: they have no names.
        wanted: the columns that will be read, whose lists must be equally long in each row.
        guess: whether all lists of numbers will be read, too.
    """
    steps, rows = _unrolled(columns, wanted, guess=guess)
    if series is None:
        return StepsOfSeries(steps, rows, None, are_in_order=True)
    names = steps.filled(series, "data.series")
    first_steps = np.flatnonzero(np.diff(rows, prepend=-1))
    differs = names.codes != np.repeat(names.codes[first_steps], np.bincount(rows))
    if differs.any():
        step = differs.argmax()
        both = f"{shown(names.texts[first_steps[rows[step]]])} and {shown(names.texts[step])}"
        where = columns.where(rows[step], series)
        raise UserError(f"{where} is of series {both}: give each row, or frame, one series")
    return StepsOfSeries(steps, rows, names, are_in_order=True)


def steps_of_files(
    columns: Columns,
    files: str,
    series: str | None,
    read: Callable[[str], Columns],
    wanted: Collection[str] = (),
    *,
    guess: bool = True,
) -> StepsOfSeries:
    """Of a table with a row for each series, which names the file with its steps.

    Args:
        files: the column that names it, in the folder of the table.
        series: the column that names the series; None: the name of its file does.
        read: reads a file.
        wanted: the columns that will be read, which all files must have.
        guess: whether all columns that a file has may be read, too.
    """
    import pyarrow as pa

    folder, paths = Path(columns.path).parent, columns.filled(files, "data.files").texts
    recordings = [read(str(folder / path)) for path in paths]
    every_name = dict.fromkeys(name for each in recordings for name in each.table.column_names)
    names = []
    for name in every_name:
        lacking = next((each for each in recordings if name not in each), None)
        if lacking is None:
            names.append(name)
        elif guess or name in wanted:
            other = next(each for each in recordings if name in each)
            raise UserError(
                f"{lacking.path} has no column {name!r}, which {other.path} has: give all files "
                "the same columns"
            )
    merged = {name: _merged(recordings, name) for name in names}
    sizes = [*map(len, recordings)]
    rows = np.repeat(np.arange(len(recordings)), sizes)
    row_in_file = np.concatenate([np.arange(size) for size in sizes])
    origin = Origin([recording.path for recording in recordings], rows, row_in_file)
    steps = Columns(
        pa.table(merged), columns.path, rows, origins=dict.fromkeys(names, origin)
    ).beside(columns, rows)
    names_of_series = steps.filled(files if series is None else series, "data.series")
    return StepsOfSeries(steps, rows, names_of_series)


def _merged(recordings: Sequence[Columns], name: str) -> Any:
    """A column of several files, one after the other. If it holds texts in some of them, it does in
    all, so that an error can name the row of a text among numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pieces = [recording.table[name] for recording in recordings]
    kinds = {recording.kind(name) for recording in recordings}
    if len(kinds) > 1:
        dtype = pa.float64() if kinds == {"number", "boolean"} else pa.large_string()
        pieces = [pc.cast(piece, dtype) for piece in pieces]
    tables = [pa.table({name: piece}) for piece in pieces]
    return pa.concat_tables(tables, promote_options="permissive")[name]


def in_order(rows: StepsOfSeries, times: Times | None) -> Steps:
    """The steps of each series together, by their times, or else as they stand."""
    columns, series, names = rows.columns, rows.numbers, rows.names
    keys = (series,) if times is None else (times.values, series)
    order = np.lexsort(keys)
    if (np.diff(order) != 1).any():
        columns = columns.take(order)
        series = series[order]
        times = None if times is None else times[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1, [len(series)]])
    called = [""] * (len(starts) - 1)
    if names is not None:
        called = [names.names[code] for code in names.codes[order[starts[:-1]]]]
    return Steps(columns, starts, called, times)


def joined(columns: Columns, names: Names, labels: Columns, series: str) -> Columns:
    """A table beside another one, which has a row for each series.

    Args:
        names: of the series of each row.
        labels: the other table, whose column `series` has these names.
    """
    import pandas as pd  # slow to import

    known = pd.Index(labels.filled(series, "data.series").texts)
    if (twice := known.duplicated(keep=False)).any():
        name = known[twice][0]
        first, second = np.flatnonzero(known == name)[:2] + 1
        both = f"rows {first} and {second} are both of series {shown(name)}"
        raise UserError(f"{labels.path}: {both}: have one for each")
    places = known.get_indexer(names.names)
    is_used = np.bincount(names.codes, minlength=len(places)) > 0
    if (is_lacking := (places < 0) & is_used).any():
        name = names.names[is_lacking.argmax()]
        raise UserError(
            f"{labels.path} has no row for series {shown(name)} of {columns.path}: add one"
        )
    return columns.beside(labels, places[names.codes])


def _unrolled(
    columns: Columns, wanted: Collection[str], *, guess: bool
) -> tuple[Columns, np.ndarray]:
    """The columns with lists, a row for each of their elements, beside the others, each row as
    often as its lists have elements; and the row of each element. Lists of lists are `(T, C)`
    series, whose channels become columns. Raises a `UserError` for a row without a list, or with
    lists of unequal length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = {name: columns.table[name].combine_chunks() for name in columns.lists}
    sizes = {
        name: pc.list_value_length(array).fill_null(0).to_numpy() for name, array in lists.items()
    }
    leading = [name for name in lists if name in wanted]
    if guess or not leading:
        leading = [name for name in lists if name in leading or _holds_numbers(lists[name])]
    first = (leading or [*lists])[0]
    for name in [*lists]:
        if not (wrong := sizes[name] != sizes[first]).any():
            continue
        if name in leading:
            row = wrong.argmax()
            both = f"{sizes[first][row]} of {first!r} and {sizes[name][row]} of {name!r}"
            raise UserError(f"{columns.where(row)} has {both}: give one of each for each step")
        del lists[name]  # which says something else
    if not sizes[first].all():
        where = columns.where(sizes[first].argmin())
        raise UserError(f"{where} has no steps: fill its lists, or remove it")
    rows, flat = np.repeat(np.arange(len(columns)), sizes[first]), dict[str, Any]()
    places = rows if columns.places is None else columns.places[rows]
    for name, array in lists.items():
        steps = array.flatten()
        if not is_list(steps.type) or is_list(steps.type.value_type):
            flat[name] = steps
            continue
        widths = pc.list_value_length(steps).fill_null(0).to_numpy()
        if (wrong := widths != widths[0]).any():
            if name not in leading:
                flat[name] = steps
                continue
            what = f"{shown(name)} has steps of {widths[0]} channels and of others"
            raise UserError(f"{columns.where(rows[wrong.argmax()])}: {what}: give each all of them")
        cells, width = steps.flatten(), int(widths[0])
        for channel in range(width):
            column = f"{name}[{channel}]"
            flat[column] = cells.take(np.arange(channel, len(cells), width))
            if name in leading:  # whose channels are all read
                Columns(pa.table({column: flat[column]}), columns.path, places).numbers(column)
    names_of_rest = [name for name in columns.table.column_names if name not in lists]
    rest = Columns(columns.table.select(names_of_rest), columns.path, columns.places)
    return Columns(pa.table(flat), columns.path, places).beside(rest, rows), rows


def _holds_numbers(array: Any) -> bool:
    """Whether lists, or lists of lists, begin with numbers, which JSON holds as texts."""
    values = array.flatten()
    if is_list(values.type):
        values = values.flatten()
    kind = kind_of(values.type)
    if kind != "text":
        return kind in ("number", "boolean")
    first_values = [value for value in values[:20].to_pylist() if value is not None]
    return not first_values or any(math.isfinite(as_number(value)) for value in first_values)
