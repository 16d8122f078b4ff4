"""Numbers and texts that stand for a value that is missing, such as -99 and `err`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.data.columns import columns_by_name, is_list, is_number
from seqmodels.errors import UserError, choices, setting, shown

if TYPE_CHECKING:
    import pyarrow as pa

Scalar = str | int | float
NaValues = Scalar | list[Scalar] | dict[str, Scalar | list[Scalar]]
"""Values that stand for nothing: in every column of inputs and numbers, or by column."""

LEAST_SHARE, FEWEST = 0.01, 3  # of the values of a column that may stand for nothing, and rows
MOST_ZEROS = 0.6  # the share above which zeros are what a column usually is
SAMPLE = 20_000  # values of a column to look at first
MOST_BETWEEN = 0.001  # the share of the others that may lie between them and such a value
SENTINELS = (
    *(0.0, -1.0, -9.0),
    *(sign * (10.0**digits - 1) for digits in range(2, 8) for sign in (1, -1)),
    *(sign * (10.0**digits - 0.1) for digits in range(2, 6) for sign in (1, -1)),
    *(-999.25, -32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0),
)
WEAK = (0.0, -1.0, -9.0)  # that are usual values, too
DIFFERENT, DIFFERENT_BESIDE_WEAK = 2, 10  # values that a column must have beside such a one


def values_of_column(
    na_values: NaValues | None, column: str, *, is_named: bool
) -> Sequence[Scalar]:
    """What stands for nothing in a column.

    Args:
        is_named: whether another key names the column for its texts, such as its labels, which only
            a value by column is for.
    """
    if na_values is None:
        return []
    if isinstance(na_values, Mapping):
        by_name = {str(name): values for name, values in na_values.items()}
        values = by_name.get(column, [])
    else:
        values = [] if is_named else na_values
    return values if isinstance(values, Sequence) and not isinstance(values, str) else [values]


def with_gaps(
    table: pa.Table, na_values: NaValues | None, named: Collection[str] | None = ()
) -> pa.Table:
    """The table with nothing where one of these values stands, in cells and in lists.

    Args:
        named: columns that other keys name for their texts; None: all of them.
    """
    import pyarrow as pa  # takes time, so only where a table is read

    if na_values is None:
        return table
    columns = columns_by_name(table)
    for name, column in columns.items():
        is_named = named is None or name in named
        if values := values_of_column(na_values, name, is_named=is_named):
            columns[name] = _column_with_gaps(column.combine_chunks(), values)
    return pa.table(columns)


def check_na_values(na_values: NaValues | None, names: Collection[str], path: str) -> None:
    """Raises a `UserError` if `data.na_values` names a column that a table lacks."""
    if isinstance(na_values, Mapping):
        for column in map(str, na_values):
            if column not in names:
                known = choices(column, names)
                raise UserError(f"data.na_values: {path} has no column {column!r}: {known}")


def array_with_gaps(series: Any, na_values: NaValues, columns: Sequence[str]) -> np.ndarray:
    """A series `(T, C)`, or `(T,)` of one channel, with nan where one of these values stands.

    Args:
        columns: the names of its channels, if they have some.
    """
    values = np.array(series, np.float64)
    channels = values.reshape(len(values), -1)
    for channel in range(channels.shape[1]):
        name = columns[channel] if channel < len(columns) else ""
        for value in map(_as_float, values_of_column(na_values, name, is_named=False)):
            if value is not None:
                channels[_equal(channels[:, channel], value), channel] = np.nan
    return channels.reshape(values.shape)


def _column_with_gaps(column: Any, values: Sequence[Scalar]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        steps = _column_with_gaps(column.flatten(), values)
        return pa.LargeListArray.from_arrays(np.cumsum([0, *lengths]), steps)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return column
    if is_number(column.type):
        is_gap = pc.is_in(column, value_set=_numbers_of_type(values, column.type))
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        is_gap = pc.fill_null(pc.match_substring_regex(column, _pattern(values)), False)
    else:
        return column
    return pc.if_else(is_gap, pa.scalar(None, column.type), column)


def _numbers_of_type(values: Sequence[Scalar], dtype: Any) -> Any:
    """Those of the values that a column of this type may hold."""
    import pyarrow as pa

    numbers = list[Any]()
    for value in map(_as_float, values):
        if value is None:
            continue
        number = pa.scalar(value)
        try:
            numbers.append(number.cast(dtype, safe=not pa.types.is_floating(dtype)).as_py())
        except pa.ArrowInvalid:  # such as -99 among unsigned numbers
            continue
    return pa.array(numbers, dtype)


def _as_float(value: Scalar) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _pattern(values: Sequence[Scalar]) -> str:
    """A regular expression for a cell with one of them, however a number is written."""
    spellings = list[str]()
    for value in values:
        spellings.append(re.escape(str(value).strip()))
        number = _as_float(value)
        if number is not None:
            spellings.append(_pattern_of_number(number))
    return rf"^\s*(?:{'|'.join(spellings)})\s*$"


def _pattern_of_number(number: float) -> str:
    """-99 is written -99.0, -099 and -9.9e1, too."""
    spelled = np.format_float_positional(abs(number), trim="-")
    whole, _, fraction = spelled.partition(".")
    sign = r"[-+]?" if number == 0 else "-" if number < 0 else r"\+?"
    after = rf"\.{fraction}0*" if fraction else r"(?:\.0*)?"
    exponents = "|".join(re.escape(text) for text in {f"{number:e}", f"{number!r}", f"{number:g}"})
    return rf"{sign}0*{whole}{after}|{exponents}"


def placeholders(values: np.ndarray) -> list[float]:
    """The numbers of a column, nan where one is missing, that may stand for nothing: 0, -1, -99,
    9999 and the like that repeat, and lie apart from all others by more than these are spread.
    """
    known = values[~np.isnan(values)]
    # Most columns hold none: a sample shows that in no time.
    sample = known
    if len(known) > SAMPLE:
        sample = known[np.random.default_rng(0).integers(len(known), size=SAMPLE)]
    if len(known) < FEWEST or not _apart(sample, LEAST_SHARE / 2):
        return []
    return _apart(known, max(LEAST_SHARE, FEWEST / len(known)))


def _apart(known: np.ndarray, least_share: float) -> list[float]:
    """Those of the sentinels that are at least this share of the values, and lie apart."""
    shares = {sentinel: _equal(known, sentinel).mean() for sentinel in SENTINELS}
    frequent = [sentinel for sentinel, share in shares.items() if share >= least_share]
    if not frequent:
        return []
    # Of two in a column, such as -999 and 0, neither counts as one of the others.
    is_sentinel = np.any([_equal(known, sentinel) for sentinel in frequent], axis=0)
    others = known[~is_sentinel]
    return [
        sentinel
        for sentinel in frequent
        if not (sentinel in WEAK and shares[sentinel] > MOST_ZEROS)
        and _lies_apart(others, sentinel)
    ]


def _lies_apart(others: np.ndarray, sentinel: float) -> bool:
    """Whether a number lies outside of nearly all others, by more than these are spread."""
    if not len(others):
        return False
    low, high = _range(others, MOST_BETWEEN)
    if _gap(low, high, sentinel) <= _least_gap(others, sentinel):
        return False
    # Flags and codes of few values lie apart from 0, -1 and -9 although these are codes, too.
    count = len(np.unique(others[:SAMPLE]))
    return count >= (DIFFERENT_BESIDE_WEAK if sentinel in WEAK else DIFFERENT)


def _range(values: np.ndarray, share: float) -> tuple[float, float]:
    """The least and the largest of values without this share of them at each end."""
    low, high = np.quantile(values, [share, 1 - share], method="nearest")
    return float(low), float(high)


def _spread(values: np.ndarray) -> float:
    low, high = _range(values, 0.05)
    return high - low


def _least_gap(others: np.ndarray, sentinel: float) -> float:
    # Nobody measures exactly -99 again and again.
    return _spread(others) if sentinel in WEAK else _spread(others) / 2


def _gap(low: float, high: float, number: float) -> float:
    """How far outside of a range a number lies; negative inside."""
    return max(low - number, number - high)


def _equal(values: np.ndarray, number: float) -> np.ndarray:
    # Numbers of float32, such as 999.9, are others in float64.
    return np.abs(values - number) <= 1e-6 * abs(number)


def note_of_placeholders(values: np.ndarray, column: str, path: str) -> str:
    """`x.csv: 40 % of pressure are 0, and all others lie between 850 and 1,020: if 0 stands for
    nothing, set 'data.na_values={pressure: 0}'`; empty if nothing looks so."""
    suspects = placeholders(values)
    if not suspects:
        return ""
    known = values[~np.isnan(values)]
    parts = list[str]()
    for suspect in suspects:
        is_suspect = _equal(known, suspect)
        parts.append(f"{100 * is_suspect.mean():.2g} % of {shown(column)} are {_shown(suspect)}")
    others = known[~np.any([_equal(known, suspect) for suspect in suspects], axis=0)]
    amount = "all others"
    low, high = float(others.min()), float(others.max())
    gaps = [_gap(low, high, suspect) - _least_gap(others, suspect) for suspect in suspects]
    if min(gaps) <= 0:
        amount = "nearly all others"
        low, high = _range(others, MOST_BETWEEN)
    written = [int(number) if number.is_integer() else number for number in suspects]
    them = " and ".join(map(_shown, suspects))
    stand = "stands" if len(suspects) == 1 else "stand"
    return (
        f"{path}: {' and '.join(parts)}, and {amount} lie between {_shown(low)} and "
        f"{_shown(high)}: if {them} {stand} for nothing, set {na_setting(column, written)}"
    )


def na_setting(column: str, values: Sequence[Scalar]) -> str:
    """How to say in a shell that these stand for nothing in a column."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ./-]*", column):
        value = values[0] if len(values) == 1 else list(values)
        return setting("data.na_values", {column: value})
    # Hydra has no quotes for the names in a dict, but a list is for all columns.
    return setting("data.na_values", list(values))


def _shown(number: float) -> str:
    """At most 6 digits, with commas between thousands."""
    return f"{number:,.6g}" if abs(number) < 1e6 else f"{number:,.0f}"
