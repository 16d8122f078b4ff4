"""Text for a language model: yours, from files or the HuggingFace hub, and the source of Python."""

from __future__ import annotations

import glob
import platform
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from seqmodels.arguments import Name
from seqmodels.data.columns import texts_of
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.sources import hub_files, library_files
from seqmodels.data.tables import Tables
from seqmodels.errors import UserError
from seqmodels.tasks.language_model.corpus import Texts
from seqmodels.tasks.language_model.streams import StreamDataModule


class PlainText(StreamDataModule):
    """Plain text in UTF-8, or the texts of tables, read as one long stream per split. Splits
    without files are cut from `train`.

    Args:
        train, validation, test: a file, a pattern such as `books/**/*.txt`, or a list of them. `*`,
            `?` and `**` are the wildcards of a pattern; brackets are part of a name.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        text_column: the column with the texts, to read the files as tables, one text after the
            other: each ends its line, and line ends inside of it stay. None reads files as plain
            text, and the column `text` of a hub data set.
        columns, quoting, encoding, separator: how to read tables; see `Tables`.
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    def __init__(
        self,
        train: Name | list[Name] | None = None,
        validation: Name | list[Name] | None = None,
        test: Name | list[Name] | None = None,
        *,
        hub: Name | None = None,
        text_column: Name | None = None,
        columns: list[Name] | None = Tables.columns,
        quoting: bool | None = Tables.quoting,
        encoding: Name = Tables.encoding,
        separator: Name | None = Tables.separator,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.tables = Tables(
            columns=columns, quoting=quoting, encoding=encoding, separator=separator
        )
        self.text_column = text_column or (None if hub is None else "text")
        self.files, self.hub = {"train": train, "validation": validation, "test": test}, hub

    @property
    def title(self) -> str:
        if self.hub is not None:
            return self.hub
        first = self.files["train"]
        return Path(first).name if isinstance(first, str) else ", ".join(first or [])

    def read(self) -> Mapping[Split, Texts]:
        if (self.files["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file or glob> or data.hub=<name>")
        if self.hub is not None:
            return {split: [self.text(path)] for split, path in hub_files(self.hub).items()}
        given = {split: path for split in SPLITS if (path := self.files[split]) is not None}
        return {split: [*map(self.text, _found(path))] for split, path in given.items()}

    def text(self, path: str) -> memoryview:
        if self.text_column is None:
            return super().text(path)
        table, texts = self.tables.read(path, [self.text_column]), bytearray()
        table.check(self.text_column, "data.text_column")
        read = map(texts_of, table.table[self.text_column].chunks)
        for row, text in enumerate(chain.from_iterable(read)):
            if not isinstance(text, str):
                raise UserError(f"{table.where(row)} has no text; remove the row or fill it")
            texts += f"{text.removesuffix(chr(10))}\n".encode()
        return memoryview(texts)


class PythonSource(StreamDataModule):
    """The modules of the running Python's standard library, without its tests, split by file.

    Args:
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    @property
    def title(self) -> str:
        return f"source of Python {platform.python_version()}"

    def read(self) -> Mapping[Split, Texts]:
        texts = (self.text(str(path)) for path in library_files())
        return {"train": [text for text in texts if len(text)]}


def _found(names: str | list[str]) -> Iterator[str]:
    for name in [names] if isinstance(names, str) else names:
        if Path(name).exists() or not ("*" in name or "?" in name):
            yield name
            continue
        pattern = name.replace("[", "[[]")  # brackets are part of a name
        found = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207
        if not found:
            raise UserError(f"{name}: no file matches")
        yield from found
