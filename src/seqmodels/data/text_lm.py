"""Your own plain text for a language model, from files or the HuggingFace hub."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seqmodels.data.module import SPLITS, Split
from seqmodels.data.pieces import Piece, Pieces, whole
from seqmodels.data.streams import StreamDataModule
from seqmodels.data.text_files import load_hub
from seqmodels.errors import UserError, choices
from seqmodels.files import cache_folder, existing_file


class PlainText(StreamDataModule):
    """Plain text, read as one long stream per split. Splits without files are cut from `train`.

    Args:
        train, validation, test: a file or a glob such as `books/**/*.txt`, or a list of them.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        hub_config: the configuration of the hub data set, if it has several.
        text_column: the column of the hub data set with the texts.
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    def __init__(
        self,
        train: str | list[str] | None = None,
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        *,
        hub: str | None = None,
        hub_config: str | None = None,
        text_column: str = "text",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.files = {"train": train, "validation": validation, "test": test}
        self.hub, self.hub_config, self.text_column = hub, hub_config, text_column

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
            return self._read_hub(self.hub)
        given = {split: files for split in SPLITS if (files := self.files[split]) is not None}
        return {split: [*_found(files)] for split, files in given.items()}

    def _read_hub(self, name: str) -> dict[Split, Pieces]:
        # as files in the cache, one text per line
        loaded = load_hub(name, self.hub_config)
        for rows in loaded.values():
            if self.text_column not in rows.column_names:
                raise UserError(
                    f"data.hub={name} has no column {self.text_column!r}: set data.text_column; "
                    f"{choices(self.text_column, rows.column_names)}"
                )
        return {split: [whole(self._as_file(rows))] for split, rows in loaded.items()}

    def _as_file(self, rows: Any) -> Path:
        key = hashlib.blake2b(f"{rows._fingerprint} {self.text_column}".encode(), digest_size=8)
        path = cache_folder("hub") / f"{key.hexdigest()}.txt"
        if not path.is_file():
            partial = path.with_suffix(f".{os.getpid()}")
            with partial.open("w", encoding=self.encoding, newline="") as file:
                for text in rows[self.text_column]:
                    file.write(text if text.endswith("\n") else f"{text}\n")
            partial.replace(path)
        return path


def _found(names: str | list[str]) -> Iterator[Piece]:
    for name in [names] if isinstance(names, str) else names:
        paths = [name]
        if glob.has_magic(name):
            found = glob.glob(name, recursive=True)  # noqa: PTH207 (Path.glob wants the folder apart)
            paths = sorted(path for path in found if Path(path).is_file())
            if not paths:
                raise UserError(f"{name}: no file matches")
        yield from (whole(Path(existing_file(path))) for path in paths)
