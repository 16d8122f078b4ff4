"""Flat arrays: in memory, or those of large files made once and mapped from the cache."""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seqmodels.cache import CONTENTS, cached

LARGE = 8 << 20  # bytes of a file whose arrays are kept on disk

Append = Callable[[str, np.ndarray], None]
"""Appends to the array of this name."""


def arrays(
    kind: str, recipe: Any, fill: Callable[[Append], None], *, on_disk: bool
) -> dict[str, np.ndarray]:
    """The arrays that `fill` appends to, by name.

    Args:
        kind, recipe: as `cached` takes them.
        on_disk: whether to keep them in the cache, and to take them from there.

    Raises:
        UserError: if the cache cannot be written; nothing is left of a half of them.
    """
    if not on_disk:
        parts: dict[str, list[np.ndarray]] = defaultdict(list)
        fill(lambda name, array: parts[name].append(array))
        return {name: np.concatenate(each) for name, each in parts.items()}

    def write(folder: Path) -> None:
        files: dict[str, BinaryIO] = {}
        with ExitStack() as opened:

            def append(name: str, array: np.ndarray) -> None:
                if name not in files:
                    path = folder / f"{name}.{array.dtype}"
                    files[name] = opened.enter_context(path.open("wb"))
                files[name].write(array.tobytes())

            fill(append)

    folder = cached(kind, recipe, write)
    files = (path for path in folder.iterdir() if path.name != CONTENTS)
    # as plain arrays: each view of a memmap costs microseconds
    return {path.stem: np.asarray(np.memmap(path, path.suffix[1:], mode="r")) for path in files}


def release(array: np.ndarray) -> None:
    """Lets the kernel take back the pages of a mapped array, which count as memory in use."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
