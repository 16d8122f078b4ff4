"""Rows of CSV, TSV and JSON files, exactly as they stand there, one by one."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from seqmodels.errors import UserError, one_line, shown
from seqmodels.files import read_lines

Row = Mapping[str, Any]  # column -> value; `cell` gives the text of a value

STEP = 16_384  # rows to read at a time
SURROGATE = re.compile("[\ud800-\udfff]")
CR, NUL = "\r", "\0"
SPACE = re.compile(r"[ \t\n\r]*")  # of JSON


class Number(str):
    """A number in JSON, as it stands in the file."""

    __slots__ = ()


def cell(value: Any, source: str, what: str, number: int) -> str | None:
    """The text of a value, or None for a missing one. So texts and labels are read everywhere:

    - CSV and TSV: the field as it stands in the file.
    - JSON: the content of a string; a number, `true` or `false` as it stands in the file. So `1`
      and `1.0` are different labels, and `1` and `"1"` are the same. `null` is missing.
    - Parquet: a string; an integer in digits; `true` or `false`; a float in the fewest digits that
      give it again; for class labels of HuggingFace `datasets` the name of the class. Null, nan
      and a class of -1 are missing.

    Args:
        source, what, number: the file, `text` or `label`, and the row, for an error.

    Raises:
        UserError: for any other value, such as a list, or half of a character.
    """
    if isinstance(value, str):
        if not value.isascii() and SURROGATE.search(value):
            raise UserError(
                f"{source}: the {what} of row {number} holds half of a surrogate pair, which is "
                "not a character; remove it"
            )
        return str(value)
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    kind = "a list" if isinstance(value, list) else "an object"
    raise UserError(f"{source}: the {what} of row {number} is {kind}; convert it to text")


class Records(NamedTuple):
    """Rows of a CSV or TSV file that follow each other.

    Args:
        first: the number of the first one.
        header: the names of the columns.
        fields: of each row, one for each column.
    """

    first: int
    header: Sequence[str]
    fields: list[list[str]]

    def rows(self) -> Iterator[Row]:
        return (dict(zip(self.header, fields, strict=True)) for fields in self.fields)


def separated_records(
    path: str, encoding: str, separator: str, *, quoting: bool, columns: Sequence[str] | None
) -> Iterator[Records]:
    """The rows of a CSV or TSV file, many at a time. Those before a mistake come first.

    Args:
        quoting: whether double quotes enclose fields, which may then hold separators, line ends
            and, doubled, quotes.
        columns: the names of the columns if the file has no header.

    Raises:
        UserError: naming the row that is not as long as the header, or is wrongly quoted.
    """
    lines = read_lines(path, encoding)
    if quoting:
        records = _quoted(lines, separator)
    else:
        records = (line.removesuffix("\r").split(separator) for line in lines)
    numbered = _numbered(records, path, first=0 if columns is None else 1)
    header = columns
    for first, fields in numbered:
        if header is None:
            header, *fields = fields
            first += 1
            check_columns(header, path)
            if any(CR in name for name in header):
                raise UserError(f"{path}: its lines end with carriage returns; use line feeds")
        elif first == 1:
            check_columns(header, "data.columns")
            if sorted(fields[0]) == sorted(header):
                raise UserError(f"{path} has a header: set data.columns=null")
        wrong = None
        if set(map(len, fields)) - {len(header)}:
            if len(header) == 1:
                fields = [record or [""] for record in fields]  # a blank line
            lengths = map(len, fields)
            wrong = next((row for row, n in enumerate(lengths) if n != len(header)), None)
        if fields[:wrong]:
            yield Records(first, header, fields[:wrong])
        if wrong is not None:
            raise _wrong_length(
                fields[wrong], header, f"{path}: row {first + wrong}", separator, quoting
            )
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


def _quoted(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
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

    for record in csv.reader(ended(), delimiter=separator, strict=True):
        yield [field.replace(NUL, CR) for field in record] if replaced else record


def _numbered(
    records: Iterator[list[str]], path: str, first: int
) -> Iterator[tuple[int, list[list[str]]]]:
    """Records, many at a time, and the number of the first; those before an error come first."""
    number, failure = first, None
    while failure is None:
        block = list[list[str]]()
        try:
            block.extend(islice(records, STEP))  # those before an error stay in it
        except (csv.Error, UserError) as error:
            failure = error
        if not block and failure is None:
            return
        if block:
            yield number, block
        number += len(block)
    if isinstance(failure, UserError):
        raise failure
    reason = str(failure).partition(" - ")[0]
    if "unexpected end" in reason:
        reason = "a quote opens a field and none closes it"
    row = f"row {number}" if number else "the header"
    raise UserError(
        f"{path}: {row} is wrongly quoted ({reason}); enclose a field that holds quotes or "
        "line breaks in quotes and double those inside, or set data.quoting=false"
    ) from failure


def check_columns(names: Iterable[str], source: str) -> None:
    """Raises a `UserError` for a name that two columns have."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise UserError(f"{source}: two columns are called '{shown(name)}'; rename one of them")
        seen.add(name)


def json_rows(path: str) -> Iterator[Row]:
    """The objects of a JSON file: one per line, or all of them in one list.

    Raises:
        UserError: naming the line or the row that is not an object.
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


def _objects_of_list(text: str, path: str) -> Iterator[Row]:
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


def _as_object(value: Any, where: str) -> Row:
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
