"""Your own labelled texts, from files or the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seqmodels.data.inputs import Tokens
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.split import Examples
from seqmodels.data.text_files import TextFiles
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.errors import UserError, one_line


class Text(SequenceDataModule):
    """Labelled texts. Splits without a file are cut from `train`.

    Args:
        train, validation, test: a CSV, TSV, JSON Lines or Parquet file each, by its ending.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        text_column: the column with the texts.
        label_column: the column with the labels.
        columns: the names of the columns, for CSV and TSV files without a header.
        quoting: whether double quotes enclose fields; None means yes in CSV and no in TSV.
        encoding: of CSV, TSV and plain text files.
        tokenizer: `word`, `space`, `char`, `byte` or `bpe`.
        lowercase: whether to lowercase texts first.
        min_count: rarer words and characters become the unknown token; rarer pairs are not merged.
        vocabulary_size: the largest number of tokens.
        max_length: the largest number of tokens a text may keep; None keeps all.
        keep: which end of a longer text to keep, `start` or `end`.
        options: `targets`, `batch_size` and the other arguments of `SequenceDataModule`.
    """

    def __init__(
        self,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        *,
        hub: str | None = None,
        text_column: str = TextFiles.text_column,
        label_column: str = TextFiles.label_column,
        columns: list[str] | None = TextFiles.columns,
        quoting: bool | None = TextFiles.quoting,
        encoding: str = TextFiles.encoding,
        tokenizer: str = TokenizerOptions.level,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: int = TokenizerOptions.min_count,
        vocabulary_size: int = TokenizerOptions.vocabulary_size,
        max_length: int | None = None,
        keep: str = "start",
        **options: Any,
    ) -> None:
        how = TokenizerOptions(tokenizer, lowercase, min_count, vocabulary_size)
        super().__init__(Tokens(how, max_length=max_length, keep=keep), **options)
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
            return self._read_hub(self.hub)
        return {
            split: self.files.labelled(self.files.rows(path), path)
            for split in SPLITS
            if (path := self.paths[split]) is not None
        }

    def read_file(self, path: str) -> Iterator[tuple[str, str | None]]:
        return self.files.pairs(path)

    def _read_hub(self, name: str) -> dict[Split, Examples]:
        import datasets  # slow to import

        try:
            loaded = datasets.load_dataset(name)
        except Exception as error:  # network, name, format: the library raises many kinds
            raise UserError(f"data.hub={name}: {one_line(error)}") from error
        if "train" not in loaded:
            raise UserError(f"data.hub={name} has no train split, only {', '.join(loaded)}")
        label_column = self.files.label_column
        examples: dict[Split, Examples] = {}
        for split in SPLITS:
            if split in loaded:
                rows = loaded[split]
                feature = rows.features.get(label_column)
                if isinstance(feature, datasets.ClassLabel):  # numbers, with names in the feature
                    rows = rows.map(
                        lambda row, names=feature: {label_column: names.int2str(row[label_column])},
                        features=datasets.Features(
                            {**rows.features, label_column: datasets.Value("string")}
                        ),
                    )
                examples[split] = self.files.labelled(rows, f"{name} {split}")
        return examples
