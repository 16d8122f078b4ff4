"""Texts and their labels from CSV, TSV, JSON Lines and Parquet files, and from plain text."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmodels.data.module import SPLITS, Split
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
            lines = read_lines(path, self.encoding)
            return self.pairs_of(({self.text_column: line} for line in lines), path)
        return self.pairs_of(self.rows(path), path)

    def pairs_of(
        self, rows: Iterable[Mapping[str, Any]], source: str, *, labelled: bool = False
    ) -> Iterator[tuple[str, str | None]]:
        """The text and the label of each row: None without one, or an error if `labelled`."""
        needed = {"text_column": self.text_column}
        if labelled:
            needed["label_column"] = self.label_column
        for number, row in enumerate(rows, start=1):
            for key, column in needed.items():
                if column not in row:
                    raise UserError(
                        f"{source} has no column {column!r}: set data.{key}, or data.columns if "
                        f"the file has no header; {choices(column, map(str, row))}"
                    )
            text, label = row[self.text_column], row.get(self.label_column)
            if text is None or not str(text).strip():
                raise UserError(
                    f"{source}: the text of row {number} is empty; remove the row or fill it"
                )
            if labelled and label in (None, ""):
                raise UserError(f"{source}: row {number} has no label")
            yield str(text), None if label is None else str(label)

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The rows of a table, each as soon as it can be read."""
        import datasets  # slow to import

        suffix = Path(path).suffix.lower()
        if suffix not in BUILDERS:
            raise UserError(f"{path}: unknown ending {suffix!r}: {choices(suffix, BUILDERS)}")
        options: dict[str, Any] = {"data_files": existing_file(path)}
        if BUILDERS[suffix] == "csv":
            quoting = self.quoting if self.quoting is not None else suffix == ".csv"
            options |= {
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
                    BUILDERS[suffix], split="train", streaming=True, cache_dir=cache, **options
                )
            except Exception as error:  # the parsers raise errors of many kinds
                cause = error.__cause__ or error
                advice = "; set data.encoding" if isinstance(cause, UnicodeError) else ""
                raise UserError(f"{path} cannot be read: {one_line(cause)}{advice}") from error


def load_hub(name: str, config: str | None = None) -> dict[Split, Any]:
    """The rows of each split of a HuggingFace hub data set, or of a folder organised like one.

    Raises:
        UserError: with the library's message, or if there is no training split.
    """
    import datasets  # slow to import

    try:
        loaded = datasets.load_dataset(name, config)
    except Exception as error:  # network, name, format: the library raises many kinds
        raise UserError(f"data.hub={name}: {one_line(error)}") from error
    if "train" not in loaded:
        raise UserError(f"data.hub={name} has no train split, only {', '.join(loaded)}")
    return {split: loaded[split] for split in SPLITS if split in loaded}
