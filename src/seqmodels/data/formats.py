"""Rows of CSV, TSV and JSON files, exactly as they stand there, one by one."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from seqmodels.errors import UserError, one_line, shown
from seqmodels.files import read_lines

CR, NUL = "\r", "\0"
SPACE = re.compile(r"[ \t\n\r]*")  # of JSON


class Number(str):
    """A number in JSON, as it stands in the file."""

    __slots__ = ()


def separated_rows(
    path: str, encoding: str, separator: str, *, quoting: bool, columns: Sequence[str] | None
) -> Iterator[dict[str, str]]:
    """The rows of a CSV or TSV file.

    Args:
        quoting: whether double quotes enclose fields, which may then hold separators, line ends
            and, doubled, quotes.
        columns: the names of the columns if the file has no header.

    Raises:
        UserError: if a row is not as long as the header, or is wrongly quoted.
    """
    lines, header, first = read_lines(path, encoding), columns, 0 if columns is None else 1
    records: Iterator[list[str]] = (line.removesuffix(CR).split(separator) for line in lines)
    if quoting:
        records = _quoted(lines, separator, path, first)
    for number, record in enumerate(records, start=first):
        if header is None:
            header = record or [""]
            check_columns(header, path)
            if any(CR in name for name in header):
                raise UserError(f"{path}: its lines end with carriage returns; use line feeds")
            continue
        if number == 1 and columns is not None:
            check_columns(header, "data.columns")
            if sorted(record) == sorted(header):
                raise UserError(f"{path} has a header: set data.columns=null")
        if len(record) != len(header):
            if record or len(header) > 1:
                where = f"{path}: row {number}"
                raise _wrong_length(record, header, where, separator, quoting)
            record = [""]  # a blank line
        yield dict(zip(header, record, strict=True))
    if header is None:
        raise UserError(f"{path} is empty")


def _wrong_length(
    record: list[str], header: Sequence[str], where: str, separator: str, quoting: bool
) -> UserError:
    if record in ([], [""]):
        return UserError(f"{where} is a blank line; remove it")
    if header[0].startswith("#"):
        return UserError(
            f"{where} has {len(record)} fields, and line 1 has {len(header)}: if line 1 is a "
            "comment, remove it"
        )
    name = "tabs" if separator == "\t" else "commas"
    return UserError(
        f"{where} has {len(record)} fields, but there are {len(header)} "
        f"columns ({', '.join(map(shown, header[:9]))}); "
        + (f"put fields that hold {name} in quotes" if quoting else f"remove extra {name}")
        + ", and name every column in the first line or in data.columns"
    )


def _quoted(lines: Iterable[str], separator: str, path: str, first: int) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)  # of the whole process; the default is 131,072
    replaced = False

    # To `csv`, a carriage return ends a line. Only at the end of a line does it: elsewhere a NUL,
    # which no text that `read_lines` gives contains, takes its place.
    def ended() -> Iterator[str]:
        nonlocal replaced
        for line in lines:
            if CR in line[:-1]:
                replaced = True
                line = line[:-1].replace(CR, NUL) + line[-1]
            yield f"{line}\n"

    number = first
    try:
        for record in csv.reader(ended(), delimiter=separator, strict=True):
            yield [field.replace(NUL, CR) for field in record] if replaced else record
            number += 1
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]
        if "unexpected end" in reason:
            reason = "a quote opens a field and none closes it"
        row = f"row {number}" if number else "the header"
        raise UserError(
            f"{path}: {row} is wrongly quoted ({reason}); enclose a field that holds quotes or "
            "line breaks in quotes and double those inside, or set data.quoting=false"
        ) from error


def check_columns(names: Iterable[str], source: str) -> None:
    """Raises a `UserError` for a name that two columns have."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise UserError(f"{source}: two columns are called '{shown(name)}'; rename one of them")
        seen.add(name)


def json_rows(path: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON file: one per line, or all of them in one list.

    Raises:
        UserError: if a line is not an object.
    """
    lines = enumerate(read_lines(path), start=1)
    for number, line in lines:
        if line.lstrip(" \t\r").startswith("["):
            text = "\n" * (number - 1) + "\n".join([line, *(rest for _, rest in lines)])
            yield from _objects_of_list(text, path)
            return
        if line.strip(" \t\r"):
            where = f"{path}: line {number}"
            yield _as_object(read_json(line, where), where)


def _objects_of_list(text: str, path: str) -> Iterator[Mapping[str, Any]]:
    at, number, end = text.index("["), 0, ","
    while end == ",":
        at, number = _after_space(text, at + 1), number + 1
        if number == 1 and text.startswith("]", at):
            break
        try:
            value, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _not_json(error, f"{path}: row {number}") from error
        yield _as_object(value, f"{path}: row {number}")
        at = _after_space(text, at)
        end = text[at : at + 1]
        if end not in (",", "]"):
            raise UserError(f"{path}: a comma or a closing ] is missing after row {number}")
    if _after_space(text, at + 1) < len(text):
        raise UserError(f"{path}: there is text after the closing ]; remove it")


def _after_space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _as_object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f'{where} is not a JSON object, such as {{"text": "...", "label": "..."}}')
    return value


def read_json(text: str, where: str) -> Any:
    """The value of a JSON text, with each number as a `Number`.

    Raises:
        UserError: if it is not JSON, or an object has a key twice.
    """
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(error, where) from error


def _not_json(error: Exception, where: str) -> UserError:
    reason = one_line(error)
    if isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg} at column {error.colno}"
    return UserError(f"{where} is not JSON ({reason}); correct it")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{shown(twice)}' stands there twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value; write null if it is missing")


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_constant
)
