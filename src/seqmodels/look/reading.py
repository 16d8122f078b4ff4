"""The options with which files that have fields can be read, by what stands in them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from seqmodels.data.columns import DECIMAL_COMMA, Columns
from seqmodels.data.separated import LINES, USUAL_SEPARATORS
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
    lines = list[str]()
    for line in islice(read_lines(path, encoding), LINES):
        if line.strip():
            lines.append(line.strip("\r"))
    if not lines:
        return form
    header, *rows = lines

    separator = _separator_of(header, SEPARATORS[ending(path)])
    if separator is None:
        return form
    form["separator"] = None if separator == SEPARATORS[ending(path)] else separator
    # Where a comma separates fields, it stands in none.
    if separator != ",":
        fields = [field.strip() for row in rows for field in row.split(separator)]
        if any(DECIMAL_COMMA.fullmatch(field) for field in fields):
            form["decimal"] = ","
    return form


def _separator_of(header: str, usual_separator: str) -> str | None:
    """What stands between the names of columns; None for a single name."""
    if usual_separator in header:
        return usual_separator
    counts = {candidate: header.count(candidate) for candidate in USUAL_SEPARATORS}
    most_frequent = max(counts, key=counts.__getitem__)
    return most_frequent if counts[most_frequent] else None


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
