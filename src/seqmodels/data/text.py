"""Your own texts with labels or numbers, from files or the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from seqmodels.arguments import Count, Name, Passed
from seqmodels.data.columns import LARGE, Column, stored
from seqmodels.data.examples import Examples
from seqmodels.data.file_pieces import fingerprint, size, whole
from seqmodels.data.in_memory import InMemory
from seqmodels.data.notes import kept_quotes
from seqmodels.data.sources import Names, OwnFiles
from seqmodels.data.tables import check_ending
from seqmodels.data.targets import Values
from seqmodels.data.text_files import TextFiles
from seqmodels.data.token_inputs import Keep, Tokens, VocabularyOf
from seqmodels.data.tokenizer import Level, TokenizerOptions, VocabularySize
from seqmodels.errors import UserError
from seqmodels.screen import show_progress

FORMAT = 2  # of the cached files


class Text(OwnFiles):
    """Texts with labels or numbers. Splits without a file are cut from `train`.

    Args:
        train, validation, test: a CSV, TSV, JSON Lines or Parquet file each, by its ending.
        text_column, label_column, value_columns, columns, quoting, encoding: of the files; see
            `TextFiles`.
        tokenizer, lowercase, min_count, vocabulary_size: see `TokenizerOptions`; `tokenizer` is its
            `level`.
        max_length, keep: the most tokens of a text, and which end of a longer one to keep.
        vectors, vocabulary, characters: of words; `Tokens` documents them.
        options: `hub`, `targets`, `batch_size` and the other arguments of `OwnFiles`.
    """

    def __init__(
        self,
        *files: Any,
        text_column: Name = TextFiles.text_column,
        label_column: Name = TextFiles.label_column,
        value_columns: Annotated[list[Name], Field(min_length=1)] | None = None,
        columns: list[Name] | None = TextFiles.columns,
        quoting: bool | None = TextFiles.quoting,
        encoding: Name = TextFiles.encoding,
        tokenizer: Level = TokenizerOptions.level,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        max_length: Count | None = None,
        keep: Keep = "start",
        vectors: Name | None = None,
        vocabulary: VocabularyOf = "train",
        characters: bool = False,
        **options: Annotated[Any, Passed("inputs")],
    ) -> None:
        how = TokenizerOptions(tokenizer, lowercase, min_count, vocabulary_size)
        inputs = Tokens(
            how,
            max_length=max_length,
            keep=keep,
            vectors=vectors,
            vocabulary=vocabulary,
            characters=characters,
        )
        if value_columns is not None:
            options["targets"] = Values(value_columns)
        super().__init__(*files, inputs=inputs, **options)
        self.files = TextFiles(
            text_column=text_column,
            label_column=label_column,
            value_columns=tuple(value_columns or ()),
            columns=columns,
            quoting=quoting,
            encoding=encoding,
        )

    @property
    def notes(self) -> Sequence[str]:
        return [*super().notes, *kept_quotes(self.examples.values(), self.files.quoting)]

    def read_file(self, path: str) -> Iterator[tuple[str, Any]]:
        return self.files.pairs(path)

    def read_files(self, paths: Sequence[str], source: str, names: Names | None) -> Examples:
        for path in paths:
            check_ending(path)
        given = [whole(Path(path)) for path in paths if not isinstance(path, InMemory)]
        recipe = None
        if size(given) >= LARGE:  # kept in the cache
            endings = [piece.path.suffix for piece in given]
            content = fingerprint({"files": given})
            recipe = [FORMAT, content, endings, sorted(asdict(self.files).items()), names]

        def batches() -> Iterator[pa.RecordBatch]:
            batch = None
            with show_progress(f"reading {source}", size(given)) as advance:
                for path in paths:
                    for batch in self.files.batches(path, names or {}):
                        yield batch
                        advance(batch.nbytes)
            for piece in given:
                piece.check_unchanged()
            if batch is None:
                raise UserError(f"{source} has no rows")

        table = stored("tables", recipe, batches)
        texts, targets = (Column(column, key=recipe) for column in table.columns)
        return Examples(texts, targets, source)
