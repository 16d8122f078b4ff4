"""Pairs of texts from CSV, TSV, JSON Lines and Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seqmodels.data.tables import Row, cell
from seqmodels.data.text_files import TABLES, TextFiles
from seqmodels.errors import UserError, choices


@dataclass(frozen=True)
class PairFiles:
    """How to read pairs of texts from files; the ending of a file says which format it has.

    `seqmodels.data.tables.cell` says what text a value of each format is. In JSON Lines and Parquet
    a target may also be a list of texts: several that are right.

    Args:
        source_column: the column with the texts to read.
        target_column: the column with the texts to write.
        columns: the names of the columns, for CSV and TSV files without a header.
        quoting: whether double quotes enclose fields; None means yes in CSV and no in TSV.
        encoding: of CSV, TSV and plain text files.
    """

    source_column: str = "source"
    target_column: str = "target"
    columns: list[str] | None = None
    quoting: bool | None = None
    encoding: str = "utf-8"

    @cached_property
    def _files(self) -> TextFiles:
        columns = (self.source_column, self.target_column, self.columns)
        return TextFiles(*columns, self.quoting, self.encoding, lists=True)

    def pairs(self, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each source of a file with its targets, as soon as it can be read.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        if path == "-" or Path(path).suffix.lower() == ".txt":
            raise UserError(f"{path} has texts without targets: use one of {', '.join(TABLES)}")
        for number, row in enumerate(self._files.rows(path), start=1):
            source = self._source(row, path, number)
            found = self._value(row, "target", path, number)
            several = (found if isinstance(found, list) else [found]) or [None]
            yield source, tuple(self._text(each, "target", path, number) for each in several)

    def sources(self, path: str) -> Iterator[str]:
        """Each source of a file, or of plain text with one on each line: `.txt`, or `-` for
        standard input.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        for number, row in enumerate(self._files.rows(path), start=1):
            yield self._source(row, path, number)

    def _source(self, row: Row, path: str, number: int) -> str:
        return self._text(self._value(row, "source", path, number), "source", path, number)

    def _value(self, row: Row, side: str, path: str, number: int) -> Any:
        column: str = getattr(self, f"{side}_column")
        if column in row:
            return row[column]
        headed = Path(path).suffix.lower() in (".csv", ".tsv")
        names = f"[{self.source_column},{self.target_column}]"
        advice = f"; if the file has no header, set data.columns={names}" if headed else ""
        raise UserError(
            f"{path}: row {number} has no column {column!r}: set data.{side}_column; "
            f"{choices(column, row)}{advice}"
        )

    def _text(self, value: Any, side: str, path: str, number: int) -> str:
        text = cell(value, path, side, number)
        if text is None or not text.strip():
            raise UserError(
                f"{path}: the {side} of row {number} is empty; remove the row or fill it"
            )
        return text
