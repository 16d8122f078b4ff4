"""Your own plain text for a language model, from files or the HuggingFace hub."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqmodels.cache import cached
from seqmodels.data.hub import find_hub
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.pieces import Piece, Pieces, fingerprint, whole
from seqmodels.data.streams import StreamDataModule
from seqmodels.data.text_files import TextFiles
from seqmodels.errors import UserError
from seqmodels.signatures.ranges import Name

FORMAT = 1  # of the cached files


class PlainText(StreamDataModule):
    """Plain text, read as one long stream per split. Splits without files are cut from `train`.

    Args:
        train, validation, test: a file, a pattern such as `books/**/*.txt`, or a list of them. `*`,
            `?` and `**` are the wildcards of a pattern; brackets are part of a name.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        hub_config: the configuration of the hub data set, if it has several.
        text_column: the column of the hub data set with the texts.
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
        text_column: Name = "text",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.hub_files = TextFiles(text_column, encoding=self.encoding)
        if hub is not None:
            self.encoding = "utf-8"  # of the files in the cache
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
            return self._read_hub(self.hub)
        given = {split: files for split in SPLITS if (files := self.files[split]) is not None}
        return {split: [*_found(files)] for split, files in given.items()}

    def _read_hub(self, name: str) -> dict[Split, Pieces]:
        # as files in the cache, one text per line
        found = find_hub(name, self.hub_config)
        return {split: [whole(self._as_file(paths))] for split, paths in found.files.items()}

    def _as_file(self, paths: Sequence[str]) -> Path:
        given = [whole(Path(path)) for path in paths]
        endings = [piece.path.suffix for piece in given]

        def write(folder: Path) -> None:
            with (folder / "text.txt").open("w", encoding="utf-8", newline="") as file:
                for path in paths:
                    for text in self.hub_files.texts(path):
                        file.write(text if text.endswith("\n") else f"{text}\n")

        how = sorted(asdict(self.hub_files).items())
        recipe = [FORMAT, fingerprint({"files": given}), endings, how]
        return cached("hub", recipe, write) / "text.txt"


def _found(names: str | list[str]) -> Iterator[Piece]:
    for name in [names] if isinstance(names, str) else names:
        if Path(name).exists() or not ("*" in name or "?" in name):
            yield whole(Path(name))
            continue
        pattern = name.replace("[", "[[]")  # brackets are part of a name
        found = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207
        if not found:
            raise UserError(f"{name}: no file matches")
        yield from (whole(Path(path)) for path in found)
