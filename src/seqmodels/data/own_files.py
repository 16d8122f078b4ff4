"""Your own data: a file for each split, or a data set of the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from seqmodels.data.hub import find_hub
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.split import Examples
from seqmodels.errors import UserError

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
