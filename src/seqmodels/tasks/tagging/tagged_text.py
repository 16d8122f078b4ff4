"""Your own texts with a tag for each word, from files or the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from seqmodels.arguments import Count, Name, Passed
from seqmodels.data.sources import OwnFiles
from seqmodels.data.tokenizer import TokenizerOptions, VocabularySize
from seqmodels.data.tokens import VocabularyOf, Words
from seqmodels.tasks.tagging.tag_files import TagFiles
from seqmodels.tasks.tagging.tags import Tags


class TaggedText(OwnFiles):
    """Texts whose words have a tag each. Splits without a file are cut from `train`.

    Args:
        train, validation, test: a column file each, or by its ending JSON Lines or Parquet; see
            `TagFiles`.
        token_column, tag_column, columns, separator, comment, encoding: of the files, as in
            `TagFiles`.
        lowercase, min_count, vocabulary_size, vectors, vocabulary, characters: see `Words`.
        options: `hub`, `batch_size` and the other arguments of `OwnFiles`.
    """

    def __init__(
        self,
        *files: Any,
        token_column: Name | None = TagFiles.token_column,
        tag_column: Name | None = TagFiles.tag_column,
        columns: list[Name] | None = TagFiles.columns,
        separator: Name | None = TagFiles.separator,
        comment: Name | None = TagFiles.comment,
        encoding: Name = TagFiles.encoding,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        vectors: Name | None = None,
        vocabulary: VocabularyOf = "train",
        characters: bool = False,
        **options: Annotated[Any, Passed("inputs", "targets")],
    ) -> None:
        words = Words(
            lowercase=lowercase,
            min_count=min_count,
            vocabulary_size=vocabulary_size,
            vectors=vectors,
            vocabulary=vocabulary,
            characters=characters,
        )
        super().__init__(*files, inputs=words, targets=Tags(), **options)
        self.files = TagFiles(token_column, tag_column, columns, separator, comment, encoding)
        self.width = None if columns is None else len(columns)  # of column files

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "columns": self.width}

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        super().use_spec(spec)
        self.width = spec["columns"]

    def read_file(self, path: str) -> Iterator[tuple[list[str], list[str]]]:
        self.width = self.width or self.files.width(path)
        return self.files.tagged(path)

    def read_inputs(self, path: str) -> Iterator[list[str]]:
        return self.files.words(path, self.width, self.classes)
