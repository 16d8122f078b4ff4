"""Wide tables: each row is a series, and its steps are columns, such as t0 to t99."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from seqmodels.data.columns import Columns
from seqmodels.data.gaps import with_gaps
from seqmodels.errors import UserError, choices, listed, setting, shown

NUMBERED = re.compile(r"(.*?)([0-9]+)", re.DOTALL)
BARE = re.compile(r"([0-9]+)\.([0-9]+)|[0-9]{4}-[0-9]{2}-[0-9]{2}")  # 400.5, 2020-01-31
MARKS = "_. "  # between the name of a channel and the number of a step
FEWEST = 4  # numbered columns that a user may have forgotten to name
WITHOUT_NAME = "value"  # the channel of columns that have none in common

Number = tuple[int, str, str]
"""A number that sorts as such, however many digits it has."""


def numbered_columns(names: Iterable[str]) -> dict[str, list[str]]:
    """The columns whose name ends in a number, by what stands before it, in the order of the
    numbers: `{"t": ["t0", "t1", "t10"]}`. Columns that are called by a number or a date alone stand
    under the empty text."""
    numbers_by_prefix = dict[str, dict[str, Number]]()
    for name in names:
        if (numbered := _numbered(name)) is not None:
            prefix, number = numbered
            numbers_by_prefix.setdefault(prefix, {})[name] = number
    return {
        prefix: sorted(numbers, key=numbers.__getitem__)
        for prefix, numbers in numbers_by_prefix.items()
    }


def forgotten_steps(names: Sequence[str]) -> str:
    """What to set for a table that looks as if its rows were series: `set data.steps=t for t0 to
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
        steps: what the columns of a channel have before their number, or a list of that for
            several channels; or a list of the columns themselves, for one channel.
        path: of the table.

    Raises:
        UserError: without such columns, or if they can be understood in two ways.
    """
    known = set(names)
    if not isinstance(steps, str) and known.issuperset(steps):
        for name in steps:
            if steps.count(name) > 1:
                raise UserError(f"data.steps names the column {shown(name)!r} twice: name it once")
        return {WITHOUT_NAME: list(steps)}

    prefixes = [steps] if isinstance(steps, str) else steps
    if columns := [name for name in prefixes if name in known and not isinstance(steps, str)]:
        others = [name for name in prefixes if name not in known]
        raise UserError(
            f"data.steps: {path} has a column {shown(columns[0])!r} and none {shown(others[0])!r}: "
            "name columns, one for each step, or the beginnings of numbered columns, one for each "
            "channel"
        )
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
    """The table with a list for each channel in the place of its columns, and a note of how it was
    read. A row ends after its last value: empty cells behind that are no steps, and those before it
    are gaps. A table that has lists of these channels already stays as it is.

    Raises:
        UserError: for other columns than `data.steps` says, a row without any value, or a text
            among numbers.
    """
    import pyarrow as pa  # takes time, so only where a table is read

    names = table.table.column_names
    if table.lists:
        if {*_channels_of_lists(steps)} <= {*table.lists}:
            return table, ""
        raise UserError(
            f"{table.path} has lists in {listed(table.lists)}, and data.steps is for tables with a "
            "number in each cell: leave it out"
        )
    channels = columns_of_channels(names, steps, table.path)
    values = [_cells(table, columns) for columns in channels.values()]
    is_known = np.any([_is_known(cells) for cells in values], axis=0)  # (rows, steps)
    count = is_known.shape[1]
    if not is_known.any(axis=1).all():
        row = is_known.any(axis=1).argmin()
        where = _first_to_last(next(iter(channels.values())))
        raise UserError(f"{table.where(row)} has no value in {where}: fill it, or remove the row")

    lengths = count - is_known[:, ::-1].argmax(axis=1)  # (rows,), up to the last known step
    is_step = np.arange(count) < lengths[:, None]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    used = {column for columns in channels.values() for column in columns}
    reshaped = table.table.select([name for name in names if name not in used])
    for (channel, columns), cells in zip(channels.items(), values, strict=True):
        if channel in reshaped.column_names:
            raise UserError(
                f"{table.path} has a column {shown(channel)!r} beside {_first_to_last(columns)}, "
                "which become a channel of this name: rename it"
            )
        lists = pa.LargeListArray.from_arrays(ends, pa.array(cells[is_step]))
        reshaped = reshaped.append_column(channel, lists)
    note = f"{table.path}: {_described(channels)}"
    if (shorter := lengths < count).any():
        note += (
            f"; {shorter.sum():,} of {len(table):,} rows end with empty cells, which are no steps: "
            f"they have {lengths.min():,} to {lengths[shorter].max():,} steps"
        )
    return Columns(reshaped, table.path, table.file_rows, table.file_columns, table.origins), note


def with_gaps_by_channel(
    table: Columns, steps: str | Sequence[str], na_values: Mapping[str, Any]
) -> Columns:
    """A wide table with nothing where a value stands that stands for nothing in a channel."""
    channels = columns_of_channels(table.table.column_names, steps, table.path)
    by_column = {
        column: na_values[channel]
        for channel, columns in channels.items()
        for column in columns
        if channel in na_values
    }
    return replace(table, table=with_gaps(table.table, by_column))


def _numbered(name: str) -> tuple[str, Number] | None:
    """What stands before the number in the name of a column, and the number."""
    if bare := BARE.fullmatch(name):
        whole = (bare[1] or name.replace("-", "")).lstrip("0")
        return "", (len(whole), whole, (bare[2] or "").rstrip("0"))
    if parts := NUMBERED.fullmatch(name):
        whole = parts[2].lstrip("0")
        return parts[1], (len(whole), whole, "")
    return None


def _full_prefix(prefix: str, columns_by_prefix: dict[str, list[str]], path: str) -> str:
    """This prefix, perhaps with what separates it from the number."""
    if prefix in columns_by_prefix:
        return prefix
    full_prefixes = [prefix + mark for mark in MARKS if prefix + mark in columns_by_prefix]
    if len(full_prefixes) == 1:
        return full_prefixes[0]
    if full_prefixes:
        both = " and ".join(_first_to_last(columns_by_prefix[name]) for name in full_prefixes)
        cures = " or ".join(setting("data.steps", name) for name in full_prefixes)
        raise UserError(f"data.steps={shown(prefix)}: {path} has {both}: set {cures}")
    known = [name or '""' for name, columns in columns_by_prefix.items() if len(columns) > 1]
    advice = choices(prefix, known) if known else "it has no numbered columns"
    raise UserError(
        f"data.steps={shown(prefix)}: {path} has no columns {shown(prefix)}0, {shown(prefix)}1, "
        f"...: {advice}"
    )


def _check_numbers(channels: dict[str, list[str]], path: str) -> None:
    """Raises a `UserError` for a number that stands twice, or that another channel lacks."""
    names_by_channel = dict[str, dict[Number, str]]()
    for channel, columns in channels.items():
        names = names_by_channel.setdefault(channel, {})
        for column in columns:
            numbered = _numbered(column)
            assert numbered is not None
            if numbered[1] in names:
                both = f"{shown(names[numbered[1]])!r} and {shown(column)!r}"
                raise UserError(f"{path}: {both} are the same step: rename one of them")
            names[numbered[1]] = column
    first, *others = names_by_channel
    for channel in others:
        for number in names_by_channel[first].keys() ^ names_by_channel[channel].keys():
            has, lacks = first, channel
            if number in names_by_channel[channel]:
                has, lacks = channel, first
            column = names_by_channel[has][number]
            raise UserError(
                f"{path}: {shown(lacks)} has no column beside {shown(column)}: give "
                f"{listed(channels)} as many steps"
            )


def _cells(table: Columns, columns: Sequence[str]) -> np.ndarray:
    """The numbers of these columns, `(rows, steps)`, nan where one is missing; or their texts,
    None where one is, if no column holds numbers."""
    holds_texts = [table.holds_texts(column) for column in columns]
    has_value = [table.table[column].null_count < len(table) for column in columns]
    if all(np.array(holds_texts) | ~np.array(has_value)) and any(holds_texts):
        texts = np.empty((len(table), len(columns)), dtype=object)
        for step, column in enumerate(columns):
            texts[:, step] = table.names(column).texts
        return texts
    numbers = np.empty((len(table), len(columns)))
    for step, column in enumerate(columns):
        numbers[:, step] = table.numbers(column)
    return numbers


def _is_known(cells: np.ndarray) -> np.ndarray:
    if cells.dtype == object:
        return cells != np.array(None)
    return ~np.isnan(cells)


def _channels_of_lists(steps: str | Sequence[str]) -> list[str]:
    """What the channels of these steps are called, where a table has lists of them."""
    if isinstance(steps, str):
        return [steps.rstrip(MARKS) or WITHOUT_NAME]
    return [prefix.rstrip(MARKS) for prefix in steps]


def _first_to_last(columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return shown(columns[0])
    return f"{shown(columns[0])} to {shown(columns[-1])}"


def _described(channels: dict[str, list[str]]) -> str:
    """`t is t0 to t99: 100 steps`."""
    parts = list[str]()
    for name, columns in channels.items():
        text = _first_to_last(columns)
        if name == WITHOUT_NAME and len(columns) > 2:  # perhaps in an order of their own
            text = f"{shown(columns[0])}, {shown(columns[1])}, ..., {shown(columns[-1])}"
        parts.append(f"{shown(name)} is {text}")
    steps = len(next(iter(channels.values())))
    return f"{', '.join(parts)}: {steps:,} steps"
