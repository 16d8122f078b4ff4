"""What each column of a table is: one rule gives it one role, and the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from seqmodels.data.columns import MANY_TEXTS, MISSING, TRUTH, Columns, Names
from seqmodels.data.steps import Steps, step_back
from seqmodels.data.times import is_called_time, looks_like_times
from seqmodels.errors import UserError, listed, setting, shown

Role = Literal[
    "channel",
    "label",
    "value",
    "series",
    "time",
    "group",
    "weight",
    "id",
    "split",
    "file",
    "left out",
]

# The names that pandas gives to an index without a name, as it writes it beside the columns.
INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
# The names that we give to channels of arrays, which have no names.
OF_AN_ARRAY = re.compile(r"channel \d+|.*\[\d+\]", re.DOTALL)
# A column that says whose each series is has so many different names.
GROUPS = range(4, 10_000)
# Among numbers, so many different texts may all stand for a gap.
FEW_GAPS = 3
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?|[+-]?\d+(\.\d+)?")  # 1,234.5
DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")  # 1.234,5


@dataclass(frozen=True)
class ColumnRole:
    """What a column is.

    Args:
        reason: why the column is left out, and what to do to read it; or, for a channel, where it
            is from.
        may_be_group: whether the column may say whose each series is, as a patient's name does.
    """

    column: str
    role: Role
    reason: str = ""
    may_be_group: bool = False


def roles_of(
    steps: Steps, keys: Mapping[str, Role], inputs: Sequence[str] | None = None
) -> list[ColumnRole]:
    """The role of each column of a table of steps.

    Args:
        keys: the roles of the columns that a key of the configuration names.
        inputs: the channels, if a key names them; None: they follow from the columns.
    """
    has_times = "time" in keys.values()
    roles = []
    for column in steps.columns.table.column_names:
        if column in keys:
            role = ColumnRole(column, keys[column])
        elif inputs is None:
            role = _role_by_content(steps, column, has_times)
        elif column in inputs:
            role = ColumnRole(column, "channel")
        else:
            # The key needs no reason, but a column may still say whose a series is.
            may_be_group = _role_by_content(steps, column, has_times).may_be_group
            role = ColumnRole(column, "left out", may_be_group=may_be_group)
        roles.append(role)
    return roles


def channels_line(roles: Sequence[ColumnRole]) -> str:
    """A line with all channels, such as `channels: ax, ay, age (of people.csv) (set data.inputs to
    choose)`."""
    channels = [_with_reason(role) for role in roles if role.role == "channel"]
    return f"channels: {listed(channels)} (set data.inputs to choose)"


def left_out_line(roles: Sequence[ColumnRole]) -> str:
    """A line with the columns that are left out, by their reasons, such as `left out: event_type (5
    texts: name it in data.inputs to read it)`; empty if no column is."""
    columns_by_reason = dict[str, list[str]]()
    for role in roles:
        if role.role == "left out":
            columns_by_reason.setdefault(role.reason, []).append(role.column)
    if not columns_by_reason:
        return ""
    clauses = []
    for reason, columns in columns_by_reason.items():
        clause = listed([shown(column) or "a column without a name" for column in columns])
        if reason:
            clause += f" ({reason})"
        clauses.append(clause)
    return f"left out: {'; '.join(clauses)}"


def check_channels(path: str, roles: Sequence[ColumnRole]) -> None:
    """Raises a `UserError` if no column is a channel, which says why each is none."""
    if any(role.role == "channel" for role in roles):
        return
    message = f"{path} has no column with numbers: set data.inputs"
    left_out = left_out_line(roles)
    if left_out:
        message += f"; {left_out}"
    raise UserError(message)


def _with_reason(role: ColumnRole) -> str:
    return f"{role.column} ({role.reason})" if role.reason else role.column


def _role_by_content(steps: Steps, column: str, has_times: bool) -> ColumnRole:
    """The role of a column that no key names, by its name and its values.

    Args:
        has_times: whether another column has the times of the steps.
    """
    reason = _why_never_read(steps.columns, column, has_times)
    if reason:
        return ColumnRole(column, "left out", reason)
    if steps.columns.holds_texts(column):
        return _role_of_texts(steps, column)
    return _role_of_numbers(steps, column, has_times)


def _why_never_read(columns: Columns, column: str, has_times: bool) -> str:
    """Why a column is left out whatever its texts or numbers are; empty if these decide."""
    if INDEX.fullmatch(column):
        return "an index"
    if columns.kind(column) == "list":
        return "lists that are not its steps"
    if columns.kind(column) == "other":
        return "neither numbers nor texts"
    if columns.table[column].null_count == len(columns):
        return "no value"
    if looks_like_times(columns, column):
        return "times" if has_times else "times: name it in data.time"
    return ""


def _role_of_numbers(steps: Steps, column: str, has_times: bool) -> ColumnRole:
    """The role of a column of numbers, among which there may be a few texts."""
    columns = steps.columns
    if all(np.isnan(values).all() for _, values in columns.blocks(column)):
        return ColumnRole(column, "left out", "no value")
    if is_called_time(column):
        reason = "times: name it in data.time, or in data.inputs to read it"
        if has_times:
            reason = "times: name it in data.inputs to read it"
        return ColumnRole(column, "left out", reason)
    is_of_array = OF_AN_ARRAY.fullmatch(column) is not None
    if is_of_array or _are_booleans(columns, column) or not _are_whole(columns, column):
        return _channel(columns, column)
    return _role_of_whole_numbers(steps, column, has_times)


def _channel(columns: Columns, column: str) -> ColumnRole:
    """The role of a channel, which says whether it is from the table of labels."""
    origin = ""
    if _is_of_labels(columns, column):
        origin = f"of {Path(columns.origins[column].paths[0]).name}"
    return ColumnRole(column, "channel", origin)


def _is_of_labels(columns: Columns, column: str) -> bool:
    """Whether a column is from the table of labels, which has a row for each series."""
    return column in columns.origins and columns.origins[column].files is None


def _role_of_whole_numbers(steps: Steps, column: str, has_times: bool) -> ColumnRole:
    """The role of a column of whole numbers. They may count the rows or the steps, be measured, or
    say whose a series is, as a patient's number does."""
    if _counts_rows(steps.columns, column):
        return ColumnRole(column, "left out", "counts the rows")
    if steps.pair_count == 0:
        return _channel(steps.columns, column)
    if steps.pair_count > 1 and all(
        (after - before == 1).all() for before, after in _pairs(steps, column)
    ):
        reason = "counts the steps"
        if not has_times:
            reason += f": data.time={column} sorts by it"
        return ColumnRole(column, "left out", reason)
    is_constant = all(_are_same(before, after) for before, after in _pairs(steps, column))
    if _is_of_labels(steps.columns, column) or not is_constant:
        return _channel(steps.columns, column)
    series_values = steps.columns.numbers_at(column, steps.starts[:-1])  # (S,)
    if (series_values == series_values[0]).all():
        return ColumnRole(column, "left out", "the same everywhere")
    return ColumnRole(
        column,
        "left out",
        "whole numbers, the same at all steps of a series: name it in data.group if it says whose "
        "a series is, or in data.inputs to read it",
        may_be_group=not np.isnan(series_values).any() and _may_name_groups(series_values, steps),
    )


def _pairs(steps: Steps, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of steps that are followed by one of their series, and those of the steps that
    follow, some steps at a time."""
    for start, values in steps.columns.blocks(column, overlap=1):
        is_pair = steps.is_inside(start, start + len(values) - 1)
        yield values[:-1][is_pair], values[1:][is_pair]


def _are_same(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether each two numbers are the same, or both missing."""
    return bool(((before == after) | (np.isnan(before) & np.isnan(after))).all())


def _role_of_texts(steps: Steps, column: str) -> ColumnRole:
    """The role of a column of texts: it is left out, but may say whose a series is."""
    names = steps.columns.names(column)
    series_codes = names.codes[steps.starts[:-1]]  # (S,)
    is_constant = (steps.repeated(series_codes) == names.codes).all()  # within each series
    may_be_group = False
    if is_constant and (series_codes >= 0).all():
        may_be_group = _may_name_groups(series_codes, steps)
    texts = [text for text in names.names if text]
    reason = "no value"
    if texts:
        reason = _about_texts(steps.columns, column, names, texts)
    return ColumnRole(column, "left out", reason, may_be_group)


def _about_texts(columns: Columns, column: str, names: Names, texts: Sequence[str]) -> str:
    """What a column of texts holds, and what to do to read it."""
    with_comma = [text for text in texts if "," in text]
    if with_comma:
        number = shown(repr(with_comma[0]))
        if all(map(THOUSANDS.fullmatch, texts)):
            return f"numbers with a comma between thousands, such as {number}: write them without"
        if all(map(DECIMAL_COMMA.fullmatch, texts)):
            decimal = setting("data.decimal", ",")
            return f"numbers with a decimal comma, such as {number}: set {decimal}"

    wrong_texts = columns.wrong_texts(column)
    example = shown(repr(wrong_texts[0] if wrong_texts else texts[0]))
    wrong_count = columns.wrong_count(column)
    value_count = int(names.counts.sum())
    if wrong_count < value_count:
        share = f"{100 * wrong_count / value_count:.0f} % texts, such as {example}"
        if len(wrong_texts) > FEW_GAPS:
            return share
        return f"{share}: {setting('data.na_values', sorted(wrong_texts))} makes gaps of these"
    if len(texts) > MANY_TEXTS:
        return f"{len(texts):,} different texts, such as {example}"
    count = "1 text" if len(texts) == 1 else f"{len(texts):,} texts"
    return f"{count}, such as {example}: name it in data.inputs to read it"


def _may_name_groups(series_values: np.ndarray, steps: Steps) -> bool:
    """Whether the values of the series, `(S,)`, are so few that they may say whose each series
    is."""
    count = len(np.unique(series_values))
    return count in GROUPS and 2 * count < len(steps.starts)


def _are_booleans(columns: Columns, column: str) -> bool:
    """Whether a column holds only true and false, which may be written as texts."""
    if columns.kind(column) != "text":
        return columns.kind(column) == "boolean"
    names = columns.names(column).names
    words = {name.lower() for name in names if name not in MISSING}
    return words <= TRUTH.keys()


def _are_whole(columns: Columns, column: str) -> bool:
    """Whether a column holds whole numbers and gaps alone."""
    for _, values in columns.blocks(column):
        is_whole = (values == np.floor(values)) & np.isfinite(values)
        if not (is_whole | np.isnan(values)).all():
            return False
    return True


def _counts_rows(columns: Columns, column: str) -> bool:
    """Whether the numbers of a column rise by 1 from row to row of their file."""
    origin = columns.origins.get(column)
    if origin is not None and origin.files is not None:
        # The rows are from several files, each of which counts from 0.
        return False
    first_difference = None
    first_row, last_row = np.inf, -np.inf
    for start, values in columns.blocks(column):
        rows = columns.file_rows_of(np.arange(start, start + len(values)))
        if origin is not None:
            rows = origin.rows[start : start + len(values)]
        differences = values - rows
        if first_difference is None:
            first_difference = differences[0]
        if not (differences == first_difference).all():
            return False
        first_row, last_row = min(first_row, rows.min()), max(last_row, rows.max())
    return bool(last_row - first_row > 1)  # Two rows say nothing.


def unsorted_times(steps: Steps, roles: Sequence[ColumnRole]) -> Iterator[str]:
    """Notes on columns that are called times, have no role, and go back within a series: the rows
    are not in the order of their steps."""
    if any(role.role == "time" for role in roles):
        return
    for role in roles:
        if role.role != "left out" or not is_called_time(role.column):
            continue
        step = step_back(steps, role.column)
        if step is not None:
            series = steps.called(steps.series(step))
            row = steps.columns.file_row(step)
            yield (
                f"{steps.columns.path}: {role.column} goes back within {series}, at row {row}: set "
                f"data.time={role.column} to sort the steps by it"
            )


def group_columns(roles: Sequence[ColumnRole]) -> Iterator[str]:
    """The columns that may say whose each series is."""
    return (role.column for role in roles if role.may_be_group)
