"""Real text that every machine has: the source of Python's standard library."""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from seqmodels.data.module import Split
from seqmodels.data.pieces import Pieces, whole
from seqmodels.tasks.language_model.streams import StreamDataModule

NOT_IN_EVERY_INSTALLATION = {"site-packages", "dist-packages", "test", "tests", "idle_test"}


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


def library_files() -> list[Path]:
    """The modules of the running Python's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not NOT_IN_EVERY_INSTALLATION.intersection(path.relative_to(root).parts)
    ]
