"""Read and write the files that the user names."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import json
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

from seqmodels.errors import SettingError, UserError, closest, one_line, shown

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IN_MEMORY = " in memory.parquet"  # the end of the name of a file that holds rows in memory


def called(path: str) -> str:
    """What to call a file: its path, `standard input` for `-`, or `data.train in memory` for rows
    that a program gave."""
    if path == "-":
        return "standard input"
    return Path(path).stem if path.endswith(IN_MEMORY) else path


def existing_file(path: str) -> str:
    """Returns `path` if it is a file. Raises UserError naming the path, and the most similar name
    in its folder."""
    advice = ""
    with suppress(OSError, ValueError):  # A path with a NUL is a ValueError.
        if Path(path).is_file():
            return path
        if Path(path).is_dir():
            advice = ", but a folder: name a file in it"
        else:
            similar_name = _similar_file(Path(path))
            if similar_name is not None:
                advice = f"; did you mean {shown(similar_name)}?"
    raise UserError(f"{path}: no such file{advice}")


def _similar_file(path: Path) -> str | None:
    """The name of a file in the same folder that is most like a path's. Names are compared without
    their suffixes, which are alike for all tables."""
    files = [entry for entry in path.parent.iterdir() if entry.is_file()]
    # Of two files with one stem, the one with the path's own suffix comes last, and is kept.
    files.sort(key=lambda entry: (entry.suffix == path.suffix, entry.name))
    names_by_stem = {entry.stem: entry.name for entry in files}
    similar_stem = closest(path.stem, names_by_stem)
    return None if similar_stem is None else names_by_stem[similar_stem]


def read_lines(path: str, encoding: str | None = None) -> Iterator[str]:
    """The lines of a file, or of standard input if the path is `-`, as soon as they can be read.

    Args:
        encoding: what `data.encoding` says; None: UTF-8, for files of which it says nothing. A byte
            order mark at the beginning of UTF-8 is left out.

    Raises:
        UserError: naming the file, and the line that is not text in this encoding.
    """
    source = called(path)
    line_count = 0  # of the lines that were read
    has_key = encoding is not None
    encoding = encoding or "utf-8"
    try:
        is_utf_8 = codecs.lookup(encoding).name == "utf-8"
        with _opened(path) as file:
            lines = io.TextIOWrapper(file, "utf-8-sig" if is_utf_8 else encoding)
            try:
                for line in lines:
                    line_count += 1
                    yield line.removesuffix("\n")
            finally:
                lines.detach()  # Others may read on from standard input.
    except UnicodeError as error:
        advice = other_advice = "; save it as utf-8"
        if isinstance(error, UnicodeDecodeError):
            # The error has the block of bytes that follows the lines so far.
            line_count += error.object[: error.start].count(b"\n")
            if has_key:
                advice = f": {_other_encoding(error)}, or save it as utf-8"
                other_advice = f": save it as {encoding}, as the training file is"
        problem = (
            f"{source} cannot be read: line {line_count + 1} is not {encoding} text "
            f"({getattr(error, 'reason', error)})"
        )
        raise SettingError(f"{problem}{advice}", f"{problem}{other_advice}") from error
    except LookupError as error:
        raise UserError(f"data.encoding={encoding}: {one_line(error)}") from error
    except MemoryError as error:
        raise UserError(
            f"{source}: there is not enough memory for line {line_count + 1}: give it in smaller "
            "pieces"
        ) from error
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from error


def _opened(path: str) -> AbstractContextManager[BinaryIO]:
    """The bytes of a file, which is closed afterwards, or of standard input, which is not."""
    if path == "-":
        return nullcontext(sys.stdin.buffer)
    return Path(existing_file(path)).open("rb")


def _other_encoding(error: UnicodeDecodeError) -> str:
    """`set data.encoding=cp1252, by which it has 'Prüfstand'`, for what could not be decoded."""
    if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "set data.encoding=utf-16"
    if error.encoding.lower().replace("_", "-") not in ("utf-8", "utf-8-sig", "ascii"):
        return "set data.encoding"
    before = error.object[max(error.start - 20, 0) : error.start]
    after = error.object[error.start : error.start + 20]
    # Both end at the ends of the line.
    words = before.split(b"\n")[-1] + after.split(b"\n")[0]
    for encoding in ("cp1252", "latin-1"):
        with suppress(UnicodeDecodeError):
            text = words.decode(encoding).strip()
            return f"set data.encoding={encoding}, by which it has {shown(repr(text))}"
    return "set data.encoding"


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, as `written_whole` does; nan, which JSON lacks, as null."""
    plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
    write_text(path, json.dumps(plain, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, as `written_whole` does."""
    with written_whole(path) as file:
        file.write(text.encode())


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a CSV file row by row, as `written_whole` does; a cell is empty where a row lacks
    it."""
    with written_whole(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, [*columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text.detach()  # It writes what is left, and leaves the file open.


def write_pictures(folder: Path, pictures: Mapping[str, Any]) -> None:
    """Writes figures of Matplotlib, and HTML, by the name of their file."""
    for name, picture in pictures.items():
        folder.mkdir(exist_ok=True)
        if isinstance(picture, str):
            write_text(folder / name, picture)
        else:
            write_figure(folder / name, picture, dpi=120)


def write_figure(path: Path, figure: Any, **options: Any) -> None:
    """Writes a figure of Matplotlib, as `written_whole` does."""
    with written_whole(path) as file:
        figure.savefig(file, format=path.suffix[1:], **options)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Within: a file to write to, which takes the place of the one at `path` at the end; after an
    error or a crash, nothing does. A link at `path` is replaced, not followed. Raises UserError if
    the disk is full, or the folder is not there or cannot be written to."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        if not is_about(error, partial):
            raise
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def is_about(error: OSError, path: Path) -> bool:
    """Whether an error is about this file or folder, what is in it or what it is in. One that says
    that there is no room names no file, and is about the one that is written."""
    if error.filename is None:
        return error.errno in NO_ROOM
    file = Path(str(error.filename))
    return file.is_relative_to(path) or path.is_relative_to(file)
