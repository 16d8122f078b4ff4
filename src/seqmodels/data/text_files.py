"""Texts with labels or numbers, from CSV, TSV, JSON Lines, Parquet and plain-text files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import cast

from seqmodels.data.parquet import class_name, parquet_rows
from seqmodels.data.tables import STEP, Records, Row, cell, json_rows, separated_records
from seqmodels.data.targets import BETWEEN
from seqmodels.errors import UserError, choices
from seqmodels.files import read_lines

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class TextFiles:
    """How to read texts and labels from files; the ending of a file says which format it has.

    `seqmodels.data.tables.cell` says what text a value of each format is.

    Args:
        text_column: the column with the texts.
        label_column: the column with the labels.
        columns: the names of the columns, for CSV and TSV files without a header.
        quoting: whether double quotes enclose fields; None means yes in CSV and no in TSV.
        encoding: of CSV, TSV and plain text files.
        value_columns: columns with numbers to take instead of labels. A row's label is then the
            text of them all, with tabs between them; a missing one is empty.
        lists: whether `rows` may give lists of labels, where a format has lists.
    """

    text_column: str = "text"
    label_column: str = "label"
    columns: list[str] | None = None
    quoting: bool | None = None
    encoding: str = "utf-8"
    value_columns: tuple[str, ...] = ()
    lists: bool = False

    def pairs(
        self,
        path: str,
        *,
        labelled: bool = False,
        classes: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> Iterator[tuple[str, str | None]]:
        """Each text of a file with its label, as soon as it can be read.

        Args:
            path: a table in one of the formats above, or plain text without labels, one text per
                line: `.txt`, or `-` for standard input.
            labelled: whether a text without a label is an error; otherwise its label is None.
            classes: the names of the classes, for a column that may hold their numbers.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        for number, row in enumerate(self.rows(path), start=1):
            yield self._pair(row, path, number, labelled, classes)

    def blocks(
        self, path: str, classes: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """What `pairs` gives, labelled, as some thousand texts and their labels at a time."""
        number = 1
        for block in self._blocks(path):
            if isinstance(block, Records):
                if columns := self._columns(block, classes):
                    yield columns
                    number += len(block.fields)
                    continue
                block = [*block.rows()]
            pairs = [
                self._pair(row, path, number + index, True, classes)
                for index, row in enumerate(block)
            ]
            texts, labels = zip(*pairs, strict=True)
            yield texts, cast(Sequence[str], labels)
            number += len(block)

    def _columns(
        self, records: Records, classes: Mapping[str, Sequence[str]]
    ) -> tuple[list[str], list[str]] | None:
        """The texts and labels if they can be taken as they stand, which `_pair` would check."""
        wanted = self.text_column, *self.target_columns
        if not set(wanted) <= set(records.header) or self.label_column in classes:
            return None
        text, *own = map(records.header.index, wanted)
        texts = [fields[text] for fields in records.fields]
        labels = [BETWEEN.join([fields[place] for place in own]) for fields in records.fields]
        filled = self.value_columns or all(map(str.strip, labels))
        return (texts, labels) if filled and all(map(str.strip, texts)) else None

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns with labels or numbers."""
        return self.value_columns or (self.label_column,)

    def _pair(
        self,
        row: Row,
        path: str,
        number: int,
        labelled: bool,
        classes: Mapping[str, Sequence[str]],
    ) -> tuple[str, str | None]:
        text_column, label_column = self.text_column, self.label_column
        present = row.keys() >= {*self.target_columns}
        if text_column not in row or (labelled and not present):
            raise self._absent(row, path, number)
        text = cell(row[text_column], path, "text", number)
        if text is None or not text.strip():
            raise UserError(f"{path}: the text of row {number} is empty; remove the row or fill it")
        if self.value_columns:
            values = [cell(row.get(column), path, column, number) for column in self.value_columns]
            return text, BETWEEN.join(value or "" for value in values) if present else None
        label = cell(row.get(label_column), path, "label", number)
        if label is not None and label_column in classes:
            label = class_name(label, classes[label_column], f"{path}: row {number}")
        if label is None or not label.strip():
            if labelled:
                raise UserError(f"{path}: row {number} has no label; remove it or label it")
            label = None
        return text, label

    def texts(self, path: str) -> Iterator[str]:
        """Each text of a file, even if it is empty.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        for number, row in enumerate(self.rows(path), start=1):
            if self.text_column not in row:
                raise self._absent(row, path, number)
            text = cell(row[self.text_column], path, "text", number)
            if text is None:
                raise UserError(f"{path}: row {number} has no text; remove the row or fill it")
            yield text

    def _absent(self, row: Row, path: str, number: int) -> UserError:
        column = next(c for c in (self.text_column, *self.target_columns) if c not in row)
        key = "value_columns" if self.value_columns else "label_column"
        if column == self.text_column:  # which may be the column of the labels, too
            key = "text_column"
        ending = Path(path).suffix.lower()
        if path == "-" or ending == ".txt":
            return UserError(f"{path} has texts without labels: use one of {', '.join(TABLES)}")
        headed = ending in (".csv", ".tsv")
        advice = "; if the file has no header, set data.columns" if headed else ""
        return UserError(
            f"{path}: row {number} has no column {column!r}: set data.{key}; "
            f"{choices(column, row)}{advice}"
        )

    def rows(self, path: str) -> Iterator[Row]:
        """The rows of a file, each as soon as it can be read: values that `cell` gives texts of."""
        for block in self._blocks(path, most=1):
            yield from block.rows() if isinstance(block, Records) else block

    def _blocks(self, path: str, most: int = STEP) -> Iterator[Records | list[Row]]:
        """The rows of a file, many at a time; where there are no `Records`, at most `most`."""
        ending = "" if path == "-" else Path(path).suffix.lower()
        rows: Iterator[Row]
        if path == "-" or ending == ".txt":
            rows = (
                {self.text_column: s.removesuffix("\r")} for s in read_lines(path, self.encoding)
            )
        elif ending in (".csv", ".tsv"):
            quoting = self.quoting if self.quoting is not None else ending == ".csv"
            separator = "\t" if ending == ".tsv" else ","
            yield from separated_records(
                path, self.encoding, separator, quoting=quoting, columns=self.columns
            )
            return
        elif ending == ".parquet":
            wanted = self.text_column, *self.target_columns
            rows = parquet_rows(path, wanted, lists=None if self.lists else False)
        else:
            check_ending(path)
            rows = json_rows(path)
        while block := [*islice(rows, most)]:
            yield block


def check_ending(path: str) -> None:
    """Raises a `UserError` if a file is not a table by its ending, nor plain text."""
    ending = Path(path).suffix.lower()
    if ending not in (".txt", *TABLES):
        raise UserError(f"{path}: unknown ending {ending!r}: {choices(ending, TABLES)}")
