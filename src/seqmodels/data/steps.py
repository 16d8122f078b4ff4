"""From a table, or a file of the UEA/UCR archive, to the steps of its series: functions without
state."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from seqmodels.data.columns import (
    Columns,
    Names,
    Origin,
    elements_of,
    is_list,
    row_blocks,
    smallest_type,
)
from seqmodels.data.times import Times, times_or_none
from seqmodels.errors import UserError, refusing, shown
from seqmodels.files import read_lines

# A step of time this many times as long as the median is worth a note.
UNEVEN = 10
# The names of the channels of lists of lists end like this.
OF_LISTS = re.compile(r"\[\d+\]$")


@dataclass(frozen=True)
class StepsOfSeries:
    """All steps of a table, in any order."""

    columns: Columns
    numbers: np.ndarray  # (N,), the number of the series of each step
    names: Names | None  # (N,), the name of the series of each step; None: series have no names
    are_in_order: bool = False  # whether the steps of a series stand as they follow each other


@dataclass(frozen=True)
class Steps:
    """All steps of a table, one series after the other, each in the order of time."""

    columns: Columns
    starts: np.ndarray  # (S + 1,), where each series begins, and the end of the last one
    names: list[str]  # (S,), one for each series; an empty text where it has none
    times: Times | None  # (N,), one for each step

    def series(self, step: Any) -> int:
        """The number of the series of a step."""
        return int(np.searchsorted(self.starts, step, "right")) - 1

    def called(self, number: int) -> str:
        """A series, as messages call it: by its name, or else by its number, counted from 1."""
        name = self.names[number] or str(number + 1)
        return f"series {shown(name)}"

    @property
    def sizes(self) -> np.ndarray:
        """How many steps each series has, `(S,)`."""
        return np.diff(self.starts)

    def is_inside(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Whether each step but the last one of all is followed by one of its series, `(N - 1,)`.

        Args:
            start, stop: of which steps to say so; those from `start` to before `stop`.
        """
        if stop is None:
            stop = len(self.columns) - 1
        is_inside = np.ones(stop - start, bool)
        # The last step of a series is followed by one of the next series.
        last_steps = self.starts[1:-1] - 1
        first, last = np.searchsorted(last_steps, [start, stop])
        is_inside[last_steps[first:last] - start] = False
        return is_inside

    def take(self, numbers: Sequence[int]) -> Steps:
        """The steps of the series with these numbers, which rise, without their times."""
        is_taken = np.zeros(len(self.names), bool)
        is_taken[numbers] = True
        starts = np.append(0, np.cumsum(self.sizes[is_taken]))
        names = [self.names[number] for number in numbers]
        # Series that follow each other are one slice. Where they begin and end, the mask changes.
        borders = np.flatnonzero(np.diff(is_taken, prepend=False, append=False))
        ends = self.starts[borders].tolist()
        slices = [*zip(ends[::2], ends[1::2], strict=True)]
        return Steps(self.columns.in_slices(slices), starts, names, None)

    @property
    def pair_count(self) -> int:
        """How many steps are followed by one of their series."""
        return len(self.columns) - len(self.starts) + 1

    def blocks_apart(self, times: Times) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Some steps at a time: the number of the first one; how far the time of each is from that
        of the next step, as `Times.apart` has it; and whether this is of the same series.

        Args:
            times: one for each step.
        """
        for start, stop in row_blocks(len(times), overlap=1):
            yield start, times[start:stop].apart(), self.is_inside(start, stop - 1)

    def elapsed(self, start: int, stop: int) -> np.ndarray:
        """`log1p` of the time since the step before, for the steps of a series, which begins at
        `start` and ends before `stop`; 0 at its first step."""
        assert self.times is not None
        log_times = np.log1p(np.abs(self.times[start:stop].apart()))
        return np.concatenate([[0.0], log_times])

    @property
    def rows(self) -> np.ndarray:
        """The row of the file, counted from 0, that each step is from, `(N,)`."""
        return self.columns.file_rows_of(np.arange(len(self.columns)))

    def repeated(self, series_values: np.ndarray) -> np.ndarray:
        """The value of each series, `(S,)`, at each of its steps, `(N,)`."""
        return np.repeat(series_values, self.sizes)

    def ids(self, column: str) -> Iterator[str | list[str]]:
        """The text of each series in a column. If texts differ within some series, the texts of its
        steps."""
        texts = self.columns.names(column).texts
        is_of_series = not self.varying(column)
        for start, stop in pairwise(self.starts.tolist()):
            yield texts[start] if is_of_series else texts[start:stop].tolist()

    def varying(self, column: str, *, numbers: bool = False) -> str:
        """The first series with several values in a column, as a clause for a message, such as
        `series 7 has 2 values of 'label' (walk, run)`; empty if no series has several.

        Args:
            numbers: whether to compare the values as numbers, so that 1 and 1.0 are the same.
        """
        columns = self.columns
        compared = columns.numbers(column) if numbers else columns.names(column).codes
        step = self._first_that_varies(compared)
        if step is None:
            return ""
        series = self.series(step)
        rows = slice(self.starts[series], self.starts[series + 1])
        values_of_series = compared[rows] if numbers else self.columns.names(column).texts_in(rows)
        texts = ["empty" if value is None else str(value) for value in values_of_series]
        different_texts = list(dict.fromkeys(texts))
        examples = ", ".join(map(shown, different_texts[:3]))
        if len(different_texts) > 3:
            examples += ", ..."
        return f"{self.called(series)} has {len(different_texts)} values of {column!r} ({examples})"

    def _first_that_varies(self, values: np.ndarray) -> int | None:
        """The first step whose value differs from that of the first step of its series; None
        without any. Missing numbers, which are nan, are the same.

        Args:
            values: one for each step, `(N,)`.
        """
        is_nan_possible = values.dtype.kind == "f"
        for start, stop in row_blocks(len(values)):
            series = np.searchsorted(self.starts, np.arange(start, stop), "right") - 1
            first = values[self.starts[series]]
            differs = values[start:stop] != first
            if is_nan_possible:
                differs &= ~(np.isnan(values[start:stop]) & np.isnan(first))
            if differs.any():
                return start + int(differs.argmax())
        return None

    def is_only_in_one_step(self, column: str) -> bool:
        """Whether each series has a single text in a column, and lacks it at some of the steps."""
        codes = self.columns.names(column).codes
        is_filled = codes >= 0
        if is_filled.all():
            return False
        for start, stop in pairwise(self.starts.tolist()):
            codes_of_series = codes[start:stop]
            filled_codes = codes_of_series[is_filled[start:stop]]
            has_one_text = len(filled_codes) > 0 and (filled_codes == filled_codes[0]).all()
            if not has_one_text:
                return False
        return True


def step_back(steps: Steps, column: str) -> int | None:
    """The first step that has an earlier time, in this column, than the step before it in its
    series; None if no step has."""
    times = times_or_none(steps.columns, column)
    if times is None:
        return None
    for start, apart, is_inside in steps.blocks_apart(times):
        goes_back = is_inside & (apart < 0)
        if goes_back.any():
            return start + int(goes_back.argmax()) + 1
    return None


def check_each_time_once(steps: Steps) -> None:
    """Raises a `UserError` for a time that stands twice in a series."""
    assert steps.times is not None
    for start, apart, is_inside in steps.blocks_apart(steps.times):
        is_twice = is_inside & (apart == 0)
        if not is_twice.any():
            continue
        step = start + is_twice.argmax()
        series = steps.called(steps.series(step))
        [time] = steps.times[[step]].texts()
        first_row, second_row = sorted(map(steps.columns.file_row, (step, step + 1)))
        raise UserError(
            f"{steps.columns.path}: {series}: time {time} stands twice (rows {first_row}, "
            f"{second_row}): have each once"
        )


def note_of_uneven_times(steps: Steps, column: str) -> str:
    """A note that the times in a column lie much further apart at some steps than at most; empty if
    they don't."""
    assert steps.times is not None
    if steps.pair_count == 0:
        return ""
    longest, longest_step = -np.inf, 0
    for start, apart, is_inside in steps.blocks_apart(steps.times):
        apart[~is_inside] = -np.inf
        step = int(apart.argmax())
        if apart[step] > longest:
            longest, longest_step = apart[step], start + step
    if _are_even(steps, longest):
        return ""
    apart = steps.times.apart()[steps.is_inside()]
    median = np.median(apart, overwrite_input=True)
    if longest <= UNEVEN * median:
        return ""
    quoted = steps.times.quoted
    series = steps.called(steps.series(longest_step))
    return (
        f"{steps.columns.path}: steps of {column} differ: the median is {quoted(median)}, the "
        f"longest {quoted(longest)} ({series}): resample, or set data.elapsed=true"
    )


def _are_even(steps: Steps, longest: float) -> bool:
    """Whether the longest step of time is surely not much longer than the median. It takes no copy
    of all steps of time, as a median does."""
    assert steps.times is not None
    count = 0  # of steps of time that are not much shorter than the longest one
    for _, apart, is_inside in steps.blocks_apart(steps.times):
        count += int(((longest <= UNEVEN * apart) & is_inside).sum())
    return 2 * count > steps.pair_count + 1


def note_of_shape(steps: Steps, channel_count: int, *, is_wide: bool) -> str:
    """A note on what the table may be if its series have few steps; empty if they have many.

    Args:
        is_wide: whether columns of the table are the steps of a series.
    """
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
    """The steps of a table with a row for each step.

    Args:
        series: the column that names the series of each row; None: all rows are of one series.
    """
    if series is None:
        return StepsOfSeries(columns, np.zeros(len(columns), np.int8), None)
    names = columns.filled(series, "data.series")
    return StepsOfSeries(columns, names.codes, names)


def steps_of_lists(
    columns: Columns, series: str | None, wanted: Collection[str] = (), *, guess: bool = True
) -> StepsOfSeries:
    """The steps of a table with a row for each series, whose cells are lists of its steps.

    Args:
        series: the column that names the series of each row; None: they have no names.
        wanted: the columns that will be read, whose lists must be equally long in each row.
        guess: whether all lists of numbers will be read, too.
    """
    steps, sizes = _unrolled(columns, wanted, guess=guess)
    rows = _rows_of(sizes)
    if series is None:
        return StepsOfSeries(steps, rows, None, are_in_order=True)
    names = steps.filled(series, "data.series")
    first_steps = np.cumsum(sizes) - sizes  # the first step of each row
    first_codes = np.repeat(names.codes[first_steps], sizes)
    differs = names.codes != first_codes
    if differs.any():
        step = differs.argmax()
        row = rows[step]
        first_name, second_name = names.texts[first_steps[row]], names.texts[step]
        raise UserError(
            f"{columns.where(row, series)} is of series {shown(first_name)} and "
            f"{shown(second_name)}: give each row, or frame, one series"
        )
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
    """The steps of a table with a row for each series, which names the file with its steps.

    Args:
        files: the column that names the files, which are in the folder of the table.
        series: the column that names the series; None: a series is called as its file.
        read: reads a file.
        wanted: the columns that will be read, which all files must have.
        guess: whether all columns that a file has may be read, too.
    """
    import pyarrow as pa

    folder = Path(columns.path).parent
    recordings = [read(str(folder / path)) for path in columns.filled(files, "data.files").texts]
    channels = _names_in_all(recordings, wanted, guess=guess)
    merged = {channel: _merged(recordings, channel) for channel in channels}

    # Where each step is from: the row of the table, which is its file, and the row in that file.
    sizes = [len(recording) for recording in recordings]
    rows = _rows_of(np.array(sizes))
    rows_of_files = np.concatenate([np.arange(size) for size in sizes])
    origin = Origin([recording.path for recording in recordings], rows, rows_of_files)
    origins = dict.fromkeys(channels, origin)

    steps = Columns(pa.table(merged), columns.path, rows, origins=origins).beside(columns, rows)
    names = steps.filled(files if series is None else series, "data.series")
    return StepsOfSeries(steps, rows, names)


def _names_in_all(
    recordings: Sequence[Columns], wanted: Collection[str], *, guess: bool
) -> list[str]:
    """The columns that all files have. Raises a `UserError` for a column that may be read, and that
    only some of the files have."""
    names = dict[str, None]()  # each name once, in the order of the files
    for recording in recordings:
        names |= dict.fromkeys(recording.table.column_names)
    shared_names = []
    for name in names:
        files_without = [recording.path for recording in recordings if name not in recording]
        if not files_without:
            shared_names.append(name)
        elif guess or name in wanted:
            files_with = [recording.path for recording in recordings if name in recording]
            raise UserError(
                f"{files_without[0]} has no column {name!r}, which {files_with[0]} has: give all "
                "files the same columns"
            )
    return shared_names


def _merged(recordings: Sequence[Columns], name: str) -> Any:
    """A column of several files, one file after the other. If it holds texts in some of them, it
    becomes one of texts, so that an error can name the row of a text among numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pieces = [_decoded(recording.table[name]) for recording in recordings]
    kinds = {recording.kind(name) for recording in recordings}
    if len(kinds) > 1:
        dtype = pa.float64() if kinds == {"number", "boolean"} else pa.large_string()
        pieces = [pc.cast(piece, dtype) for piece in pieces]
    tables = [pa.table({name: piece}) for piece in pieces]
    return pa.concat_tables(tables, promote_options="permissive")[name]


def _decoded(column: Any) -> Any:
    """A column of Arrow without a dictionary, which those of other files differ from."""
    import pyarrow as pa
    import pyarrow.compute as pc

    dtype = column.type
    return pc.cast(column, dtype.value_type) if pa.types.is_dictionary(dtype) else column


def in_order(rows: StepsOfSeries, times: Times | None) -> Steps:
    """The steps of each series together, by their times, or else as they stand."""
    columns, series = rows.columns, rows.numbers
    order = None
    if not _are_sorted(series, times):
        sort_keys = [series]  # The last key counts most.
        if times is not None:
            sort_keys.insert(0, times.values)
        order = np.lexsort(sort_keys)
        columns = columns.take(order)
        series = series[order]
        if times is not None:
            times = times[order]
    # All series but the first one begin where the number of the series changes.
    further_starts = np.flatnonzero(np.diff(series)) + 1
    starts = np.concatenate([[0], further_starts, [len(series)]])
    names = [""] * (len(starts) - 1)
    if rows.names is not None:
        first_rows = starts[:-1] if order is None else order[starts[:-1]]
        codes = rows.names.codes[first_rows]
        names = [rows.names.names[code] for code in codes]
    return Steps(columns, starts, names, times)


def _are_sorted(series: np.ndarray, times: Times | None) -> bool:
    """Whether rows stand by the number of their series, and within a series by their times."""
    for start, stop in row_blocks(len(series), overlap=1):
        numbers = series[start:stop]
        is_wrong = numbers[1:] < numbers[:-1]
        if times is not None:
            values = times.values[start:stop]
            is_wrong |= (numbers[1:] == numbers[:-1]) & (values[1:] < values[:-1])
        if is_wrong.any():
            return False
    return True


def rows_of_one_series(columns: Columns, names: Names) -> str:
    """The first two rows with the same name, as a clause for a message, such as `rows 1 and 5 are
    both of series a`; empty if all names differ.

    Args:
        names: the name of the series of each row.
    """
    _, first_rows, counts = np.unique(names.codes, return_index=True, return_counts=True)
    is_repeated = counts > 1
    if not is_repeated.any():
        return ""
    row = first_rows[is_repeated].min()
    rows_with_name = np.flatnonzero(names.codes == names.codes[row])
    first, second = map(columns.file_row, rows_with_name[:2])
    return f"rows {first} and {second} are both of series {shown(names.texts[row])}"


def joined(columns: Columns, names: Names, labels: Columns, series: str) -> Columns:
    """A table, and beside it the columns of another one, which has a row for each series.

    Args:
        names: the name of the series of each row.
        labels: the other table, whose column `series` has these names.
    """
    import pandas as pd  # slow to import

    names_of_labels = labels.filled(series, "data.series")
    repeated_name = rows_of_one_series(labels, names_of_labels)
    if repeated_name:
        raise UserError(f"{labels.path}: {repeated_name}: have one for each")
    # The row of `labels` that each name has; -1 if it has none.
    label_rows = pd.Index(names_of_labels.texts).get_indexer(names.names)
    has_steps = np.bincount(names.codes, minlength=len(label_rows)) > 0
    lacks_label = (label_rows < 0) & has_steps
    if lacks_label.any():
        name = names.names[lacks_label.argmax()]
        raise UserError(
            f"{labels.path} has no row for series {shown(name)} of {columns.path}: add one"
        )
    return columns.beside(labels, label_rows[names.codes])


def _unrolled(
    columns: Columns, wanted: Collection[str], *, guess: bool
) -> tuple[Columns, np.ndarray]:
    """A table with a row for each step, from one whose cells are lists of steps.

    The elements of the lists become rows, and the cells of other columns repeat beside them. Lists
    of lists are `(T, C)` series, whose channels become columns.

    Returns:
        The table, and how many steps each row of `columns` has.

    Raises:
        UserError: for a row without a list, or with lists of unequal length.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lists, read_names, sizes = _lists_of_steps(columns, wanted, guess=guess)
    rows = _rows_of(sizes)
    file_rows = columns.file_rows_of(rows)
    columns_of_steps = dict[str, Any]()
    for name, array in lists.items():
        steps = elements_of(array)
        if not is_list(steps.type) or is_list(steps.type.value_type):
            columns_of_steps[name] = steps
            continue
        widths = pc.list_value_length(steps).fill_null(0).to_numpy()  # the channels of each step
        has_other_width = widths != widths[0]
        if not has_other_width.any():
            channels = _channels_of(name, steps, int(widths[0]))
            if name in read_names:
                Columns(pa.table(channels), columns.path, file_rows).check_numbers()
            columns_of_steps |= channels
            continue
        if name in read_names:
            row = rows[has_other_width.argmax()]
            raise UserError(
                f"{columns.where(row)}: {shown(name)} has steps of {widths[0]} channels and of "
                "others: give each all of them"
            )
        columns_of_steps[name] = steps
    table = Columns(pa.table(columns_of_steps), columns.path, file_rows)
    other_names = [name for name in columns.table.column_names if name not in lists]
    return table.beside(columns.select(other_names), rows), sizes


def _rows_of(sizes: np.ndarray) -> np.ndarray:
    """The row that each step is from, of rows with so many steps."""
    return np.repeat(np.arange(len(sizes), dtype=smallest_type(len(sizes))), sizes)


def _lists_of_steps(
    columns: Columns, wanted: Collection[str], *, guess: bool
) -> tuple[dict[str, Any], list[str], np.ndarray]:
    """The columns whose lists have an element for each step, by name; the names of those that will
    be read; and how many steps each row has, `(N,)`."""
    lists = {name: columns.table[name] for name in columns.lists}
    sizes = {name: columns.list_lengths(name) for name in lists}  # (N,) each
    read_names = [name for name in lists if name in wanted]
    if guess or not read_names:
        read_names = [
            name for name in lists if name in wanted or columns.holds_numbers_in_lists(name)
        ]

    # The first list that is read says how many steps there are.
    first = read_names[0] if read_names else next(iter(lists))
    for name in list(lists):
        has_other_size = sizes[name] != sizes[first]
        if not has_other_size.any():
            continue
        if name in read_names:
            row = has_other_size.argmax()
            raise UserError(
                f"{columns.where(row)} has {sizes[first][row]} of {first!r} and "
                f"{sizes[name][row]} of {name!r}: give one of each for each step"
            )
        # The elements of this list are not steps.
        del lists[name]
    if not sizes[first].all():
        row = sizes[first].argmin()
        raise UserError(f"{columns.where(row)} has no steps: fill its lists, or remove it")
    return lists, read_names, sizes[first]


def _channels_of(name: str, steps: Any, width: int) -> dict[str, Any]:
    """The channels of lists of lists, by their names.

    Args:
        steps: the list of cells of each step, a chunked array of Arrow.
        width: how many cells a step has.
    """
    import pyarrow as pa

    chunks_by_channel: list[list[Any]] = [[] for _ in range(width)]
    for chunk in steps.chunks:
        cells = chunk.flatten()
        for channel, chunks in enumerate(chunks_by_channel):
            chunks.append(cells.take(np.arange(channel, len(cells), width)))
    dtype = steps.type.value_type
    return {
        f"{name}[{channel}]": pa.chunked_array(chunks, dtype)
        for channel, chunks in enumerate(chunks_by_channel)
    }


def columns_by_channel(channels: Sequence[str], table: Columns) -> dict[str, str]:
    """The column of a table that holds each channel of training, by channel. Lists of lists whose
    channels are called otherwise hold them in the order of training."""
    list_channels = [name for name in table.table.column_names if OF_LISTS.search(name)]
    if channels[0] not in table and len(list_channels) == len(channels):
        return dict(zip(channels, list_channels, strict=True))
    return {channel: channel for channel in channels}


def has_numbers(path: str) -> bool:
    """Whether the header of a `.ts` file says that its labels are numbers."""
    for line in read_lines(path):
        words = line.lower().split()
        if words == ["@data"]:
            return False
        if words == ["@targetlabel", "true"]:
            return True
    return False


def rows_of_ts(path: str) -> Iterator[tuple[np.ndarray, str | None]]:
    """The series `(T, F)` of each line of a `.ts` file, and its label as the file spells it; None
    in a file without labels. A channel that is shorter than others of its series ends in nan.

    Raises:
        UserError: for a file with time stamps or without `@data`, or a line that is not a series.
    """
    tags = set[str]()  # the lines of the header, such as `@timestamps true`
    for number, line in enumerate(map(str.strip, read_lines(path)), start=1):
        if "@data" not in tags:
            tags.add(" ".join(line.lower().split()))
            continue
        if not line or line.startswith("#"):
            continue
        if "@timestamps true" in tags:
            raise UserError(f"{path} has time stamps: write the values alone, step by step")
        channels = line.split(":")
        label: str | None = None
        if tags.isdisjoint({"@classlabel false", "@targetlabel false"}):
            label = channels.pop()
            if not channels or "," in label:
                raise UserError(
                    f"{path}: line {number} has no label after its last channel; add one"
                )
            label = label.strip()
        with refusing(f"{path}: line {number} is not a series", ValueError):
            series = _series_of_texts(channels)
        yield series, label
    if "@data" not in tags:
        raise UserError(f"{path} is not a .ts file: it has no line @data")


def _series_of_texts(channels: Sequence[str]) -> np.ndarray:
    """A series `(T, F)` from the text of each channel, such as `1.5,?,3`, where `?` is a gap.
    Raises a `ValueError` for a text that is not a list of numbers."""
    line = ":".join(channels)
    if "_" in line or not line.isascii():
        # Python would read these as numbers, but `as_number` doesn't.
        raise ValueError(f"{shown(repr(line))} is no number")
    values_by_channel = []
    for channel in channels:
        texts = channel.replace("?", "nan").split(",")
        values_by_channel.append([float(text) for text in texts])
    length = max(len(values) for values in values_by_channel)
    series = np.full((length, len(channels)), np.nan)
    for number, values in enumerate(values_by_channel):
        series[: len(values), number] = values
    return series
