"""Your own texts with labels or numbers, from files or the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from seqmodels.arguments import Count, Name, Passed
from seqmodels.data.arrays import LARGE, Append, arrays
from seqmodels.data.inputs import Tokens
from seqmodels.data.module import Split
from seqmodels.data.notes import kept_quotes
from seqmodels.data.own_files import read_splits, title
from seqmodels.data.pieces import fingerprint, size, whole
from seqmodels.data.rows import Labels, Numbered, Texts
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.split import Examples
from seqmodels.data.targets import Values
from seqmodels.data.text_files import TextFiles, check_ending
from seqmodels.data.token_inputs import Keep, VocabularyOf
from seqmodels.data.tokenizer import Level, TokenizerOptions, VocabularySize
from seqmodels.errors import UserError
from seqmodels.working import working

FORMAT = 1  # of the cached files


class Text(SequenceDataModule):
    """Texts with labels or numbers. Splits without a file are cut from `train`.

    Args:
        train, validation, test: a CSV, TSV, JSON Lines or Parquet file each, by its ending.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        text_column, label_column, value_columns, columns, quoting, encoding: of the files, as in
            `TextFiles`.
        tokenizer, lowercase, min_count, vocabulary_size: as in `TokenizerOptions`; `tokenizer` is
            its `level`.
        max_length, keep: how to truncate texts, as in `Tokens`.
        vectors, vocabulary: pre-trained vectors of words, as in `Tokens`.
        options: `targets`, `batch_size` and the other arguments of `SequenceDataModule`.
    """

    def __init__(
        self,
        train: Name | None = None,
        validation: Name | None = None,
        test: Name | None = None,
        *,
        hub: Name | None = None,
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
        **options: Annotated[Any, Passed("inputs")],
    ) -> None:
        how = TokenizerOptions(tokenizer, lowercase, min_count, vocabulary_size)
        inputs = Tokens(
            how, max_length=max_length, keep=keep, vectors=vectors, vocabulary=vocabulary
        )
        if value_columns is not None:
            options["targets"] = Values(value_columns)
        super().__init__(inputs, **options)
        self.paths = {"train": train, "validation": validation, "test": test}
        self.hub = hub
        self.files = TextFiles(
            text_column, label_column, columns, quoting, encoding, tuple(value_columns or ())
        )

    @property
    def title(self) -> str:
        return title(self.paths, self.hub, "data=text")

    @property
    def notes(self) -> Sequence[str]:
        return [*super().notes, *kept_quotes(self.examples.values(), self.files.quoting)]

    def read(self) -> Mapping[Split, Examples]:
        return read_splits(self.paths, self.hub, self._examples)

    def read_file(self, path: str) -> Iterator[tuple[str, str | None]]:
        return self.files.pairs(path)

    def _examples(
        self, paths: Sequence[str], source: str, classes: Mapping[str, Sequence[str]] | None
    ) -> Examples:
        for path in paths:
            check_ending(path)
        given = [whole(Path(path)) for path in paths]
        on_disk = size(given) >= LARGE
        recipe = None
        if on_disk:
            endings = [piece.path.suffix for piece in given]
            content = fingerprint({"files": given})
            recipe = [FORMAT, content, endings, sorted(asdict(self.files).items()), classes]

        def fill(append: Append) -> None:
            names, end = Numbered[str](), 0
            append("ends", np.zeros(1, np.int64))
            with working(f"reading {source}", size(given)) as advance:
                for piece in given:
                    for texts, labels in self.files.blocks(str(piece.path), classes or {}):
                        content = [text.encode() for text in texts]
                        lengths = np.fromiter(map(len, content), np.int64, len(content))
                        append("texts", np.frombuffer(b"".join(content), np.uint8))
                        append("ends", end + np.cumsum(lengths))
                        append("numbers", names.of(labels, len(labels)))
                        end += int(lengths.sum())
                        advance(int(lengths.sum()))
                    piece.check_unchanged()
            if not end:
                raise UserError(f"{source} has no rows")
            named = [name.encode() for name in names]
            append("names", np.frombuffer(b"".join(named), np.uint8))
            append("name_ends", np.cumsum([0, *map(len, named)]))

        found = arrays("tables", recipe, fill, on_disk=on_disk)
        texts = Texts(found["texts"], found["ends"], key=recipe)
        names = Texts(found["names"], found["name_ends"])
        return Examples(texts, Labels(names, found["numbers"], key=recipe), source)
