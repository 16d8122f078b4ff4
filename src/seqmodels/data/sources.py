"""Where files come from: yours, one for each split; a data set of the HuggingFace hub, or a folder
organised like one; Python's standard library, which every machine has."""

from __future__ import annotations

import glob
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqmodels.arguments import Name
from seqmodels.data.examples import Examples
from seqmodels.data.in_memory import InMemory, Table
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.errors import UserError, one_line

NOT_IN_EVERY_INSTALLATION = {"site-packages", "dist-packages", "test", "tests", "idle_test"}

Names = Mapping[str, Sequence[str]]
"""The names of the classes, for each column of class numbers."""


class OwnFiles(SequenceDataModule):
    """Sequences from a file for each split, or from a data set of the HuggingFace hub.

    Args:
        train, validation, test: a file each, or rows as `InMemory` takes them; splits without any
            are cut from `train`.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        options: `batch_size` and the other arguments of `SequenceDataModule`.
    """

    reads_tables = True

    def __init__(
        self,
        train: Table | None = None,
        validation: Table | None = None,
        test: Table | None = None,
        *,
        hub: Name | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        given = {"train": train, "validation": validation, "test": test}
        self.paths = {split: InMemory.of(it, f"data.{split}") for split, it in given.items()}
        self.hub = hub

    def read_files(self, paths: Sequence[str], source: str, names: Names | None) -> Examples:
        """The examples of one split; `names` are given for a hub data set."""
        raise NotImplementedError(f"{type(self).__name__} must define read_files")

    @property
    def title(self) -> str:
        return self.hub or Path(self.paths["train"] or super().title).name

    def read(self) -> dict[Split, Examples]:
        if (self.paths["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file> or data.hub=<name>")
        if self.hub is not None:
            files, names = find_hub(self.hub)
            return {s: self.read_files(f, f"{self.hub} {s}", names) for s, f in files.items()}
        given = {split: path for split in SPLITS if (path := self.paths[split]) is not None}
        return {split: self.read_files([path], path, None) for split, path in given.items()}


def find_hub(name: str, config: str | None = None) -> tuple[dict[Split, list[str]], Names]:
    """The files of each split, downloaded if they are not there, and the names of classes.

    `datasets` only finds and downloads them. Its own readers are not used: they drop or shift
    surplus fields, and turn the label 007 into 7.

    Raises:
        UserError: with the library's message, or if there is no training split.
    """
    import datasets  # slow to import

    if Path(name).is_dir() and glob.has_magic(str(Path(name).absolute())):
        raise UserError(f"data.hub={name}: rename the folder; its path must not hold [, ] * or ?")
    try:
        builder = datasets.load_dataset_builder(name, config)
        given: Any = builder.config.data_files or {}
        names = {str(split): list(map(str, files)) for split, files in given.items()}
        manager = datasets.DownloadManager(dataset_name=name)
        files = {split: manager.download(names[split]) for split in SPLITS if split in names}
    except Exception as error:  # network, name, format: the library raises many kinds
        raise UserError(f"data.hub={name}: {one_line(error)}") from error
    if "train" not in files:
        raise UserError(
            f"data.hub={name} has no train split, only {', '.join(names) or 'nothing to read'}"
        )
    columns = (builder.info.features or {}).items()
    kinds = {name: getattr(column, "feature", column) for name, column in columns}  # or of a list
    return files, {name: kind.names for name, kind in kinds.items() if hasattr(kind, "names")}


def library_files() -> list[Path]:
    """The modules of the running Python's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not NOT_IN_EVERY_INSTALLATION.intersection(path.relative_to(root).parts)
    ]
