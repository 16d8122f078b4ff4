"""Your own labelled texts, from files or the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from seqmodels.data.hub import find_hub
from seqmodels.data.inputs import Tokens
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.split import Examples
from seqmodels.data.text_files import TextFiles
from seqmodels.data.tokenizer import Level, TokenizerOptions, VocabularySize
from seqmodels.errors import UserError
from seqmodels.signatures.ranges import Count, Name, OneOf


class Text(SequenceDataModule):
    """Labelled texts. Splits without a file are cut from `train`.

    Args:
        train, validation, test: a CSV, TSV, JSON Lines or Parquet file each, by its ending.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        text_column, label_column, columns, quoting, encoding: of the files, as in `TextFiles`.
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
        columns: list[Name] | None = TextFiles.columns,
        quoting: bool | None = TextFiles.quoting,
        encoding: Name = TextFiles.encoding,
        tokenizer: Level = TokenizerOptions.level,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        max_length: Count | None = None,
        keep: Annotated[str, OneOf("start", "end")] = "start",
        vectors: Name | None = None,
        vocabulary: Annotated[str, OneOf("train", "vectors")] = "train",
        **options: Any,
    ) -> None:
        how = TokenizerOptions(tokenizer, lowercase, min_count, vocabulary_size)
        inputs = Tokens(
            how, max_length=max_length, keep=keep, vectors=vectors, vocabulary=vocabulary
        )
        super().__init__(inputs, **options)
        self.paths = {"train": train, "validation": validation, "test": test}
        self.hub = hub
        self.files = TextFiles(text_column, label_column, columns, quoting, encoding)

    @property
    def title(self) -> str:
        return str(self.hub or Path(str(self.paths["train"])).name)

    def read(self) -> Mapping[Split, Examples]:
        if (self.paths["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file> or data.hub=<name>")
        if self.hub is not None:
            found = find_hub(self.hub)
            return {
                split: self._examples(paths, f"{self.hub} {split}", found.classes)
                for split, paths in found.files.items()
            }
        given = {split: path for split in SPLITS if (path := self.paths[split]) is not None}
        return {split: self._examples([path], path) for split, path in given.items()}

    def read_file(self, path: str) -> Iterator[tuple[str, str | None]]:
        return self.files.pairs(path)

    def _examples(
        self, paths: Sequence[str], source: str, classes: Mapping[str, Sequence[str]] | None = None
    ) -> Examples:
        pairs = (self.files.pairs(path, labelled=True, classes=classes or {}) for path in paths)
        examples = Examples.of(chain.from_iterable(pairs), source)
        if not len(examples):
            raise UserError(f"{source} has no rows")
        return examples
