"""Texts that people read as numbers although `float` does not, and what to do about them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from seqmodels.errors import UserError, setting, shown

if TYPE_CHECKING:
    import pyarrow as pa

DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?")
THOUSANDS = re.compile(
    r"[-+]?[0-9]{1,3}(?P<mark>[,.' \u00a0\u202f\u2019])[0-9]{3}(?P<more>(?P=mark)[0-9]{3})*"
    r"(?P<fraction>[.,][0-9]+)?"
)
WITH_COMMA = r"^\s*([-+]?[0-9]*),([0-9]+(?:[eE][-+]?[0-9]+)?)\s*$"
WITH_POINT = r"^\s*[-+]?[0-9]*\.[0-9]+\s*$"
UNIT = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]+)?\s*[^\s0-9.,eE+-]\D{0,9}")


def cure_of(text: str) -> str:
    """What to do about a text that stands among numbers."""
    text = text.strip()
    decimal = f"train with {setting('data.decimal', ',')}"
    thousands = THOUSANDS.fullmatch(text)
    if thousands and (thousands["mark"] != "," or thousands["more"] or thousands["fraction"]):
        return f"write numbers without separators of thousands, such as {_without(thousands)}"
    if thousands:
        return f"{decimal} if it is {text.replace(',', '.')}, or write {text.replace(',', '')}"
    if DECIMAL_COMMA.fullmatch(text):
        return decimal
    if UNIT.fullmatch(text):
        return "write numbers without their unit"
    if text.isprintable() and len(text) <= 20:
        return f"if it stands for nothing, train with {setting('data.na_values', [text])}"
    return "correct it, or leave it empty"


def _without(thousands: re.Match[str]) -> str:
    """1,234.5 as 1234.5, and 1.234,5 as 1234.5."""
    fraction = (thousands["fraction"] or "").replace(",", ".")
    whole = thousands[0].removesuffix(thousands["fraction"] or "")
    return shown(whole.replace(thousands["mark"], "") + fraction)


def with_points(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """The table with a point in the place of the decimal comma in these columns of texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = dict(zip(table.column_names, table.columns, strict=True))
    for column in columns:
        if _holds_strings(arrays[column]):
            arrays[column] = pc.replace_substring_regex(arrays[column], WITH_COMMA, r"\1.\2")
    return pa.table(arrays)


def check_no_points(table: pa.Table, texts: Collection[str], path: str) -> None:
    """Raises a `UserError` for a number with a point, which is one for thousands, in a file that
    has decimal commas. `texts` are columns that hold no numbers."""
    import pyarrow.compute as pc

    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in texts or not _holds_strings(column):
            continue
        if not pc.any(pc.match_substring_regex(column, WITH_COMMA)).as_py():
            continue
        has_point = pc.match_substring_regex(column, WITH_POINT)
        if pc.any(has_point).as_py():
            row = pc.index(has_point, True).as_py()
            raise UserError(
                f"{path}: row {row + 1} has {shown(repr(column[row].as_py()))} as {name!r}, among "
                "numbers with decimal commas: write numbers without separators of thousands"
            )


def _holds_strings(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
