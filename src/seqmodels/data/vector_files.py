"""Files of word vectors, read as a stream: each word, and its numbers if you ask for them."""

from __future__ import annotations

import codecs
import gzip
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase
from pathlib import Path, PurePath
from typing import cast

import numpy as np

from seqmodels.data.vector_matrices import ENDINGS, Row, as_float32, glove_rows, matrix_rows
from seqmodels.errors import UserError, choices, listed, one_line, shown
from seqmodels.files import BLOCK, existing_file

MOST_NUMBERS = 65_536  # in a vector
LINE = 1 << 21  # bytes, which so many numbers fit in
HEADER = re.compile(rb"(\d{1,12}) (\d{1,12})")  # the number of words, and of numbers for each
NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
IN_NUMBERS = b"0123456789+-.eE "  # so nan and inf are none
FASTTEXT_MODEL = struct.pack("<i", 793_712_314)  # the first bytes of a `.bin` that fastText writes


def vector_rows(source: str) -> Iterator[tuple[str, Row]]:
    """Each word of a file, in its order, with a function that gives its vector.

    Text of GloVe and fastText (`.txt`, `.vec`), with or without a header, and word2vec's `.bin`,
    each also inside of a `.gz` or a `.zip`; a matrix in `.npy` or `.safetensors` with its words
    beside it, one a line, in a file of the same name that ends in `.txt` or `.vocab`, or as
    `vocabulary` in the metadata of the `.safetensors`. `glove` is GloVe 6B of 50 numbers from the
    extra `vectors`.

    word2vec cuts long words, some in the middle of a character: those are left out.

    Raises:
        UserError: naming the file, the place in it and what to do.
    """
    if source == "glove":
        yield from glove_rows()
    elif Path(existing_file(source)).suffix.lower() in ENDINGS:
        yield from matrix_rows(source)
    else:
        with _unpacked(source) as (file, name):
            ending = PurePath(name).suffix.lower()
            if ending == ".bin":
                yield from _binary_rows(file, source)
            elif ending in (".txt", ".vec"):
                yield from _text_rows(file, source)
            else:
                known = (".txt", ".vec", ".bin", ".gz", ".zip", *ENDINGS)
                raise UserError(f"{source}: unknown ending {ending!r}: {choices(ending, known)}")


@contextmanager
def _unpacked(path: str) -> Iterator[tuple[BufferedIOBase, str]]:
    """The content of a file, and the name whose ending says its format."""
    ending = Path(path).suffix.lower()
    try:
        if ending == ".gz":
            with gzip.open(path) as packed:
                yield packed, Path(path).stem
        elif ending == ".zip":
            with zipfile.ZipFile(path) as parts:
                names = [entry.filename for entry in parts.infolist() if not entry.is_dir()]
                if len(names) != 1:
                    holds = f"{len(names)} files ({listed(names)})" if names else "no file"
                    raise UserError(f"{path} holds {holds}: unpack it and name the one you want")
                with parts.open(names[0]) as member:
                    yield cast(BufferedIOBase, member), names[0]
        else:
            with Path(path).open("rb") as file:
                yield file, path
    # RuntimeError: of a zip file with a password
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}; get the file again") from error


# text


def _text_rows(file: BufferedIOBase, path: str) -> Iterator[tuple[str, Row]]:
    width, expected, found, says = 0, 0, 0, ""
    for number, line in enumerate(iter(lambda: file.readline(LINE), b""), start=1):
        where = f"{path}: line {number}"
        if len(line) == LINE:
            raise UserError(f"{where} is too long for a word and its vector: is this another file?")
        line = line.rstrip(b" \t\r\n").replace(b"\t", b" ")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if header := HEADER.fullmatch(line):
                expected, width = _size(header[1], header[2], path)
                says = "the header says"
                continue
        if not line:
            continue
        if not width:
            width = _count_numbers(line)
            says = f"line {number} has"
            if not width:
                raise UserError(f"{where} is not a word and its vector, in utf-8 text")
        word, numbers = _split(line, width, where, says)
        found += 1
        if (text := _decoded(word, where)) is not None:
            yield text, partial(_parsed, numbers, where)
    if found < expected:
        raise _cut_off(path, expected, found)


def _split(line: bytes, width: int, where: str, says: str) -> tuple[bytes, bytes]:
    """The word, which may hold spaces, and the numbers of a line."""
    if line.count(b" ") == width:
        word, _, numbers = line.partition(b" ")
    else:
        word, *fields = line.rsplit(b" ", width)
        if len(fields) < width or NUMBER.fullmatch(word.rpartition(b" ")[2]):
            count = _count_numbers(line)
            raise UserError(f"{where} has {count} numbers and {says} {width}: correct the line")
        numbers = b" ".join(fields)
    # much faster than to convert them, which only the words of the vocabulary need
    if numbers.translate(None, IN_NUMBERS):
        raise _no_number(numbers, where)
    return word.strip(b" "), numbers


def _parsed(numbers: bytes, where: str) -> np.ndarray:
    try:
        row = np.array(numbers.split(b" "), dtype=np.float64)
    except ValueError as error:
        raise _no_number(numbers, where) from error
    return as_float32(row, where)


def _no_number(numbers: bytes, where: str) -> UserError:
    wrong = next(field for field in numbers.split(b" ") if not NUMBER.fullmatch(field))
    text = shown(wrong.decode(errors="backslashreplace"))
    return UserError(f"{where} is broken: '{text}' is not a number; correct the line")


def _count_numbers(line: bytes) -> int:
    """At the end of a line, after a word that may itself be a number."""
    _, *fields = line.split(b" ")
    others = (n for n, field in enumerate(reversed(fields)) if not NUMBER.fullmatch(field))
    return next(others, len(fields))


# word2vec's binary format: "<words> <numbers>\n", then of each word "<word> " and float32 numbers


def _binary_rows(file: BufferedIOBase, path: str) -> Iterator[tuple[str, Row]]:
    first = file.readline(100).removesuffix(b"\n")
    if first.startswith(FASTTEXT_MODEL):
        raise UserError(f"{path} is a fastText model: name its vectors, which end in .vec")
    header = HEADER.fullmatch(first)
    if header is None:
        if not first:
            return
        raise UserError(f"{path} is not a .bin file of word2vec, which begins with two numbers")
    count, width = _size(header[1], header[2], path)
    buffer, at, size = b"", 0, 4 * width
    for number in range(count):
        while (end := buffer.find(b" ", at)) < 0 or len(buffer) < end + 1 + size:
            block = file.read(BLOCK)
            if not block or (end < 0 and len(buffer) - at > BLOCK):
                raise _cut_off(path, count, number)
            buffer, at = buffer[at:] + block, 0
        where = f"{path}: word {number + 1}"
        word, raw = buffer[at:end].lstrip(b"\n"), buffer[end + 1 : end + 1 + size]
        at = end + 1 + size
        if (text := _decoded(word, where)) is not None:
            yield text, partial(_from_bytes, raw, where)


def _from_bytes(raw: bytes, where: str) -> np.ndarray:
    return as_float32(np.frombuffer(raw, "<f4"), where)


def _size(count: bytes, width: bytes, path: str) -> tuple[int, int]:
    if not 0 < int(width) <= MOST_NUMBERS or not int(count):
        raise UserError(
            f"{path}: the header says {int(count)} words of {int(width)} numbers: correct it"
        )
    return int(count), int(width)


def _cut_off(path: str, expected: int, found: int) -> UserError:
    return UserError(
        f"{path} is cut off: the header says {expected} words and it holds {found}; "
        "get the file again"
    )


def _decoded(word: bytes, where: str) -> str | None:
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # word2vec has cut it
            return None
        raise UserError(f"{where} is not utf-8 text ({error.reason}); save it as utf-8") from error
