"""Wide tables: each row is a series, and its steps are columns, such as t0 to t99."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.data.columns import Columns
from seqmodels.data.examples import number_of_steps
from seqmodels.data.gaps import with_gaps
from seqmodels.errors import UserError, choices, listed, setting, shown

if TYPE_CHECKING:
    import pyarrow as pa

NUMBERED = re.compile(r"(.*?)([0-9]+)", re.DOTALL)
BARE = re.compile(r"([0-9]+)\.([0-9]+)|[0-9]{4}-[0-9]{2}-[0-9]{2}")  # 400.5, 2020-01-31
# One of these may stand between the name of a channel and the number of a step.
MARKS = "_. "
# So many numbered columns look like steps that the user has forgotten to name.
FEWEST = 4
# The name of the channel whose columns begin with no common name.
WITHOUT_NAME = "value"

Number = tuple[int, str, str]
"""A number that sorts as such, however many digits it has."""


def numbered_columns(names: Iterable[str]) -> dict[str, list[str]]:
    """The columns whose name ends in a number, by the prefix before the number, in the order of
    their numbers: `{"t": ["t0", "t1", "t10"]}`. Columns that are called by a number or a date alone
    have the empty prefix."""
    # For each prefix, the numbers of its columns by the names of the columns.
    numbers_by_prefix = dict[str, dict[str, Number]]()
    for name in names:
        numbered = _numbered(name)
        if numbered is not None:
            prefix, number = numbered
            numbers_by_prefix.setdefault(prefix, {})[name] = number
    columns_by_prefix = {}
    for prefix, number_by_column in numbers_by_prefix.items():
        columns_by_prefix[prefix] = sorted(number_by_column, key=number_by_column.__getitem__)
    return columns_by_prefix


def forgotten_steps(names: Sequence[str]) -> str:
    """What to set for a table whose rows look like series, such as `set data.steps=t for t0 to
    t99`; empty for another table."""
    columns_by_prefix = numbered_columns(names)
    if not columns_by_prefix:
        return ""
    prefix = max(columns_by_prefix, key=lambda prefix: len(columns_by_prefix[prefix]))
    columns = columns_by_prefix[prefix]
    if len(columns) < FEWEST:
        return ""
    return f"set {setting('data.steps', prefix)} for {_first_to_last(columns)}"


def columns_of_channels(
    names: Sequence[str], steps: str | Sequence[str], path: str
) -> dict[str, list[str]]:
    """The columns that hold the steps of each channel, in order.

    Args:
        names: all columns of the table.
        steps: the prefix of the columns of a channel, before their number, or a list of prefixes,
            one for each channel; or a list of the columns themselves, for one channel.
        path: the file of the table, for an error.

    Raises:
        UserError: without such columns, or if they can be understood in two ways.
    """
    if isinstance(steps, str):
        prefixes: Sequence[str] = [steps]
    elif set(names).issuperset(steps):
        _check_each_once(steps)
        return {WITHOUT_NAME: list(steps)}
    else:
        _check_prefixes(steps, names, path)
        prefixes = steps
    columns_by_prefix = numbered_columns(names)
    channels = dict[str, list[str]]()
    for prefix in prefixes:
        full_prefix = _full_prefix(prefix, columns_by_prefix, path)
        channel = prefix.rstrip(MARKS) or WITHOUT_NAME
        if channel in channels:
            raise UserError(f"data.steps names {shown(channel)!r} twice: name it once")
        channels[channel] = columns_by_prefix[full_prefix]
    _check_numbers(channels, path)
    return channels


def with_lists(table: Columns, steps: str | Sequence[str]) -> tuple[Columns, str]:
    """The table with a list for each channel instead of its columns, and a note of how it was read.

    A row ends after its last value: empty cells behind that are no steps, and those before it are
    gaps. A table that has lists of these channels already stays as it is.

    Raises:
        UserError: for other columns than `data.steps` says, a row without any value, or a text
            among numbers.
    """
    if table.lists:
        if {*_channels_of_lists(steps)} <= {*table.lists}:
            return table, ""
        raise UserError(
            f"{table.path} has lists in {listed(table.lists)}, and data.steps is for tables with a "
            "number in each cell: leave it out"
        )
    channels = columns_of_channels(table.table.column_names, steps, table.path)
    cells_by_channel = {name: _cells(table, columns) for name, columns in channels.items()}
    has_value = np.any([_is_known(cells) for cells in cells_by_channel.values()], axis=0)
    lengths = _lengths(has_value)  # (rows,)
    if not lengths.all():
        row = lengths.argmin()
        first_columns = next(iter(channels.values()))
        raise UserError(
            f"{table.where(row)} has no value in {_first_to_last(first_columns)}: fill it, or "
            "remove the row"
        )
    lists_table = _with_lists_of(table, channels, cells_by_channel, lengths)
    note = f"{table.path}: {_described(channels)}"
    is_shorter = lengths < has_value.shape[1]
    if is_shorter.any():
        note += (
            f"; {is_shorter.sum():,} of {len(table):,} rows end with empty cells, which are no "
            f"steps: they have {number_of_steps(lengths[is_shorter])}"
        )
    return replace(table, table=lists_table), note


def _lengths(has_value: np.ndarray) -> np.ndarray:
    """The number of steps up to the last value of each row, `(rows,)`; 0 in a row without values.

    Args:
        has_value: whether some channel has a value, `(rows, steps)`.
    """
    step_count = has_value.shape[1]
    empty_at_end = has_value[:, ::-1].argmax(axis=1)
    return np.where(has_value.any(axis=1), step_count - empty_at_end, 0)


def _with_lists_of(
    table: Columns,
    channels: dict[str, list[str]],
    cells_by_channel: dict[str, np.ndarray],
    lengths: np.ndarray,
) -> pa.Table:
    """The table of Arrow with a list for each channel instead of its columns.

    Args:
        cells_by_channel: `(rows, steps)` each.
        lengths: how many of the steps each row has, `(rows,)`.
    """
    import pyarrow as pa  # takes time, so only where a table is read

    columns_of_steps = {column for columns in channels.values() for column in columns}
    other_columns = [name for name in table.table.column_names if name not in columns_of_steps]
    lists_table = table.table.select(other_columns)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    for channel, columns in channels.items():
        if channel in lists_table.column_names:
            raise UserError(
                f"{table.path} has a column {shown(channel)!r} beside {_first_to_last(columns)}, "
                "which become a channel of this name: rename it"
            )
        cells = cells_by_channel[channel]
        is_step = np.arange(cells.shape[1]) < lengths[:, None]  # (rows, steps)
        lists = pa.LargeListArray.from_arrays(ends, pa.array(cells[is_step]))
        lists_table = lists_table.append_column(channel, lists)
    return lists_table


def with_gaps_by_channel(
    table: Columns, steps: str | Sequence[str], na_values: Mapping[str, Any]
) -> Columns:
    """A wide table without the values that stand for a gap, by channel in `na_values`."""
    channels = columns_of_channels(table.table.column_names, steps, table.path)
    na_values_by_column = dict[str, Any]()
    for channel, columns in channels.items():
        if channel in na_values:
            na_values_by_column |= dict.fromkeys(columns, na_values[channel])
    return replace(table, table=with_gaps(table.table, na_values_by_column))


def _check_each_once(columns: Sequence[str]) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise UserError(f"data.steps names the column {shown(name)!r} twice: name it once")


def _check_prefixes(prefixes: Sequence[str], names: Sequence[str], path: str) -> None:
    """Raises a `UserError` if a list has columns of the table beside others, so that it may be one
    of columns or of prefixes."""
    columns = [name for name in prefixes if name in names]
    others = [name for name in prefixes if name not in names]
    if columns:
        raise UserError(
            f"data.steps: {path} has a column {shown(columns[0])!r} and none {shown(others[0])!r}: "
            "name columns, one for each step, or the beginnings of numbered columns, one for each "
            "channel"
        )


def _numbered(name: str) -> tuple[str, Number] | None:
    """The prefix and the number in the name of a column; None if it ends in no number. Of two
    numbers, the one with more digits before the point is larger."""
    bare = BARE.fullmatch(name)
    if bare is not None:
        integer = bare[1] or name.replace("-", "")
        fraction = bare[2] or ""
        digits = integer.lstrip("0")
        return "", (len(digits), digits, fraction.rstrip("0"))
    with_prefix = NUMBERED.fullmatch(name)
    if with_prefix is not None:
        digits = with_prefix[2].lstrip("0")
        return with_prefix[1], (len(digits), digits, "")
    return None


def _full_prefix(prefix: str, columns_by_prefix: dict[str, list[str]], path: str) -> str:
    """A prefix that columns have: the one that the user has set, or that one and a mark behind it,
    such as `t_` for `t`."""
    if prefix in columns_by_prefix:
        return prefix
    full_prefixes = [prefix + mark for mark in MARKS if prefix + mark in columns_by_prefix]
    if len(full_prefixes) == 1:
        return full_prefixes[0]
    if full_prefixes:
        ranges = [_first_to_last(columns_by_prefix[name]) for name in full_prefixes]
        cures = [setting("data.steps", name) for name in full_prefixes]
        raise UserError(
            f"data.steps={shown(prefix)}: {path} has {' and '.join(ranges)}: set "
            f"{' or '.join(cures)}"
        )
    prefixes = [name or '""' for name, columns in columns_by_prefix.items() if len(columns) > 1]
    advice = choices(prefix, prefixes) if prefixes else "it has no numbered columns"
    raise UserError(
        f"data.steps={shown(prefix)}: {path} has no columns {shown(prefix)}0, {shown(prefix)}1, "
        f"...: {advice}"
    )


def _check_numbers(channels: dict[str, list[str]], path: str) -> None:
    """Raises a `UserError` for a number that stands twice in a channel, or that another channel
    lacks."""
    columns_by_channel = {
        channel: _column_by_number(columns, path) for channel, columns in channels.items()
    }
    first, *others = columns_by_channel
    for channel in others:
        unequal_numbers = columns_by_channel[first].keys() ^ columns_by_channel[channel].keys()
        for number in unequal_numbers:
            has_step, lacks_step = first, channel
            if number in columns_by_channel[channel]:
                has_step, lacks_step = channel, first
            column = columns_by_channel[has_step][number]
            raise UserError(
                f"{path}: {shown(lacks_step)} has no column beside {shown(column)}: give "
                f"{listed(channels)} as many steps"
            )


def _column_by_number(columns: Sequence[str], path: str) -> dict[Number, str]:
    """The column of each step of a channel. Raises a `UserError` for two columns of one step."""
    column_by_number = dict[Number, str]()
    for column in columns:
        numbered = _numbered(column)
        assert numbered is not None
        _, number = numbered
        if number in column_by_number:
            raise UserError(
                f"{path}: {shown(column_by_number[number])!r} and {shown(column)!r} are the same "
                "step: rename one of them"
            )
        column_by_number[number] = column
    return column_by_number


def _cells(table: Columns, columns: Sequence[str]) -> np.ndarray:
    """The numbers in these columns, `(rows, steps)`, nan where one is missing. If no column holds
    numbers, their texts, None where one is missing."""
    holds_texts = np.array([table.holds_texts(column) for column in columns])
    is_empty = np.array([table.table[column].null_count == len(table) for column in columns])
    if holds_texts.any() and (holds_texts | is_empty).all():
        texts = np.empty((len(table), len(columns)), dtype=object)
        for step, column in enumerate(columns):
            texts[:, step] = table.names(column).texts
        return texts
    numbers = np.empty((len(table), len(columns)))
    for step, column in enumerate(columns):
        numbers[:, step] = table.numbers(column)
    return numbers


def _is_known(cells: np.ndarray) -> np.ndarray:
    """Whether each of the cells, texts or numbers, holds a value."""
    if cells.dtype == object:
        return cells != np.array(None)
    return ~np.isnan(cells)


def _channels_of_lists(steps: str | Sequence[str]) -> list[str]:
    """The names of the channels that `data.steps` describes, in a table that has lists of them."""
    if isinstance(steps, str):
        return [steps.rstrip(MARKS) or WITHOUT_NAME]
    return [prefix.rstrip(MARKS) for prefix in steps]


def _first_to_last(columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return shown(columns[0])
    return f"{shown(columns[0])} to {shown(columns[-1])}"


def _described(channels: dict[str, list[str]]) -> str:
    """The columns of each channel, and how many steps they are, such as `t is t0 to t99: 100
    steps`."""
    descriptions = list[str]()
    for name, columns in channels.items():
        column_range = _first_to_last(columns)
        if name == WITHOUT_NAME and len(columns) > 2:
            # The user may have named them in another order than that of their names.
            column_range = f"{shown(columns[0])}, {shown(columns[1])}, ..., {shown(columns[-1])}"
        descriptions.append(f"{shown(name)} is {column_range}")
    step_count = len(next(iter(channels.values())))
    return f"{', '.join(descriptions)}: {step_count:,} steps"
