"""Read and write the files that the user names, and the cache."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError, choices


def cache_folder(name: str) -> Path:
    """The folder `seqmodels/<name>` in the user's cache, created if it is missing.

    The cache is `$XDG_CACHE_HOME`, or `~/.cache`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "seqmodels" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def existing_file(path: str) -> str:
    """Returns `path` if it is a file.

    Raises:
        UserError: naming the path, and the most similar name in its folder.
    """
    if Path(path).is_file():
        return path
    folder = Path(path).parent
    if not folder.is_dir():
        raise UserError(f"{path}: no such file, and no folder {folder}")
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    near = choices(Path(path).name, names).partition("; ")[2]
    raise UserError(f"{path}: no such file" + (f"; {near}" if near else ""))


def read_lines(path: str, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a file, or of standard input if the path is `-`, one by one without line ends.

    Raises:
        UserError: if the file is missing or is not text in this encoding.
    """
    if path == "-":
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    try:
        with Path(existing_file(path)).open(encoding=encoding) as file:
            yield from (line.rstrip("\r\n") for line in file)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {encoding} text ({error.reason})") from error


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON. A crash leaves the old file or the new one, never half of one."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole, or not at all.

    Raises:
        UserError: if the disk is full, or the folder is not there or cannot be written to.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole, or not at all. A link at `path` is replaced, not followed.

    Raises:
        UserError: if the disk is full, or the folder is not there or cannot be written to.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            file.write(content)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """`{"model": {"head": "max_pool"}}` as `{"model.head": "max_pool"}`; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
