"""Numbers and texts that stand for a value that is missing, such as -99 and `err`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.data.columns import columns_by_name, is_list, is_number
from seqmodels.errors import UserError, choices, setting, shown

if TYPE_CHECKING:
    import pyarrow as pa

Scalar = str | int | float
NaValues = Scalar | list[Scalar] | dict[str, Scalar | list[Scalar]]
"""Values that stand for a gap: in every column of inputs and numbers, or by column."""

# A number may stand for a gap if it is at least this share of a column's values, and this many.
LEAST_SHARE = 0.01
FEWEST = 3
# Above this share, zeros and the like are the usual values of a column, not gaps.
MOST_ZEROS = 0.6
# So many values of a column are looked at first.
SAMPLE = 20_000
# This share of the measured values, at each end, may lie beyond a number that stands for a gap.
MOST_BETWEEN = 0.001
# The numbers that programs and instruments write for a gap.
SENTINELS = (
    *(0.0, -1.0, -9.0),
    *(sign * (10.0**digits - 1) for digits in range(2, 8) for sign in (1, -1)),
    *(sign * (10.0**digits - 0.1) for digits in range(2, 6) for sign in (1, -1)),
    *(-999.25, -32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0),
)
# Those of them that are often measured values, too.
WEAK = (0.0, -1.0, -9.0)
# A column must have so many different values beside a sentinel, and beside a weak one.
DIFFERENT, DIFFERENT_BESIDE_WEAK = 2, 10


def values_of_column(
    na_values: NaValues | None, column: str, *, is_named: bool
) -> Sequence[Scalar]:
    """The values that stand for a gap in a column.

    Args:
        is_named: whether another key names the column for its texts, such as its labels. Only
            values by column are meant for such a column.
    """
    if na_values is None:
        return []
    if isinstance(na_values, Mapping):
        values_by_name = {str(name): values for name, values in na_values.items()}
        values = values_by_name.get(column, [])
    else:
        values = [] if is_named else na_values
    if isinstance(values, str) or not isinstance(values, Sequence):
        return [values]
    return values


def with_gaps(
    table: pa.Table, na_values: NaValues | None, named: Collection[str] | None = ()
) -> pa.Table:
    """The table without these values: cells and elements of lists that hold one become empty.

    Args:
        named: columns that other keys name for their texts; None: all of them.
    """
    import pyarrow as pa  # takes time, so only where a table is read

    if na_values is None:
        return table
    columns = columns_by_name(table)
    for name, column in columns.items():
        is_named = named is None or name in named
        values = values_of_column(na_values, name, is_named=is_named)
        if values:
            columns[name] = _column_with_gaps(column.combine_chunks(), values)
    return pa.table(columns)


def check_na_values(na_values: NaValues | None, names: Collection[str], path: str) -> None:
    """Raises a `UserError` if `data.na_values` names a column that a table lacks."""
    if isinstance(na_values, Mapping):
        for column in map(str, na_values):
            if column not in names:
                raise UserError(
                    f"data.na_values: {path} has no column {column!r}: {choices(column, names)}"
                )


def array_with_gaps(series: Any, na_values: NaValues, columns: Sequence[str]) -> np.ndarray:
    """A series `(T, C)`, or `(T,)` of one channel, with nan where one of these values stands.

    Args:
        columns: the names of its channels, if they have some.
    """
    array = np.array(series, np.float64)
    by_channel = array.reshape(len(array), -1)  # (T, C)
    for channel in range(by_channel.shape[1]):
        name = columns[channel] if channel < len(columns) else ""
        values = by_channel[:, channel]  # a view: what changes here changes in `array`
        for na_value in values_of_column(na_values, name, is_named=False):
            number = _as_float(na_value)
            if number is not None:
                values[_equal(values, number)] = np.nan
    return by_channel.reshape(array.shape)


def _column_with_gaps(column: Any, values: Sequence[Scalar]) -> Any:
    """An array of Arrow in which cells, or elements of lists, that hold one of the values are
    empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_list(column.type):
        elements = _column_with_gaps(column.flatten(), values)
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        ends = np.cumsum([0, *lengths.to_numpy(zero_copy_only=False)])
        return pa.LargeListArray.from_arrays(ends, elements)
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
    """The numbers among the values that a column of this type of Arrow can hold, as an array of
    Arrow."""
    import pyarrow as pa

    must_be_exact = not pa.types.is_floating(dtype)
    numbers = list[Any]()
    for value in values:
        number = _as_float(value)
        if number is None:
            continue
        try:
            scalar = pa.scalar(number).cast(dtype, safe=must_be_exact)
        except pa.ArrowInvalid:
            # The column can't hold it, such as -99 among unsigned numbers.
            continue
        numbers.append(scalar.as_py())
    return pa.array(numbers, dtype)


def _as_float(value: Scalar) -> float | None:
    """The finite number that a value is; None if it is none."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _pattern(values: Sequence[Scalar]) -> str:
    """A regular expression for a cell with one of the values, however a number is written."""
    spellings = list[str]()
    for value in values:
        spellings.append(re.escape(str(value).strip()))
        number = _as_float(value)
        if number is not None:
            spellings.append(_pattern_of_number(number))
    return rf"^\s*(?:{'|'.join(spellings)})\s*$"


def _pattern_of_number(number: float) -> str:
    """A regular expression for a number: -99 is written -99.0, -099, -9.9e1 and -9.900e+01, too."""
    if number == 0:
        sign = r"[-+]?"
    elif number < 0:
        sign = "-"
    else:
        sign = r"\+?"
    digits = _pattern_of_digits(np.format_float_positional(abs(number), trim="-"))

    scientific = np.format_float_scientific(abs(number), trim="-")
    mantissa, _, exponent = scientific.partition("e")
    sign_of_exponent = "-" if exponent.startswith("-") else r"\+?"
    power = rf"[eE]{sign_of_exponent}0*{abs(int(exponent))}"
    return rf"{sign}(?:0*{digits}|{_pattern_of_digits(mantissa)}{power})"


def _pattern_of_digits(digits: str) -> str:
    """A regular expression for a number without a sign, whose fraction may end in zeros."""
    integer, _, fraction = digits.partition(".")
    return rf"{integer}\.{fraction}0*" if fraction else rf"{integer}(?:\.0*)?"


def placeholders(values: np.ndarray) -> list[float]:
    """The numbers of a column that may stand for a gap: 0, -1, -99, 9999 and the like that repeat,
    and lie apart from all other numbers by more than these are spread.

    Args:
        values: the column, nan where a number is missing.
    """
    if not may_have_placeholders(lambda: [values]):
        return []
    numbers = values[~np.isnan(values)]
    least_share = max(LEAST_SHARE, FEWEST / len(numbers))
    return _sentinels_apart(numbers, least_share)


def may_have_placeholders(blocks: Callable[[], Iterable[np.ndarray]]) -> bool:
    """Whether a column may have `placeholders`. Most columns have none, which a sample shows in no
    time and in little memory.

    Args:
        blocks: gives the column, one piece after the other, whenever it is called.
    """
    counts = [len(values) - int(np.isnan(values).sum()) for values in blocks()]
    number_count = sum(counts)
    if number_count < FEWEST:
        return False
    if number_count <= SAMPLE:
        chosen = np.arange(number_count)
    else:
        chosen = np.random.default_rng(0).integers(number_count, size=SAMPLE)
    ends = np.cumsum(counts)
    sample = []
    for values, end, count in zip(blocks(), ends, counts, strict=True):
        numbers = values[~np.isnan(values)]
        is_here = (chosen >= end - count) & (chosen < end)
        sample.append(numbers[chosen[is_here] - (end - count)])
    return bool(_sentinels_apart(np.concatenate(sample), LEAST_SHARE / 2))


def _sentinels_apart(numbers: np.ndarray, least_share: float) -> list[float]:
    """The sentinels that are at least this share of the numbers, and lie apart from the others."""
    shares = {sentinel: _equal(numbers, sentinel).mean() for sentinel in SENTINELS}
    frequent_sentinels = [number for number, share in shares.items() if share >= least_share]
    if not frequent_sentinels:
        return []
    # If a column has two, such as -999 and 0, neither counts as one that is measured.
    measured = _without(numbers, frequent_sentinels)
    sentinels_apart = []
    for sentinel in frequent_sentinels:
        is_usual_value = sentinel in WEAK and shares[sentinel] > MOST_ZEROS
        if not is_usual_value and _lies_apart(measured, sentinel):
            sentinels_apart.append(sentinel)
    return sentinels_apart


def _without(numbers: np.ndarray, sentinels: Sequence[float]) -> np.ndarray:
    is_sentinel = np.any([_equal(numbers, sentinel) for sentinel in sentinels], axis=0)
    return numbers[~is_sentinel]


def _lies_apart(measured: np.ndarray, sentinel: float) -> bool:
    """Whether a number lies outside of nearly all measured ones, by more than these are spread."""
    if not len(measured):
        return False
    low, high = _range(measured, MOST_BETWEEN)
    if _distance(low, high, sentinel) <= _least_distance(measured, sentinel):
        return False
    # Flags and codes of few values lie apart from 0, -1 and -9 although these are codes, too.
    different_count = len(np.unique(measured[:SAMPLE]))
    least_count = DIFFERENT_BESIDE_WEAK if sentinel in WEAK else DIFFERENT
    return different_count >= least_count


def _range(values: np.ndarray, share: float) -> tuple[float, float]:
    """The least and the largest value without this share of the values at each end."""
    low, high = np.quantile(values, [share, 1 - share], method="nearest")
    return float(low), float(high)


def _least_distance(measured: np.ndarray, sentinel: float) -> float:
    """The distance from the measured numbers above which a sentinel is none of them."""
    low, high = _range(measured, 0.05)
    spread = high - low
    # A weak sentinel may be measured, but nobody measures exactly -99 again and again.
    return spread if sentinel in WEAK else spread / 2


def _distance(low: float, high: float, number: float) -> float:
    """How far outside of a range a number lies; negative inside."""
    return max(low - number, number - high)


def _equal(values: np.ndarray, number: float) -> np.ndarray:
    """Whether each of the values is this number, `(N,)` bool."""
    # A number of float32, such as 999.9, is another one in float64.
    return np.abs(values - number) <= 1e-6 * abs(number)


def note_of_placeholders(values: np.ndarray, column: str, path: str) -> str:
    """A note about the numbers of a column that may stand for a gap, such as `x.csv: 40 % of
    pressure are 0, and all others lie between 850 and 1,020: if 0 stands for nothing, set
    'data.na_values={pressure: 0}'`; empty without such numbers."""
    suspects = placeholders(values)
    if not suspects:
        return ""
    numbers = values[~np.isnan(values)]
    shares = list[str]()
    for suspect in suspects:
        percentage = 100 * _equal(numbers, suspect).mean()
        shares.append(f"{percentage:.2g} % of {shown(column)} are {_rounded(suspect)}")
    measured = _without(numbers, suspects)
    amount = "all others"
    low, high = float(measured.min()), float(measured.max())
    for suspect in suspects:
        if _distance(low, high, suspect) <= _least_distance(measured, suspect):
            # It lies apart from nearly all of them, as `_lies_apart` asks.
            amount = "nearly all others"
            low, high = _range(measured, MOST_BETWEEN)
            break
    na_values = [int(number) if number.is_integer() else number for number in suspects]
    verb = "stands" if len(suspects) == 1 else "stand"
    return (
        f"{path}: {' and '.join(shares)}, and {amount} lie between {_rounded(low)} and "
        f"{_rounded(high)}: if {' and '.join(map(_rounded, suspects))} {verb} for nothing, set "
        f"{na_setting(column, na_values)}"
    )


def na_setting(column: str, values: Sequence[Scalar]) -> str:
    """The argument, as a shell writes it, that these values stand for a gap in a column."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ./-]*", column):
        value = values[0] if len(values) == 1 else list(values)
        return setting("data.na_values", {column: value})
    # Hydra has no quotes for the names in a dict, but a list is for all columns.
    return setting("data.na_values", list(values))


def _rounded(number: float) -> str:
    """A number with 6 digits if it is below a million, and commas between thousands."""
    return f"{number:,.6g}" if abs(number) < 1e6 else f"{number:,.0f}"
