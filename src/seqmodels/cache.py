"""The user's cache: folders that are verified whenever they are used, or made again."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import xxhash
from filelock import FileLock

from seqmodels.errors import UserError
from seqmodels.files import write_json
from seqmodels.plain_values import read_json
from seqmodels.screen import show_progress

log = logging.getLogger(__name__)

CONTENTS = "contents.json"  # the size and the hash of each file in a folder of the cache


def cached(kind: str, recipe: Any, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills: from the cache if it is there and whole, made otherwise.

    Every file is compared with its size and hash each time. A full disk leaves no unfinished
    folder; a killed process leaves one, which is removed when the next folder of its kind is made.

    Args:
        kind: the name of the folder of folders, for example `tokens`.
        recipe: all that the content depends on, as plain values.
        make: fills an empty folder with files.

    Raises:
        UserError: if the cache cannot be written.
    """
    folder = cache_folder(kind, recipe)
    if is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(folder) as partial:
            made = partial / "new"
            made.mkdir()
            make(made)
            (made / CONTENTS).write_text(json.dumps(_contents(made)))
            if folder.exists() and not is_whole(folder):
                log.warning(f"{folder} in the cache is damaged: making it again")
                with suppress(FileNotFoundError):  # another process has moved it first
                    folder.rename(partial / "damaged")
            with suppress(OSError):  # another process may have renamed its own first
                made.rename(folder)
    except OSError as error:
        raise UserError(
            f"the cache {folder.parent} cannot be written: {error.strerror}; make room, or set "
            "paths.cache or XDG_CACHE_HOME to another folder"
        ) from error
    if not is_whole(folder):
        raise UserError(f"the cache {folder} is damaged as soon as it is written: check the disk")
    return folder


def cached_value(kind: str, recipe: Any, compute: Callable[[], Any]) -> Any:
    """Plain values, computed once for each recipe; as `cached`."""

    def write(folder: Path) -> None:
        write_json(folder / "value.json", compute())

    return read_json(cached(kind, recipe, write) / "value.json")


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder to make this one in, with a lock beside it, by which others know that its process
    runs. Removes the folders of processes that were killed."""
    for left in folder.parent.glob("*.lock"):
        with suppress(OSError), FileLock(left, timeout=0, fallback_to_soft=False):
            _remove(left)
    partial = folder.with_name(f"{folder.name}.{uuid4().hex}")
    lock = FileLock(f"{partial}.lock", fallback_to_soft=False)
    try:
        with suppress(OSError):  # without locks, what a killed process leaves is kept
            lock.acquire()
        partial.mkdir()
        yield partial
    finally:
        _remove(Path(lock.lock_file))
        lock.release()


def _remove(lock: Path) -> None:
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    lock.unlink(missing_ok=True)


def cache_folder(kind: str, recipe: Any) -> Path:
    """Where the cache keeps what is made by this recipe: in `$XDG_CACHE_HOME`, or `~/.cache`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "seqmodels" / kind / xxhash.xxh3_128_hexdigest(json.dumps(recipe).encode())


def use_cache(folder: str | None) -> None:
    """Keeps this process's caches in a folder, also the caches of libraries that read
    `XDG_CACHE_HOME`; None: leaves them where they are."""
    if folder is not None:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder).resolve())


def is_whole(folder: Path) -> bool:
    """Whether the files of a folder are those that were written."""
    try:
        return json.loads((folder / CONTENTS).read_text()) == _contents(folder)
    except (OSError, ValueError, RecursionError):
        return False


def _contents(folder: Path) -> dict[str, list[Any]]:
    sizes = {p: p.stat().st_size for p in sorted(folder.iterdir()) if p.name != CONTENTS}
    with show_progress("verifying the cache", sum(sizes.values())) as done:
        return {path.name: [size, _hash(path, done)] for path, size in sizes.items()}


def _hash(path: Path, done: Callable[[int], None]) -> str:
    digest, buffer = xxhash.xxh3_128(), memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            done(count)
    return digest.hexdigest()
