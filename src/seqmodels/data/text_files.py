"""Texts and their labels from CSV, TSV, JSON Lines and Parquet files, and from plain text."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmodels.data.split import Examples
from seqmodels.errors import UserError, choices, one_line
from seqmodels.files import existing_file, read_lines

BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class TextFiles:
    """How to read texts and labels from files; the ending of a file says which format it has.

    Args:
        text_column: the column with the texts.
        label_column: the column with the labels.
        columns: the names of the columns, for CSV and TSV files without a header.
        quoting: whether double quotes enclose fields; None means yes in CSV and no in TSV.
        encoding: of CSV, TSV and plain text files.
    """

    text_column: str = "text"
    label_column: str = "label"
    columns: list[str] | None = None
    quoting: bool | None = None
    encoding: str = "utf-8"

    def pairs(self, path: str) -> Iterator[tuple[str, str | None]]:
        """Each text of a file with its label, or None without one, as soon as it can be read.

        Args:
            path: a table in one of the formats above, or plain text without labels, one text per
                line: `.txt`, or `-` for standard input.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        if path == "-" or Path(path).suffix == ".txt":
            for number, line in enumerate(read_lines(path, self.encoding), start=1):
                yield _text(line, path, number), None
            return
        for number, row in enumerate(self.rows(path), start=1):
            label = row.get(self.label_column)
            text = _text(self._cell(row, self.text_column, path), path, number)
            yield text, None if label is None else str(label)

    def labelled(self, rows: Iterable[Mapping[str, Any]], source: str) -> Examples:
        """Rows as examples with a label each.

        Raises:
            UserError: naming the source, the row and what to do.
        """
        texts, labels = [], []
        for number, row in enumerate(rows, start=1):
            texts.append(_text(self._cell(row, self.text_column, source), source, number))
            label = self._cell(row, self.label_column, source)
            if label is None or label == "":
                raise UserError(f"{source}: row {number} has no label")
            labels.append(str(label))
        return Examples(texts, labels, source)

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The rows of a table, each as soon as it can be read.

        Raises:
            UserError: naming the file and what to do.
        """
        import datasets  # slow to import

        suffix = Path(path).suffix.lower()
        if suffix not in BUILDERS:
            raise UserError(f"{path}: unknown ending {suffix!r}: {choices(suffix, BUILDERS)}")
        options: dict[str, Any] = {}
        if BUILDERS[suffix] == "csv":
            quoting = self.quoting if self.quoting is not None else suffix == ".csv"
            options = {
                "sep": "\t" if suffix == ".tsv" else ",",
                "quoting": csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
                "encoding": self.encoding,
                "na_filter": False,  # otherwise the text "None" would be a missing value
                "skip_blank_lines": False,  # otherwise an empty text would go unnoticed
                # otherwise the label 007 would become the number 7
                "converters": {self.text_column: str, self.label_column: str},
            }
            if self.columns is not None:
                options["column_names"] = self.columns
        with tempfile.TemporaryDirectory() as cache:
            try:
                yield from datasets.load_dataset(
                    BUILDERS[suffix],
                    data_files=existing_file(path),
                    split="train",
                    streaming=True,
                    cache_dir=cache,
                    **options,
                )
            except UserError:
                raise
            except Exception as error:  # the parsers raise errors of many kinds
                cause = error.__cause__ or error
                advice = "; set data.encoding" if isinstance(cause, UnicodeError) else ""
                raise UserError(f"{path} cannot be read: {one_line(cause)}{advice}") from error

    def _cell(self, row: Mapping[str, Any], column: str, source: str) -> Any:
        if column not in row:
            key = "text_column" if column == self.text_column else "label_column"
            raise UserError(
                f"{source} has no column {column!r}: set data.{key}, or data.columns if the "
                f"file has no header; {choices(column, [str(name) for name in row])}"
            )
        return row[column]


def _text(value: Any, source: str, number: int) -> str:
    text = "" if value is None else str(value)
    if not text.strip():
        raise UserError(f"{source}: the text of row {number} is empty; remove the row or fill it")
    return text
