"""Your own pairs of texts, from files or the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from seqmodels.arguments import Name
from seqmodels.data.module import Split
from seqmodels.data.notes import kept_quotes
from seqmodels.data.own_files import read_splits, title
from seqmodels.data.split import Examples
from seqmodels.data.text_files import PairFiles
from seqmodels.tasks.seq2seq.pair_module import PairDataModule


class Pairs(PairDataModule):
    """Pairs of texts from files. Splits without a file are cut from `train`, by source.

    Args:
        train, validation, test: a CSV, TSV, JSON Lines or Parquet file each, by its ending. Several
            rows with the same source give it several targets.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        source_column, target_column, columns, quoting, encoding: of the files, as in `PairFiles`.
        options: `source_tokenizer` and the other arguments of `PairDataModule`.
    """

    def __init__(
        self,
        train: Name | None = None,
        validation: Name | None = None,
        test: Name | None = None,
        *,
        hub: Name | None = None,
        source_column: Name = PairFiles.source_column,
        target_column: Name = PairFiles.target_column,
        columns: list[Name] | None = PairFiles.columns,
        quoting: bool | None = PairFiles.quoting,
        encoding: Name = PairFiles.encoding,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.paths = {"train": train, "validation": validation, "test": test}
        self.hub = hub
        self.files = PairFiles(
            source_column=source_column,
            target_column=target_column,
            columns=columns,
            quoting=quoting,
            encoding=encoding,
        )

    @property
    def title(self) -> str:
        return title(self.paths, self.hub, "data=pairs")

    @property
    def notes(self) -> Sequence[str]:
        return [*super().notes, *kept_quotes(self.examples.values(), self.files.quoting)]

    def read(self) -> Mapping[Split, Examples]:
        def examples(paths: Sequence[str], source: str, classes: object) -> Examples:
            return self.examples_of(chain.from_iterable(map(self.files.pairs, paths)), source)

        return read_splits(self.paths, self.hub, examples)
