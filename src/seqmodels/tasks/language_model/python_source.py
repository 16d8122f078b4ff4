"""Real text that every machine has: the source of Python's standard library."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from seqmodels.data.file_pieces import Pieces, whole
from seqmodels.data.module import Split
from seqmodels.data.sources import library_files
from seqmodels.tasks.language_model.streams import StreamDataModule


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
