"""From a table, or a file of the UEA/UCR archive, to the steps of its series: functions without
state."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from seqmodels.data.columns import Columns, Names, Origin, as_number, is_list, kind_of
from seqmodels.data.times import Times, times_or_none
from seqmodels.errors import UserError, refusing, shown
from seqmodels.files import read_lines

UNEVEN = 10  # how many times as long as the median a step of time is, to be worth a note
OF_LISTS = re.compile(r"\[\d+\]$")  # how the channels of lists of lists are called


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

    @property
    def rows(self) -> np.ndarray:
        """The row of the file, from 0, that each step is of, `(N,)`."""
        places = self.columns.places
        return np.arange(len(self.columns)) if places is None else places

    def repeated(self, of_series: np.ndarray) -> np.ndarray:
        """What each series has, `(S,)`, at each of its steps, `(N,)`."""
        return np.repeat(of_series, self.sizes)

    def ids(self, column: str) -> Iterator[str | list[str]]:
        """The text of each series in a column, or those of its steps if they differ within some
        series."""
        texts = self.columns.names(column).texts
        is_of_series = not self.varying(column)
        for start, stop in pairwise(self.starts.tolist()):
            yield texts[start] if is_of_series else texts[start:stop].tolist()

    def varying(self, column: str, *, numbers: bool = False) -> str:
        """`series 7 has 2 values of 'label' (walk, run)`; empty if no series has several.

        Args:
            numbers: whether to compare numbers, of which 1 and 1.0 are one.
        """
        names = None if numbers else self.columns.names(column)
        values = self.columns.numbers(column) if names is None else names.codes
        first = self.repeated(values[self.starts[:-1]])
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
        series = self.repeated(np.arange(len(self.names)))
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


def check_each_time_once(steps: Steps) -> None:
    """Raises a `UserError` for a time that stands twice in a series."""
    assert steps.times is not None
    is_twice = steps.is_inside() & (steps.times.apart() == 0)
    if is_twice.any():
        step = is_twice.argmax()
        first, second = sorted(map(steps.columns.place, (step, step + 1)))
        [time], series = steps.times[[step]].texts(), steps.called(steps.series(step))
        raise UserError(
            f"{steps.columns.path}: {series}: time {time} stands twice (rows {first}, {second}"
            "): have each once"
        )


def note_of_uneven_times(steps: Steps, column: str) -> str:
    """That steps of this column of times differ much in their length; empty if none does."""
    assert steps.times is not None
    is_inside = steps.is_inside()
    if not is_inside.any():
        return ""
    apart = np.where(is_inside, steps.times.apart(), np.nan)
    longest, usual = np.nanargmax(apart), np.nanmedian(apart)
    if apart[longest] <= UNEVEN * usual:
        return ""
    quoted = steps.times.quoted
    return (
        f"{steps.columns.path}: steps of {column} differ: the median is {quoted(usual)}, the "
        f"longest {quoted(apart[longest])} ({steps.called(steps.series(longest))}): resample, or "
        "set data.elapsed=true"
    )


def note_of_shape(steps: Steps, channel_count: int, *, is_wide: bool) -> str:
    """What series with few steps may be; empty for others."""
    longest = int(steps.sizes.max())
    if longest == 1 and not is_wide:
        return (
            f"{steps.columns.path}: every series has 1 step: if a row is a whole series, set "
            "data.steps, the columns of its steps; if it is a step, data.series names another "
            "column"
        )
    if 1 < longest < channel_count:
        return (
            f"{steps.columns.path}: series of {longest:,} steps and {channel_count:,} channels: "
            "time comes first: (steps, channels)"
        )
    return ""


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
    names = _names_in_all(recordings, wanted, guess=guess)
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


def _names_in_all(
    recordings: Sequence[Columns], wanted: Collection[str], *, guess: bool
) -> list[str]:
    """The columns that all files have. Raises a `UserError` for one that may be read, and that some
    of them lack."""
    shared_names = []
    for name in dict.fromkeys(name for file in recordings for name in file.table.column_names):
        lacking = next((file for file in recordings if name not in file), None)
        if lacking is None:
            shared_names.append(name)
        elif guess or name in wanted:
            other = next(file for file in recordings if name in file)
            raise UserError(
                f"{lacking.path} has no column {name!r}, which {other.path} has: give all files "
                "the same columns"
            )
    return shared_names


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


def rows_of_one_series(columns: Columns, names: Names) -> str:
    """`rows 1 and 5 are both of series a`: the first two rows with one name; empty if all differ.

    Args:
        names: of the series of each row.
    """
    _, first_rows, counts = np.unique(names.codes, return_index=True, return_counts=True)
    if not (counts > 1).any():
        return ""
    first = first_rows[counts > 1].min()
    second = np.flatnonzero(names.codes == names.codes[first])[1]
    series = shown(names.texts[first])
    return f"rows {columns.place(first)} and {columns.place(second)} are both of series {series}"


def joined(columns: Columns, names: Names, labels: Columns, series: str) -> Columns:
    """A table beside another one, which has a row for each series.

    Args:
        names: of the series of each row.
        labels: the other table, whose column `series` has these names.
    """
    import pandas as pd  # slow to import

    names_of_labels = labels.filled(series, "data.series")
    if both := rows_of_one_series(labels, names_of_labels):
        raise UserError(f"{labels.path}: {both}: have one for each")
    places = pd.Index(names_of_labels.texts).get_indexer(names.names)
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

    lists, leading, sizes = _lists_of_steps(columns, wanted, guess=guess)
    rows = np.repeat(np.arange(len(columns)), sizes)
    places = rows if columns.places is None else columns.places[rows]
    flat = dict[str, Any]()
    for name, array in lists.items():
        steps = array.flatten()
        if not is_list(steps.type) or is_list(steps.type.value_type):
            flat[name] = steps
            continue
        widths = pc.list_value_length(steps).fill_null(0).to_numpy()
        has_other_width = widths != widths[0]
        if not has_other_width.any():
            channels = _channels_of(name, steps.flatten(), int(widths[0]))
            if name in leading:  # whose channels are all read
                Columns(pa.table(channels), columns.path, places).check_numbers()
            flat |= channels
        elif name in leading:
            where = columns.where(rows[has_other_width.argmax()])
            what = f"{shown(name)} has steps of {widths[0]} channels and of others"
            raise UserError(f"{where}: {what}: give each all of them")
        else:
            flat[name] = steps
    rest = columns.select(name for name in columns.table.column_names if name not in lists)
    return Columns(pa.table(flat), columns.path, places).beside(rest, rows), rows


def _lists_of_steps(
    columns: Columns, wanted: Collection[str], *, guess: bool
) -> tuple[dict[str, Any], list[str], np.ndarray]:
    """The columns whose lists have an element for each step; which of them are to be read; and how
    many steps each row has, `(N,)`."""
    lists = {name: columns.table[name].combine_chunks() for name in columns.lists}
    sizes = {name: columns.list_lengths(name) for name in lists}
    leading = [name for name in lists if name in wanted]
    if guess or not leading:
        leading = [name for name in lists if name in leading or _holds_numbers(lists[name])]
    first = (leading or [*lists])[0]
    for name in [*lists]:
        has_other_size = sizes[name] != sizes[first]
        if not has_other_size.any():
            continue
        if name in leading:
            row = has_other_size.argmax()
            both = f"{sizes[first][row]} of {first!r} and {sizes[name][row]} of {name!r}"
            raise UserError(f"{columns.where(row)} has {both}: give one of each for each step")
        del lists[name]  # which says something else
    if not sizes[first].all():
        where = columns.where(sizes[first].argmin())
        raise UserError(f"{where} has no steps: fill its lists, or remove it")
    return lists, leading, sizes[first]


def _channels_of(name: str, cells: Any, width: int) -> dict[str, Any]:
    """The channels of lists of lists, each of so many cells in a row."""
    return {
        f"{name}[{channel}]": cells.take(np.arange(channel, len(cells), width))
        for channel in range(width)
    }


def columns_by_channel(channels: Sequence[str], table: Columns) -> dict[str, str]:
    """The column of a table that holds each channel. Lists of lists without the names of training
    hold the channels in its order."""
    without_names = [name for name in table.table.column_names if OF_LISTS.search(name)]
    if channels[0] not in table and len(without_names) == len(channels):
        return dict(zip(channels, without_names, strict=True))
    return {channel: channel for channel in channels}


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


def has_numbers(path: str) -> bool:
    """Whether the header of a `.ts` file says so."""
    lines = (line.strip().lower() for line in read_lines(path))
    header = takewhile(lambda line: line != "@data", lines)
    return any(line.split() == ["@targetlabel", "true"] for line in header)


def rows_of_ts(path: str) -> Iterator[tuple[np.ndarray, str | None]]:
    """The series `(T, F)` and label of each line of a `.ts` file, as it spells them; some channels
    of a series may be shorter. Of a file without labels, None. Raises a `UserError` for a file with
    time stamps or without `@data`, or a line that is not a series."""
    tags, inside = set[str](), False
    for number, line in enumerate(map(str.strip, read_lines(path)), start=1):
        if not inside:
            tags.add(" ".join(line.lower().split()))
            inside = "@data" in tags
        elif line and not line.startswith("#"):
            if "@timestamps true" in tags:
                raise UserError(f"{path} has time stamps: write the values alone, step by step")
            labelled = not tags & {"@classlabel false", "@targetlabel false"}
            *channels, label = line.split(":") if labelled else (*line.split(":"), "")
            if not channels or "," in label:
                raise UserError(
                    f"{path}: line {number} has no label after its last channel; add one"
                )
            with refusing(f"{path}: line {number} is not a series", ValueError):
                if "_" in (all_of := ":".join(channels)) or not all_of.isascii():
                    raise ValueError(f"{shown(repr(all_of))} is no number")  # as `as_number` says
                values = [[*map(float, x.replace("?", "nan").split(","))] for x in channels]
            array = np.full((max(map(len, values)), len(values)), np.nan)
            for channel, each in enumerate(values):
                array[: len(each), channel] = each
            yield array, label.strip() if labelled else None
    if not inside:
        raise UserError(f"{path} is not a .ts file: it has no line @data")
