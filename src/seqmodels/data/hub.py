"""The files of a HuggingFace hub data set, or of a folder organised like one."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any, NamedTuple

from seqmodels.data.module import SPLITS, Split
from seqmodels.errors import UserError, one_line


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
