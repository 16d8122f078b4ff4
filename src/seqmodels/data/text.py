"""Your own texts with labels or numbers, from tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from seqmodels.arguments import Count, Name
from seqmodels.data.columns import Names
from seqmodels.data.examples import InputRow
from seqmodels.data.gaps import check_na_values
from seqmodels.data.sources import OwnFiles
from seqmodels.data.targets import Classes, Values
from seqmodels.data.tokenizer import Level, TokenizerOptions, VocabularySize
from seqmodels.data.tokens import Tokens, VocabularyOf
from seqmodels.errors import shown

# In a table with fewer rows, any label may stand only once.
FEW = 20


class Text(OwnFiles):
    """Texts with labels or numbers. Splits without a file are cut from `train`.

    Args:
        train, validation, test: a CSV, TSV, JSON Lines or Parquet file each, by its ending.
        text_column: the column with the texts.
        label_column: the column with the labels.
        value_columns: columns with numbers to take instead of labels.
        weight_column: the column that says how much a row counts in the loss.
        tokenizer, lowercase, min_count, vocabulary_size: see `TokenizerOptions`; `tokenizer` is its
            `level`.
        max_length: truncate longer texts to this many tokens.
        vectors, vocabulary: of words; `Tokens` documents them.
        options: `hub`, `group`, `targets`, `batch_size` and the other arguments of `OwnFiles`.
    """

    def __init__(
        self,
        *files: Any,
        text_column: Name = "text",
        label_column: Name = "label",
        value_columns: Annotated[list[Name], Field(min_length=1)] | None = None,
        weight_column: Name | None = None,
        tokenizer: Level = TokenizerOptions.level,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        max_length: Count | None = None,
        vectors: Name | None = None,
        vocabulary: VocabularyOf = "train",
        **options: Any,
    ) -> None:
        tokenizer_options = TokenizerOptions(tokenizer, lowercase, min_count, vocabulary_size)
        inputs = Tokens(
            tokenizer_options, max_length=max_length, vectors=vectors, vocabulary=vocabulary
        )
        if value_columns is not None:
            options["targets"] = Values(value_columns)
        super().__init__(*files, inputs=inputs, **options)
        self.text_column = text_column
        self.label_column = label_column
        if value_columns is None and isinstance(self.targets, Classes):
            self.targets.column = label_column
        self.value_columns = value_columns
        if weight_column:
            self.roles = {**self.roles, "weight": weight_column}

    def read_file(self, path: str) -> Iterator[tuple[Any, ...]]:
        target_columns = self.value_columns or [self.label_column]
        columns = [self.text_column, *target_columns, *self.roles.values()]
        numeric_columns = {self.roles.get("weight", "")}
        if self.value_columns:
            numeric_columns.update(self.value_columns)
        columns_of_texts = set(columns) - numeric_columns
        table = self.tables.read(path, columns, columns_of_texts)
        check_na_values(self.tables.na_values, table.file_columns, table.path)
        texts = table.filled(self.text_column, "data.text_column", raw=True).texts
        if self.value_columns:
            values = [table.numbers(name, "data.value_columns") for name in self.value_columns]
            targets = np.stack(values, axis=1)  # (N, value columns)
        else:
            labels = table.filled(self.label_column, "data.label_column")
            targets = labels.texts  # (N,)
            if self.tables.columns and table.path.endswith((".csv", ".tsv")):
                self._note(lonely_first_label(labels, table.path))
        return table.rows(self.roles, texts, targets.tolist())

    def read_inputs(self, path: str) -> Iterator[str]:
        return (row.raw for row in self.read_rows(path))

    def read_rows(self, path: str) -> Iterator[InputRow]:
        return self.tables.text_rows(path, self.text_column, "data.text_column", self.roles)


def lonely_first_label(labels: Names, path: str) -> str:
    """A note that the first line of a file may name the columns, because no other row has its
    label; empty if another row has it."""
    if len(labels.codes) < FEW or (labels.codes == labels.codes[0]).sum() > 1:
        return ""
    return (
        f"{path}: no other row has the label of the first, {shown(repr(labels.texts[0]))}: if that "
        "line names the columns, remove it, or leave data.columns out"
    )
