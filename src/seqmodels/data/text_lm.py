"""Your own plain text for a language model: files, globs, or a hub name."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqmodels.data.corpus import Part, whole
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.streams import StreamDataModule
from seqmodels.errors import UserError, choices, one_line
from seqmodels.files import cache_folder, existing_file


class PlainText(StreamDataModule):
    """Plain text, read as one long stream a part. Parts that are not given are cut from `train`.

    Args:
        train, validation, test: files or globs (`books/**/*.txt`), one or a list.
        hub: a data set's name on the HuggingFace hub (or a folder in its form), instead of files.
        hub_config: which of its configurations, where it has several.
        text_column: where the texts of a hub data set are.
        options: as in `StreamDataModule`.
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

    def read(self) -> Mapping[Split, Part]:
        if (self.files["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file or glob> or data.hub=<name>")
        if self.hub is not None:
            return self._read_hub(self.hub)
        given = {split: files for split in SPLITS if (files := self.files[split]) is not None}
        return {split: [whole(Path(path)) for path in _found(f)] for split, f in given.items()}

    def _read_hub(self, name: str) -> dict[Split, Part]:
        """The data set's texts as files, a text a line, in the user's cache."""
        import datasets  # slow to import

        try:
            loaded = datasets.load_dataset(name, self.hub_config)
        except Exception as error:  # network, name, format: the library raises many kinds
            raise UserError(f"data.hub={name}: {one_line(error)}") from error
        if "train" not in loaded:
            raise UserError(f"data.hub={name} has no train part, only {', '.join(loaded)}")
        parts: dict[Split, Part] = {}
        for split in SPLITS:
            if split not in loaded:
                continue
            rows = loaded[split]
            if self.text_column not in rows.column_names:
                raise UserError(
                    f"data.hub={name} has no column {self.text_column!r}: set data.text_column; "
                    f"{choices(self.text_column, rows.column_names)}"
                )
            parts[split] = [whole(self._as_file(rows))]
        return parts

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


def _found(names: str | list[str]) -> list[str]:
    paths: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        if not glob.has_magic(name):
            paths.append(existing_file(name))
            continue
        found = glob.glob(name, recursive=True)  # noqa: PTH207 (a Path would have to be cut up)
        matches = sorted(path for path in found if Path(path).is_file())
        if not matches:
            raise UserError(f"{name}: no file matches")
        paths.extend(matches)
    return paths
