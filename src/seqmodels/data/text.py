"""Your own texts, one label each: files or a hub name, through HuggingFace `datasets`."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from seqmodels.data.inputs import TextPreprocessor
from seqmodels.data.module import SPLITS, SequenceDataModule, Split
from seqmodels.data.split import Examples
from seqmodels.errors import UserError, choices, one_line
from seqmodels.files import existing_file, lines_of

BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


class Text(SequenceDataModule):
    """Labelled texts. Parts that are not given are cut from `train`.

    Args:
        train, validation, test: files: CSV, TSV, JSON Lines or Parquet, by their ending.
        hub: a data set's name on the HuggingFace hub (or a folder in its form), instead of files.
        text_column, label_column: where the texts and labels are.
        columns: the names of the columns, for CSV and TSV files without a header.
        quoting: whether double quotes enclose fields; None means yes in CSV and no in TSV.
        encoding: of CSV and TSV files.
        tokenizer, lowercase, min_count, vocabulary_size: as in `train_tokenizer`.
        max_length, keep: as in `TextPreprocessor`.
        options: as in `SequenceDataModule`.
    """

    def __init__(
        self,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        *,
        hub: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        columns: list[str] | None = None,
        quoting: bool | None = None,
        encoding: str = "utf-8",
        tokenizer: str = "word",
        lowercase: bool = True,
        min_count: int = 1,
        vocabulary_size: int = 30_000,
        max_length: int | None = None,
        keep: str = "start",
        **options: Any,
    ) -> None:
        preprocessor = TextPreprocessor(
            tokenizer,
            lowercase=lowercase,
            min_count=min_count,
            vocabulary_size=vocabulary_size,
            max_length=max_length,
            keep=keep,
        )
        super().__init__(preprocessor, **options)
        self.files = {"train": train, "validation": validation, "test": test}
        self.hub = hub
        self.text_column, self.label_column = text_column, label_column
        self.columns, self.quoting, self.encoding = columns, quoting, encoding

    @property
    def title(self) -> str:
        return str(self.hub or Path(str(self.files["train"])).name)

    def read(self) -> Mapping[Split, Examples]:
        if (self.files["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file> or data.hub=<name>")
        if self.hub is not None:
            return self._read_hub(self.hub)
        parts: dict[Split, Examples] = {}
        for split in SPLITS:
            path = self.files[split]
            if path is not None:
                parts[split] = self._labelled(self._rows(path), path)
        return parts

    def read_file(self, path: str) -> Iterator[tuple[Any, str | None]]:
        """A file in one of the forms above, or plain text (`.txt`, `-`): a line, a text."""
        if path == "-" or Path(path).suffix == ".txt":
            for number, line in enumerate(lines_of(path, self.encoding), start=1):
                yield _text(line, path, number), None
            return
        for number, row in enumerate(self._rows(path), start=1):
            label = row.get(self.label_column)
            yield (
                _text(self._cell(row, self.text_column, path), path, number),
                None if label is None else str(label),
            )

    def _read_hub(self, name: str) -> dict[Split, Examples]:
        import datasets  # slow to import

        try:
            loaded = datasets.load_dataset(name)
        except Exception as error:  # network, name, format: the library raises many kinds
            raise UserError(f"data.hub={name}: {one_line(error)}") from error
        if "train" not in loaded:
            raise UserError(f"data.hub={name} has no train part, only {', '.join(loaded)}")
        parts: dict[Split, Examples] = {}
        for split in SPLITS:
            if split in loaded:
                part = loaded[split]
                feature = part.features.get(self.label_column)
                if isinstance(feature, datasets.ClassLabel):  # integers that stand for names
                    part = part.map(
                        lambda row, names=feature: {
                            self.label_column: names.int2str(row[self.label_column])
                        },
                        features=datasets.Features(
                            {**part.features, self.label_column: datasets.Value("string")}
                        ),
                    )
                parts[split] = self._labelled(part, f"{name} {split}")
        return parts

    def _rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The rows of one file, read as they are needed."""
        import datasets  # slow to import

        suffix = Path(path).suffix.lower()
        if suffix not in BUILDERS:
            raise UserError(
                f"{path}: the ending {suffix!r} is unknown: {choices(suffix, BUILDERS)}"
            )
        options: dict[str, Any] = {}
        if BUILDERS[suffix] == "csv":
            quoting = self.quoting if self.quoting is not None else suffix == ".csv"
            options = {
                "sep": "\t" if suffix == ".tsv" else ",",
                "quoting": csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
                "encoding": self.encoding,
                "na_filter": False,  # the text "None" is a text
                "skip_blank_lines": False,  # an empty text is reported, not skipped
                # numbers stay as they are written, so that label 007 is not 7
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
            except Exception as error:  # the parsers below raise many kinds
                cause = error.__cause__ or error
                advice = "; set data.encoding" if isinstance(cause, UnicodeError) else ""
                raise UserError(f"{path} cannot be read: {one_line(cause)}{advice}") from error

    def _labelled(self, rows: Iterable[Mapping[str, Any]], source: str) -> Examples:
        texts, labels = [], []
        for number, row in enumerate(rows, start=1):
            texts.append(_text(self._cell(row, self.text_column, source), source, number))
            label = self._cell(row, self.label_column, source)
            if label is None or label == "":
                raise UserError(f"{source}: row {number} has no label")
            labels.append(str(label))
        return Examples(texts, labels, source)

    def _cell(self, row: Mapping[str, Any], column: str, source: str) -> Any:
        if column not in row:
            key = "text_column" if column == self.text_column else "label_column"
            raise UserError(
                f"{source} has no column {column!r}: set data.{key}, or data.columns where the "
                f"file has no header; {choices(column, [str(name) for name in row])}"
            )
        return row[column]


def _text(value: Any, source: str, number: int) -> str:
    text = "" if value is None else str(value)
    if not text.strip():
        raise UserError(f"{source}: the text of row {number} is empty; remove the row or fill it")
    return text
