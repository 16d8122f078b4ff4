"""Texts with labels or numbers: their columns in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from seqmodels.data.columns import arrow, blank
from seqmodels.data.parquet import class_name
from seqmodels.data.tables import TABLES, Inexact, Row, Tables, as_number, is_plain
from seqmodels.errors import UserError

STEP = 16_384  # rows of a batch
NAMES = ["text", "target"]
HEADLESS = "data.columns"  # what to set for a file without a header

Classes = Mapping[str, Sequence[str]]
NO_CLASSES: Classes = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class TextFiles(Tables):
    """How to read texts and labels from files; the ending of a file says which format it has.

    `seqmodels.data.tables.cell` says what text a value of each format is.

    Args:
        text_column: the column with the texts.
        label_column: the column with the labels.
        value_columns: columns with numbers to take instead of labels.
        columns, quoting, encoding: how to read tables; see `Tables`.
    """

    text_column: str = "text"
    label_column: str = "label"
    value_columns: tuple[str, ...] = ()

    def pairs(self, path: str) -> Iterator[tuple[str, Any]]:
        """Each text of a file with its label, or with the texts of its numbers, as soon as it can
        be read; with None where there is none.

        Args:
            path: a table, or plain text without labels, one text per line: `.txt`, or `-` for
                standard input.

        Raises:
            UserError: if the file cannot be read, or a row is wrong.
        """
        return (self._pair(row) for row in self.rows(path, self._wanted))

    def batches(self, path: str, classes: Classes = NO_CLASSES) -> Iterator[pa.RecordBatch]:
        """The texts of a file, many at a time: a column of them, and one of labels, or of lists of
        numbers.

        Args:
            classes: the names of the classes, for a column that may hold their numbers.

        Raises:
            UserError: for a text without a label, too.
        """
        read = 0
        with suppress(Inexact, UserError):
            for texts, labels in self._columns(path, classes):
                yield pa.record_batch([texts, labels.dictionary_encode()], NAMES)
                read += len(texts)
            return
        # the rest row by row, which also says what is wrong
        rows = islice(self.rows(path, self._wanted), read, None)
        kind = pa.list_(pa.float64(), len(self.value_columns))
        while block := [self._pair(row, classes, labelled=True) for row in islice(rows, STEP)]:
            texts, labels = zip(*block, strict=True)
            targets = (
                pa.array(labels, kind) if self.value_columns else arrow(labels).dictionary_encode()
            )
            yield pa.record_batch([arrow(texts), targets], NAMES)

    def _columns(self, path: str, classes: Classes) -> Iterator[list[pa.Array]]:
        """The texts and labels that can be taken as they stand, which `_pair` would check."""
        if self.value_columns or self.label_column in classes:
            raise Inexact
        for columns in self.columns_of(path, self._wanted):
            if any(pc.any(blank(column)).as_py() for column in columns):
                raise Inexact
            yield columns

    @cached_property
    def _wanted(self) -> list[str]:
        return [self.text_column, *(self.value_columns or [self.label_column])]

    def _pair(
        self, row: Row, classes: Classes = NO_CLASSES, *, labelled: bool = False
    ) -> tuple[str, Any]:
        text = row.filled(self._text(row), "text")
        if not row.values.keys() >= set(self._wanted):
            if not labelled:
                return text, None
            if is_plain(row.path):
                raise UserError(
                    f"{row.path} has texts without labels: use one of {', '.join(TABLES)}"
                )
        if self.value_columns:
            numbers = [
                (row.text(row.value(column, "data.value_columns", HEADLESS), column), column)
                for column in self.value_columns
            ]
            if labelled:
                return text, [as_number(each, row.where, column) for each, column in numbers]
            return text, [each for each, _ in numbers]
        label = row.text(row.value(self.label_column, "data.label_column", HEADLESS), "label")
        if label is not None and self.label_column in classes:
            label = class_name(label, classes[self.label_column], row.where)
        if label is None or not label.strip():
            if labelled:
                raise UserError(f"{row.where} has no label; remove it or label it")
            label = None
        return text, label

    def texts(self, path: str) -> Iterator[str]:
        """Each text of a file, even if it is empty.

        Raises:
            UserError: if the file cannot be read, or a row is wrong.
        """
        for row in self.rows(path, [self.text_column]):
            text = row.text(self._text(row), "text")
            if text is None:
                raise UserError(f"{row.where} has no text; remove the row or fill it")
            yield text

    def _text(self, row: Row) -> Any:
        return row.value(self.text_column, "data.text_column", HEADLESS)
