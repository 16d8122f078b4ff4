"""Where files come from: yours, one for each split; a data set of the HuggingFace hub, or a folder
organised like one; Python's standard library, which every machine has."""

from __future__ import annotations

import glob
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqmodels.data.examples import Examples
from seqmodels.data.module import SPLITS, Split
from seqmodels.errors import UserError, one_line

NOT_IN_EVERY_INSTALLATION = {"site-packages", "dist-packages", "test", "tests", "idle_test"}

Classes = Mapping[str, Sequence[str]]


def title(paths: Mapping[str, str | None], hub: str | None, usual: str) -> str:
    """The name of such data in tables; the usual one where neither is given."""
    return str(hub or Path(paths["train"] or usual).name)


def read_splits(
    paths: Mapping[str, str | None],
    hub: str | None,
    read: Callable[[Sequence[str], str, Classes | None], Examples],
) -> dict[Split, Examples]:
    """The splits that are given.

    Args:
        paths: a file for each split, or None.
        hub: instead of files, the name of a data set or of a folder.
        read: `(files, source, names of the classes of a hub's columns) -> examples` of one split.

    Raises:
        UserError: for neither files nor a hub, or both.
    """
    if (paths["train"] is None) == (hub is None):
        raise UserError("give either data.train=<file> or data.hub=<name>")
    if hub is not None:
        found = find_hub(hub)
        return {s: read(files, f"{hub} {s}", found.classes) for s, files in found.files.items()}
    given = {split: path for split in SPLITS if (path := paths[split]) is not None}
    return {split: read([path], path, None) for split, path in given.items()}


class Hub(NamedTuple):
    """The files of a data set, on this machine.

    Args:
        files: of each split.
        classes: the names of the classes, for each column of class numbers.
    """

    files: dict[Split, list[str]]
    classes: dict[str, list[str]]


def find_hub(name: str, config: str | None = None) -> Hub:
    """The files of each split, downloaded if they are not there.

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
    return Hub(files, {name: kind.names for name, kind in kinds.items() if hasattr(kind, "names")})


def library_files() -> list[Path]:
    """The modules of the running Python's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not NOT_IN_EVERY_INSTALLATION.intersection(path.relative_to(root).parts)
    ]
