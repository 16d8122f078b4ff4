"""The user's cache: folders that are made once for each recipe."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import xxhash

from seqmodels.errors import UserError
from seqmodels.files import is_about
from seqmodels.plain_values import read_json

DAY = 86_400  # seconds


def cached(kind: str, recipe: Any, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills: from the cache, in `$XDG_CACHE_HOME` or `~/.cache`, if it is
    there, made otherwise.

    It is made under another name and renamed when it is complete, so a folder that is there is
    whole. What a killed process leaves is removed after a day.

    Args:
        kind: the name of the folder of folders, for example `rows`.
        recipe: all that the content depends on, as plain values.
        make: fills an empty folder with files.

    Raises:
        UserError: if the cache cannot be written.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = xxhash.xxh3_128_hexdigest(json.dumps(recipe).encode())
    folder = cache / "seqmodels" / kind / name
    if folder.is_dir():
        return folder
    unfinished_folder = folder.with_name(f".{folder.name}.{token_hex(4)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for old_folder in folder.parent.glob(".*"):
            with suppress(OSError):  # Its process may be just renaming it.
                if time.time() - old_folder.stat().st_mtime > DAY:
                    shutil.rmtree(old_folder)
        unfinished_folder.mkdir()
        make(unfinished_folder)
        with suppress(OSError):  # Another process may have been first.
            unfinished_folder.rename(folder)
    except OSError as error:
        if not is_about(error, unfinished_folder):  # It may be about what `make` reads.
            raise
        raise UserError(
            f"the cache {folder.parent} cannot be written: {error.strerror}; make room, or set "
            "paths.cache or XDG_CACHE_HOME to another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished_folder, ignore_errors=True)
    return folder


def cached_value(kind: str, recipe: Any, compute: Callable[[], Any]) -> Any:
    """Plain values, computed once for each recipe; as `cached`."""

    def write(folder: Path) -> None:
        (folder / "value.json").write_text(json.dumps(compute()), encoding="utf-8")

    return read_json(cached(kind, recipe, write) / "value.json")


def use_cache(folder: str | None) -> None:
    """Keeps this process's caches in a folder, also the caches of libraries that read
    `XDG_CACHE_HOME`; None: leaves them where they are."""
    if folder is not None:
        os.environ["XDG_CACHE_HOME"] = str(Path(str(folder)).resolve())
