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

INDEX = re.compile(
    r"|Unnamed: \d+|__index_level_\d+__"
)  # the rows of a frame, as pandas names them
OF_AN_ARRAY = re.compile(r"channel \d+|.*\[\d+\]", re.DOTALL)  # channels that never had names
GROUPS = range(4, 10_000)  # the different names in a column that may say whose a series is
FEW_GAPS = 3  # texts that may all stand for a gap
FIRST_ROWS = 1_000  # which say of most columns already that their numbers are not whole
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?|[+-]?\d+(\.\d+)?")  # 1,234.5
DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")  # 1.234,5


@dataclass(frozen=True)
class ColumnRole:
    """What a column is.

    Args:
        reason: why it is left out, and what to do to read it; of a channel, what to know of it.
        may_be_group: whether it may say whose each series is, as a patient's name does.
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
            roles.append(ColumnRole(column, keys[column]))
        elif inputs is not None and column in inputs:
            roles.append(ColumnRole(column, "channel"))
        else:
            role = _role(steps, column, has_times)
            if inputs is not None:
                role = ColumnRole(column, "left out", may_be_group=role.may_be_group)
            roles.append(role)
    return roles


def channels_line(roles: Sequence[ColumnRole]) -> str:
    """`channels: ax, ay, age (of people.csv)`."""
    channels = [_with_reason(role) for role in roles if role.role == "channel"]
    return f"channels: {listed(channels)} (set data.inputs to choose)"


def left_out_line(roles: Sequence[ColumnRole]) -> str:
    """`left out: event_type (5 texts: name it in data.inputs to read it)`; empty if nothing is."""
    columns_by_reason = dict[str, list[str]]()
    for role in roles:
        if role.role == "left out":
            columns_by_reason.setdefault(role.reason, []).append(role.column)
    pieces = []
    for reason, names in columns_by_reason.items():
        quoted = [shown(name) or "a column without a name" for name in names]
        end = f" ({reason})" if reason else ""
        pieces.append(listed(quoted) + end)
    return f"left out: {'; '.join(pieces)}" if pieces else ""


def check_channels(path: str, roles: Sequence[ColumnRole]) -> None:
    """Raises a `UserError` if no column is a channel, which says why each is none."""
    if not any(role.role == "channel" for role in roles):
        left_out = left_out_line(roles)
        end = f"; {left_out}" if left_out else ""
        raise UserError(f"{path} has no column with numbers: set data.inputs{end}")


def _with_reason(role: ColumnRole) -> str:
    return f"{role.column} ({role.reason})" if role.reason else role.column


def _role(steps: Steps, column: str, has_times: bool) -> ColumnRole:
    """Of a column that no key names."""
    if reason := _why_never_read(steps.columns, column, has_times):
        return ColumnRole(column, "left out", reason)
    if steps.columns.holds_texts(column):
        return _role_of_texts(steps, column)
    return _role_of_numbers(steps, column, has_times)


def _why_never_read(columns: Columns, column: str, has_times: bool) -> str:
    """Why a column is left out whatever its values are; empty if these decide."""
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
    columns = steps.columns
    values, is_wrong = columns.parsed(column)
    if np.isnan(values).all():
        return ColumnRole(column, "left out", "no value")
    if is_called_time(column):
        where = "in data.inputs to read it"
        if not has_times:
            where = f"in data.time, or {where}"
        return ColumnRole(column, "left out", f"times: name it {where}")
    is_named_by_place = OF_AN_ARRAY.fullmatch(column) is not None
    is_quantity = is_wrong.any() or _are_booleans(columns, column) or not _are_whole(values)
    if is_named_by_place or is_quantity:
        return _channel(columns, column)
    return _role_of_whole_numbers(steps, column, values, has_times)


def _channel(columns: Columns, column: str) -> ColumnRole:
    origin = ""
    if _is_of_labels(columns, column):
        origin = f"of {Path(columns.origins[column].paths[0]).name}"
    return ColumnRole(column, "channel", origin)


def _is_of_labels(columns: Columns, column: str) -> bool:
    """Whether a column is from the second table, with a row for each series."""
    return column in columns.origins and columns.origins[column].files is None


def _role_of_whole_numbers(
    steps: Steps, column: str, values: np.ndarray, has_times: bool
) -> ColumnRole:
    """Of numbers that may count, or name whose a series is."""
    if _counts_rows(steps.columns, column, values):
        return ColumnRole(column, "left out", "counts the rows")
    is_inside = steps.is_inside()
    if not is_inside.any():
        return _channel(steps.columns, column)
    differences = np.diff(values)[is_inside]
    if len(differences) > 1 and (differences == 1).all():
        cure = "" if has_times else f": data.time={column} sorts by it"
        return ColumnRole(column, "left out", f"counts the steps{cure}")
    is_known = ~np.isnan(values)
    is_same = (differences == 0) | ~(is_known[1:] | is_known[:-1])[is_inside]
    if _is_of_labels(steps.columns, column) or not is_same.all():
        return _channel(steps.columns, column)
    of_series = values[steps.starts[:-1]]
    if (of_series == of_series[0]).all():
        return ColumnRole(column, "left out", "the same everywhere")
    return ColumnRole(
        column,
        "left out",
        "whole numbers, the same at all steps of a series: name it in data.group if it says whose "
        "a series is, or in data.inputs to read it",
        may_be_group=bool(is_known.all()) and _are_few(len(np.unique(of_series)), steps),
    )


def _role_of_texts(steps: Steps, column: str) -> ColumnRole:
    names = steps.columns.names(column)
    texts = [text for text in names.names if text]
    of_series = names.codes[steps.starts[:-1]]
    is_constant = bool((steps.repeated(of_series) == names.codes).all())
    may_be_group = (
        is_constant and bool((of_series >= 0).all()) and _are_few(len(np.unique(of_series)), steps)
    )
    reason = "no value"
    if texts:
        reason = _about_texts(steps.columns, column, names, texts)
    return ColumnRole(column, "left out", reason, may_be_group)


def _about_texts(columns: Columns, column: str, names: Names, texts: Sequence[str]) -> str:
    """What a column of texts holds, and what to do to read it."""
    is_wrong = columns.parsed(column)[1]
    wrong_texts = [names.names[code] for code in np.unique(names.codes[is_wrong])]
    example = shown(repr(wrong_texts[0] if wrong_texts else texts[0]))
    has_comma = any("," in text for text in texts)
    if has_comma and all(map(THOUSANDS.fullmatch, texts)):
        number = _first_with_comma(texts)
        return f"numbers with a comma between thousands, such as {number}: write them without"
    if has_comma and all(map(DECIMAL_COMMA.fullmatch, texts)):
        decimal = setting("data.decimal", ",")
        return f"numbers with a decimal comma, such as {_first_with_comma(texts)}: set {decimal}"
    known_count = int((names.codes >= 0).sum())
    if int(is_wrong.sum()) < known_count:
        share = f"{100 * is_wrong.sum() / known_count:.0f} % texts, such as {example}"
        if len(wrong_texts) > FEW_GAPS:
            return share
        return f"{share}: {setting('data.na_values', sorted(wrong_texts))} makes gaps of these"
    if len(texts) > MANY_TEXTS:
        return f"{len(texts):,} different texts, such as {example}"
    count = f"{len(texts):,} text{'s' if len(texts) > 1 else ''}"
    return f"{count}, such as {example}: name it in data.inputs to read it"


def _first_with_comma(texts: Sequence[str]) -> str:
    return shown(repr(next(text for text in texts if "," in text)))


def _are_few(count: int, steps: Steps) -> bool:
    """Whether so many names may be those of groups of the series."""
    return count in GROUPS and 2 * count < len(steps.starts)


def _are_booleans(columns: Columns, column: str) -> bool:
    if columns.kind(column) != "text":
        return columns.kind(column) == "boolean"
    return {name.lower() for name in columns.names(column).names if name not in MISSING} <= {*TRUTH}


def _are_whole(values: np.ndarray) -> bool:
    """Whether all that are known are whole numbers."""
    for rows in (values[:FIRST_ROWS], values):
        if not ((rows == np.floor(rows)) | np.isnan(rows)).all():
            return False
    return True


def _counts_rows(columns: Columns, column: str, values: np.ndarray) -> bool:
    """Whether numbers rise by 1 from row to row of their file."""
    origin = columns.origins.get(column)
    rows = origin.rows if origin else columns.file_rows
    if rows is None:
        rows = np.arange(len(values))
    if origin is not None and origin.files is not None:  # rows of several files
        return False
    for part in (slice(FIRST_ROWS), slice(None)):
        if not (values[part] - rows[part] == values[0] - rows[0]).all():
            return False
    return bool(np.ptp(rows) > 1)  # two rows say nothing


def unsorted_times(steps: Steps, roles: Sequence[ColumnRole]) -> Iterator[str]:
    """Columns that are called times, have no role, and go back within a series: the rows are not in
    the order of their steps."""
    if any(role.role == "time" for role in roles):
        return
    for role in roles:
        if role.role != "left out" or not is_called_time(role.column):
            continue
        step = step_back(steps, role.column)
        if step is not None:
            yield (
                f"{steps.columns.path}: {role.column} goes back within "
                f"{steps.called(steps.series(step))}, at row {steps.columns.file_row(step)}: set "
                f"data.time={role.column} to sort the steps by it"
            )


def group_columns(roles: Sequence[ColumnRole]) -> Iterator[str]:
    """The columns that may say whose each series is."""
    return (role.column for role in roles if role.may_be_group)
