"""Text for a language model: yours, from files or the HuggingFace hub, and the source of Python."""

from __future__ import annotations

import glob
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqmodels.arguments import Name
from seqmodels.cache import cached
from seqmodels.data.file_pieces import Piece, Pieces, fingerprint, whole
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.sources import find_hub, library_files
from seqmodels.data.tables import TABLES
from seqmodels.data.text_files import TextFiles
from seqmodels.errors import UserError
from seqmodels.tasks.language_model.streams import StreamDataModule

log = logging.getLogger(__name__)

FORMAT = 1  # of the cached files


class PlainText(StreamDataModule):
    """Plain text, or the texts of tables, read as one long stream per split. Splits without files
    are cut from `train`.

    Args:
        train, validation, test: a file, a pattern such as `books/**/*.txt`, or a list of them. `*`,
            `?` and `**` are the wildcards of a pattern; brackets are part of a name.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        hub_config: the configuration of the hub data set, if it has several.
        text_column: the column with the texts, to read the files as tables, as `TextFiles` does,
            one text after the other: each ends its line, and line ends inside of it stay. None
            reads files as plain text, and the column `text` of a hub data set.
        columns, quoting: how to read tables; see `TextFiles`.
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    def __init__(
        self,
        train: Name | list[Name] | None = None,
        validation: Name | list[Name] | None = None,
        test: Name | list[Name] | None = None,
        *,
        hub: Name | None = None,
        hub_config: Name | None = None,
        text_column: Name | None = None,
        columns: list[Name] | None = TextFiles.columns,
        quoting: bool | None = TextFiles.quoting,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        column = text_column or (None if hub is None else TextFiles.text_column)
        self.tables: TextFiles | None = None
        if column is not None:
            self.tables = TextFiles(
                text_column=column, columns=columns, quoting=quoting, encoding=self.encoding
            )
            self.encoding = "utf-8"  # of the files in the cache
        elif columns is not None or quoting is not None:
            raise UserError("data.columns and data.quoting are for tables: set data.text_column")
        self.files = {"train": train, "validation": validation, "test": test}
        self.hub, self.hub_config = hub, hub_config

    @property
    def title(self) -> str:
        if self.hub is not None:
            return self.hub
        first = self.files["train"]
        return Path(first).name if isinstance(first, str) else ", ".join(first or [])

    def read(self) -> Mapping[Split, Pieces]:
        if (self.files["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file or glob> or data.hub=<name>")
        if self.hub is not None:
            files, _ = find_hub(self.hub, self.hub_config)
            return {split: [self._texts(paths)] for split, paths in files.items()}
        given = {split: path for split in SPLITS if (path := self.files[split]) is not None}
        return {split: [*map(self.piece, _found(path))] for split, path in given.items()}

    def piece(self, path: str) -> Piece:
        if self.tables is not None:
            return self._texts([path])
        piece = super().piece(path)
        if piece.path.suffix.lower() in TABLES:
            log.warning(
                f"{path} is read as plain text: to read one column of it, set data.text_column"
            )
        return piece

    def _texts(self, paths: Sequence[str]) -> Piece:
        """The texts of tables as a file in the cache, one per line."""
        assert self.tables is not None
        tables, given = self.tables, [whole(Path(path)) for path in paths]
        endings = [piece.path.suffix for piece in given]

        def write(folder: Path) -> None:
            with (folder / "text.txt").open("w", encoding="utf-8", newline="") as file:
                for path in paths:
                    for text in tables.texts(path):
                        file.write(text if text.endswith("\n") else f"{text}\n")

        recipe = [FORMAT, fingerprint({"files": given}), endings, sorted(asdict(tables).items())]
        return whole(cached("texts", recipe, write) / "text.txt")


class PythonSource(StreamDataModule):
    """The modules of the running Python's standard library, without its tests, split by file.

    Args:
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    @property
    def title(self) -> str:
        return f"source of Python {platform.python_version()}"

    def read(self) -> Mapping[Split, Pieces]:
        return {"train": [piece for piece in map(whole, library_files()) if len(piece)]}


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
