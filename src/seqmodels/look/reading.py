"""The options with which files that have fields can be read, by what stands in them."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from seqmodels.data.columns import DECIMAL_COMMA, Columns
from seqmodels.data.separated import DECIMAL_POINT, LINES, USUAL_SEPARATORS
from seqmodels.data.tables import SEPARATORS, Tables, ending
from seqmodels.errors import UserError, refusing
from seqmodels.files import existing_file, read_lines

# European spreadsheets write it, if they don't write UTF-8.
OLD_ENCODING = "cp1252"


def read_as_it_is(path: str) -> tuple[Columns, dict[str, Any]]:
    """A table, and the keys that a command needs so that it can read the file. Raises a `UserError`
    if it cannot be read."""
    options = _options_of([path])
    columns = Tables(**options).read(path, texts=())
    return columns, _as_settings(options)


def settings_to_read(paths: Sequence[str]) -> dict[str, Any]:
    """The keys with which one command can read all these tables. Raises a `UserError` if two of
    them need different ones."""
    return _as_settings(_options_of(paths))


def _as_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The keys of a command for options of `Tables`."""
    return {f"data.{name}": value for name, value in options.items()}


def _options_of(paths: Sequence[str]) -> dict[str, Any]:
    """The options of `Tables` that all these files need. Those that have the default are left
    out."""
    options = dict[str, Any]()
    path_by_option = dict[str, str]()  # the first file that needs the option
    for path in paths:
        if ending(path) not in SEPARATORS:
            continue
        for name, value in _form_of(existing_file(path)).items():
            first_path = path_by_option.setdefault(name, path)
            if options.setdefault(name, value) != value:
                raise UserError(
                    f"{path} has another {name} than {first_path}: a training reads all of its "
                    "files alike, so write them alike"
                )
    return {name: value for name, value in options.items() if value != getattr(Tables, name)}


def _form_of(path: str) -> dict[str, Any]:
    """The options of `Tables` with which a file with separators can be read. What any option would
    read is left out: the encoding of ASCII, the separator of one column, the decimal point."""
    form = dict[str, Any]()
    encoding = encoding_of(path)
    if encoding is not None:
        form["encoding"] = encoding
    lines = [line for line in islice(read_lines(path, encoding), LINES) if line.strip()]
    usual_separator = SEPARATORS[ending(path)]
    separator = _separator_of(lines, usual_separator)
    if separator is None:
        return form
    form["separator"] = None if separator == usual_separator else separator
    rows = _fields(lines, separator, has_quotes=usual_separator == ",")
    fields = [field.strip() for row in rows[1:] for field in row]
    has_commas = any(DECIMAL_COMMA.fullmatch(field) for field in fields)
    has_points = any(DECIMAL_POINT.fullmatch(field) for field in fields)
    # Where commas separate fields, and numbers have points, a comma in quotes is no decimal.
    if has_commas and not (separator == "," and has_points):
        form["decimal"] = ","
    return form


def _separator_of(lines: Sequence[str], usual_separator: str) -> str | None:
    """What stands between the fields of these lines: of what divides them evenly, what gives the
    most fields, else what is most frequent in the first line. None for a single name, or without
    lines."""
    field_count_by_separator = dict[str, int]()
    for separator in (usual_separator, *USUAL_SEPARATORS):
        rows = _fields(lines, separator, has_quotes=usual_separator == ",")
        counts = {len(row) for row in rows}
        if len(counts) == 1 and max(counts) > 1:
            field_count_by_separator[separator] = max(counts)
    if field_count_by_separator:
        return max(field_count_by_separator, key=field_count_by_separator.__getitem__)
    header = lines[0] if lines else ""
    if usual_separator in header:
        return usual_separator
    most_frequent = max(USUAL_SEPARATORS, key=header.count)
    return most_frequent if most_frequent in header else None


def _fields(lines: Sequence[str], separator: str, *, has_quotes: bool) -> list[list[str]]:
    """The fields of each line; empty if a field is too long to look at."""
    quoting: Any = csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE
    rows = list[list[str]]()
    with suppress(csv.Error):
        rows = list(csv.reader(lines, delimiter=separator, quoting=quoting))
    if len(lines) >= LINES:
        # The last line may end in the middle of a field.
        rows = rows[:-1]
    return rows


def encoding_of(path: str) -> str | None:
    """The encoding of a text file; None for ASCII, which is read alike in most of them."""
    is_ascii = True
    with refusing(f"{path} cannot be read", OSError), Path(path).open("rb") as file:
        for number, line in enumerate(file):
            if number == 0 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            if line.isascii():
                continue
            is_ascii = False
            try:
                line.decode()
            except UnicodeDecodeError:
                return OLD_ENCODING
    return None if is_ascii else "utf-8"
