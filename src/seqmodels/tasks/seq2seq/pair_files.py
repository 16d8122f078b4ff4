"""Pairs of texts: their columns in tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seqmodels.data.tables import TABLES, Row, Tables, is_plain
from seqmodels.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PairFiles(Tables):
    """How to read pairs of texts from files; the ending of a file says which format it has.

    `seqmodels.data.tables.cell` says what text a value of each format is. In JSON Lines and Parquet
    a target may also be a list of texts: several that are right.

    Args:
        source_column: the column with the texts to read.
        target_column: the column with the texts to write.
        columns, quoting, encoding: how to read tables; see `Tables`.
    """

    source_column: str = "source"
    target_column: str = "target"

    def pairs(self, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each source of a file with its targets, as soon as it can be read.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        if is_plain(path):
            raise UserError(f"{path} has texts without targets: use one of {', '.join(TABLES)}")
        for row in self._rows(path):
            source, found = self._source(row), self._value(row, "target")
            several = (found if isinstance(found, list) else [found]) or [None]
            yield source, tuple(row.filled(each, "target") for each in several)

    def sources(self, path: str) -> Iterator[str]:
        """Each source of a file, or of plain text with one on each line: `.txt`, or `-` for
        standard input.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        yield from map(self._source, self._rows(path))

    def _rows(self, path: str) -> Iterator[Row]:
        return self.rows(path, [self.source_column, self.target_column], lists=None)

    def _source(self, row: Row) -> str:
        return row.filled(self._value(row, "source"), "source")

    def _value(self, row: Row, side: str) -> Any:
        names = f"data.columns=[{self.source_column},{self.target_column}]"
        return row.value(getattr(self, f"{side}_column"), f"data.{side}_column", names)
