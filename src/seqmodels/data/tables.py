"""Rows of tables: which columns they have, and what text or number a value of theirs is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv

from seqmodels.data.formats import json_rows, separated_rows
from seqmodels.data.in_memory import PREFIX, InMemory
from seqmodels.data.parquet import parquet_rows
from seqmodels.errors import UserError, choices, shown
from seqmodels.files import read_lines, read_text

SEPARATORS = {".csv": ",", ".tsv": "\t"}
TABLES = (*SEPARATORS, ".json", ".jsonl", ".ndjson", ".parquet")

BLOCKS = 16  # of text for Arrow to read at a time
SURROGATE = re.compile("[\ud800-\udfff]")


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


def as_number(value: Any, where: str, name: str) -> float:
    """The number that a value is, or its text; nan for a missing one.

    Args:
        where, name: the row and the column, for an error.

    Raises:
        UserError: if it is not a finite number.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        found = number_of(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        found = math.inf
    if math.isinf(found):
        raise UserError(
            f"{where} has {shown(repr(value))} as {name!r}, which is not a finite number"
        )
    return found


def number_of(text: str) -> float:
    """The number that a text stands for. Python also reads `1_000` and the digits of every script.

    Raises:
        ValueError: if it is not a number in plain digits.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a number")
    return float(text)


class Inexact(Exception):  # noqa: N818 (no error: `rows` reads on)
    """Rows follow that `columns_of` cannot read."""


class Row(NamedTuple):
    """A row of a file: the value of each column, of which `cell` gives the text."""

    values: Mapping[str, Any]
    path: str
    number: int

    @property
    def where(self) -> str:
        """The file and the row, for an error."""
        return f"{self.path}: row {self.number}"

    def value(self, column: str, key: str, headless: str = "") -> Any:
        """The value of a column.

        Args:
            key: names the column, such as `data.text_column`.
            headless: for the error, what to set if a CSV or TSV file has no header.

        Raises:
            UserError: if there is no such column.
        """
        if column in self.values:
            return self.values[column]
        headed = headless and ending(self.path) in SEPARATORS
        advice = f"; if the file has no header, set {headless}" if headed else ""
        raise UserError(
            f"{self.where} has no column {column!r}: set {key}; "
            f"{choices(column, self.values)}{advice}"
        )

    def text(self, value: Any, what: str) -> str | None:
        """The text of a value of this row, as `cell` gives it."""
        return cell(value, self.path, what, self.number)

    def filled(self, value: Any, what: str) -> str:
        """The text of a value of this row.

        Raises:
            UserError: if it is missing or blank.
        """
        text = cell(value, self.path, what, self.number)
        if text is None or not text.strip():
            raise UserError(
                f"{self.path}: the {what} of row {self.number} is empty; remove the row or fill it"
            )
        return text


@dataclass(frozen=True, kw_only=True)
class Tables:
    """How to read tables; the ending of a file says which format it has.

    Args:
        columns: the names of the columns, for CSV and TSV files without a header.
        quoting: whether double quotes enclose fields; None means yes in CSV and no in TSV.
        encoding: of CSV, TSV and plain text files.
    """

    columns: list[str] | None = None
    quoting: bool | None = None
    encoding: str = "utf-8"

    def rows(
        self, path: str, wanted: Sequence[str], *, lists: bool | None = False, times: bool = False
    ) -> Iterator[Row]:
        """The rows of a file, each as soon as it can be read.

        Args:
            path: a table, or plain text with a row on each line: `.txt`, or `-` for standard input.
            wanted: the columns to read; others of a Parquet file are None. The first one is the
                column of plain text.
            lists, times: whether columns of a Parquet file may hold lists (None: either) or times.

        Raises:
            UserError: if the file cannot be read, or a row is wrong.
        """
        found: Iterable[Mapping[str, Any]]
        if is_plain(path):
            lines = read_lines(path, self.encoding)
            found = ({wanted[0]: line.removesuffix("\r")} for line in lines)
        elif separator := SEPARATORS.get(ending(path)):
            found = separated_rows(
                path, self.encoding, separator, quoting=self._quotes(path), columns=self.columns
            )
        elif ending(path) == ".parquet":
            found = parquet_rows(path, wanted, lists=lists, times=times)
        else:
            check_ending(path)
            found = json_rows(path)
        for number, values in enumerate(found, start=1):
            yield Row(values, path, number)

    def columns_of(self, path: str, wanted: Sequence[str]) -> Iterator[list[pa.Array]]:
        """Columns of a CSV or TSV file as texts, many rows at a time: much faster than `rows`.

        Arrow also takes `"b"c` for a field, any carriage return for the end of a line, and a blank
        line for a row of many columns. So it reads only what `_lines` finds to be right.

        Raises:
            Inexact: before the first row that needs `rows`, to read it or to say what is wrong.
        """
        separator = SEPARATORS.get(ending(path), "")
        first = next(self.rows(path, wanted), None) if separator else None
        if first is None or not first.values.keys() >= {*wanted}:
            raise Inexact
        names, quoting = [*first.values], self._quotes(path)
        types = dict.fromkeys(wanted, pa.large_string())
        how = pa.csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if quoting else False,
            newlines_in_values=quoting,
            ignore_empty_lines=False,
        )
        convert = pa.csv.ConvertOptions(include_columns=[*types], column_types=types)
        lines = _lines(separator, len(names), quoting=quoting)
        texts, rest, start = read_text(path, self.encoding), "", self.columns is None
        while (part := "".join(islice(texts, BLOCKS))) or rest:
            text = rest + (part or "\n")
            end = lines.match(text).end()  # type: ignore[union-attr]
            if not end:
                raise Inexact
            # Arrow leaves a byte order mark out, even if it begins a field
            content, rest = text[:end].encode("utf-8-sig"), text[end:]
            read = pa.csv.ReadOptions(
                column_names=names, block_size=len(content), use_threads=False
            )
            table = pa.csv.read_csv(pa.BufferReader(content), read, how, convert)
            yield [table[name].combine_chunks()[int(start) :] for name in wanted]
            start = False

    def _quotes(self, path: str) -> bool:
        return ending(path) == ".csv" if self.quoting is None else self.quoting


def _lines(separator: str, count: int, *, quoting: bool) -> re.Pattern[str]:
    """Matches lines of so many fields at the beginning of a text."""
    field = rf"[^{separator}\r\n]*+"
    if quoting:
        field = rf'(?:"[^"]*+(?:""[^"]*+)*+"|(?!"){field})'
    return re.compile(rf"(?:{field}(?:{separator}{field}){{{count - 1}}}\r?\n)*+")


def ending(path: str) -> str:
    """The ending of a file, such as `.csv`; rows in memory are read as those of `.parquet`.

    Raises:
        UserError: for rows that were in memory when a run was trained with them.
    """
    if isinstance(path, InMemory):
        return ".parquet"
    if path.startswith(PREFIX):
        raise UserError(
            f"this run was trained on {path}: give these rows again, as "
            'train(config, data={"train": ...}) or run.evaluate(file=...)'
        )
    return Path(path).suffix.lower()


def is_plain(path: str) -> bool:
    """Whether a file is plain text: `.txt`, or `-` for standard input."""
    return path == "-" or ending(path) == ".txt"


def check_ending(path: str, *, plain: bool = True) -> None:
    """Raises a `UserError` if a file is not a table by its ending, nor `plain` text."""
    if ending(path) not in TABLES and not (plain and ending(path) == ".txt"):
        raise UserError(f"{path}: unknown ending {ending(path)!r}: {choices(ending(path), TABLES)}")
