"""Read and write the files that the user names."""

from __future__ import annotations

import codecs
import csv
import io
import json
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from seqmodels.errors import UserError, closest, shown

BLOCK = 1 << 18  # bytes to read at a time


def existing_file(path: str) -> str:
    """Returns `path` if it is a file.

    Raises:
        UserError: naming the path, and the most similar name in its folder.
    """
    try:
        kind = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file{_similar(Path(path))}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise UserError(f"{path!r} is not a path: {error}") from error
    if stat.S_ISDIR(kind):
        raise UserError(f"{path} is a folder: name a file in it")
    if not stat.S_ISREG(kind):
        raise UserError(f"{path} is a pipe or a device: save its content as a file first")
    return path


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return f", and no folder {path.parent}"
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    near = closest(path.name, names)
    return f"; did you mean {shown(near)}?" if near else ""


def read_lines(path: str, encoding: str | None = None) -> Iterator[str]:
    """The lines of a file, or of standard input if the path is `-`, as soon as they can be read.

    A line ends at a line feed, which is left out, and nowhere else: a carriage return stays, unless
    the file has no line feeds.

    Args:
        encoding: of the file; None for a format that is always UTF-8.

    Raises:
        UserError: naming the file, and the line that is not text in this encoding.
    """
    unfinished = list[str]()
    for text in read_text(path, encoding):
        first, *others = text.split("\n")
        unfinished.append(first)
        if others:
            yield "".join(unfinished)
            yield from others[:-1]
            unfinished = others[-1:]
    if last := "".join(unfinished):
        yield last


def read_text(path: str, encoding: str | None = None) -> Iterator[str]:
    """The text of a file, or of standard input if the path is `-`, a part at a time, as `decoded`
    gives it."""
    return decoded(_blocks(path), "standard input" if path == "-" else path, encoding)


def decoded(
    blocks: Iterable[bytes],
    source: str,
    encoding: str | None = None,
    first_line: Callable[[], int] = lambda: 1,
) -> Iterator[str]:
    """The text of each block of bytes.

    A byte order mark at the beginning of UTF-8 is left out. Carriage returns become line feeds if
    there are no line feeds at the beginning, as in files of old Macs.

    Args:
        source: what to call the bytes in an error.
        encoding: of the bytes; None for a format that is always UTF-8.
        first_line: counts the line that the first block begins in, for an error.

    Raises:
        UserError: for an unknown encoding, or naming the line that is not text in it, or holds NUL.
    """
    decoder, ends, returns = text_decoder(encoding or "utf-8"), 0, None
    for block in chain(blocks, [b""]):
        try:
            text = decoder.decode(block, final=not block)
            text.encode()  # half of a surrogate pair, as UTF-7 can hold, is not text
        except UnicodeError as error:
            if isinstance(error, UnicodeDecodeError):
                good = error.object[: error.start]
                ends += good.decode(encoding or "utf-8", "ignore").count("\n")
            raise UserError(
                f"{source} cannot be read: line {first_line() + ends} is not {encoding or 'utf-8'} "
                f"text ({getattr(error, 'reason', error)}); {_advice(encoding)}"
            ) from error
        if "\0" in text:
            line = first_line() + ends + text[: text.index("\0")].count("\n")
            raise UserError(
                f"{source}: line {line} holds a NUL character, so the file is damaged or has "
                f"another encoding; {_advice(encoding)}"
            )
        if returns is None and ("\n" in text or "\r" in text[:-1]):
            returns = "\n" not in text
        if returns:
            text = text.replace("\r", "\n")
        yield text
        ends += text.count("\n")


def _advice(encoding: str | None) -> str:
    return "save it as utf-8" if encoding is None else "set data.encoding or correct the line"


def text_decoder(encoding: str) -> codecs.IncrementalDecoder:
    """Decodes text block by block, and leaves out a byte order mark at the beginning of UTF-8.

    Raises:
        UserError: if Python has no such text encoding.
    """
    try:
        "".encode(encoding)  # which is an error for codecs that don't give text, such as hex
        utf_8 = codecs.lookup(encoding) == codecs.lookup("utf-8")
        return codecs.getincrementaldecoder("utf-8-sig" if utf_8 else encoding)()
    except (LookupError, ValueError, TypeError):
        raise UserError(f"data.encoding={encoding}: Python has no such encoding") from None


def _blocks(path: str) -> Iterator[bytes]:
    # as large as possible without waiting for a pipe or a person to write more
    try:
        with _opened(path) as file:
            yield from iter(lambda: file.read1(BLOCK), b"")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _opened(path: str) -> AbstractContextManager[Any]:
    if path != "-":
        return Path(existing_file(path)).open("rb")
    if sys.stdin is None:
        raise UserError("standard input is closed: name a file")
    return nullcontext(sys.stdin.buffer)


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
    with written_whole(path) as file:
        file.write(content)


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a CSV file whole, or not at all, row by row; a cell is empty where a row lacks it.

    Raises:
        UserError: if the disk is full, or the folder is not there or cannot be written to.
    """
    with written_whole(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, [*columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text.detach()  # which writes what is left, and leaves the file open


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Within: a file to write to, which takes the place of the one at `path` at the end; after an
    error, nothing does. A link at `path` is replaced, not followed.

    Raises:
        UserError: if the disk is full, or the folder is not there or cannot be written to.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
