"""Columns of a table as Arrow arrays, in memory or mapped from the cache: a million texts or labels
are not a million objects."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, overload
from weakref import WeakSet

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from seqmodels.cache import cached
from seqmodels.files import BLOCK

LARGE = 8 << 20  # bytes of a file whose columns are kept on disk
NAME = "columns.arrow"
STEP = 16_384  # rows to take at a time

pa.set_memory_pool(pa.system_memory_pool())  # others keep what they have freed
mapped = WeakSet[mmap.mmap]()


class Column(Sequence[Any]):
    """Some rows of a column of texts, labels or lists of numbers.

    Args:
        chunks: all rows of the column.
        rows: `(N,)` int64, which ones; None: all.
        key: what the column depends on, if it lies in the cache.
    """

    def __init__(
        self, chunks: pa.ChunkedArray, rows: np.ndarray | None = None, key: Any = None
    ) -> None:
        self.chunks, self.key = chunks, key
        self.rows = np.arange(len(chunks)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks():
            yield from block.to_pylist()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Column: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.chunks[int(self.rows[index])].as_py()

    def take(self, indices: np.ndarray) -> Column:
        """The rows at these indices."""
        return Column(self.chunks, self.rows[indices], self.key)

    def blocks(self) -> Iterator[pa.Array]:
        """The rows as arrays of Arrow, many at a time: those that follow each other in a chunk."""
        chunks = self.chunks.chunks
        starts = np.cumsum([0, *map(len, chunks)])
        for first in range(0, len(self), STEP):
            rows = self.rows[first : first + STEP]
            numbers = np.searchsorted(starts, rows, side="right") - 1  # of the chunks
            cuts = np.flatnonzero(np.diff(numbers)) + 1
            for some, of in zip(np.split(rows, cuts), np.split(numbers, cuts), strict=True):
                block = chunks[of[0]].take(arrow(some - starts[of[0]]))
                labels = isinstance(block, pa.DictionaryArray)
                yield block.dictionary_decode() if labels else block
        release()


def arrow(values: np.ndarray | Sequence[str]) -> pa.Array:
    """Numbers or texts in Arrow, as by `pa.array`. That one imports pandas, and so does `to_numpy`,
    beside which `np.from_dlpack` does not: a third of a second, and 40 MB."""
    if isinstance(values, np.ndarray):
        kind, buffer = pa.from_numpy_dtype(values.dtype), pa.py_buffer(values)
        return pa.Array.from_buffers(kind, len(values), [None, buffer])
    content = [text.encode() for text in values]
    ends = pa.py_buffer(np.cumsum([0, *map(len, content)], dtype=np.int64))
    return pa.LargeStringArray.from_buffers(len(content), ends, pa.py_buffer(b"".join(content)))


def lists(values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> pa.LargeListArray:
    """Values that follow each other as lists of these lengths."""
    ends = np.cumsum(np.append(0, lengths), dtype=np.int64)
    return pa.LargeListArray.from_arrays(arrow(ends), arrow(values))


def blocks(texts: Sequence[str]) -> Iterator[pa.Array]:
    """Texts as arrays of Arrow, some at a time: of a list, about `BLOCK` characters."""
    if isinstance(texts, Column):
        yield from texts.blocks()
        return
    block, size = list[str](), 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= BLOCK:
            yield arrow(block)
            block, size = [], 0
    if block:
        yield arrow(block)


def blank(texts: pa.Array) -> pa.Array:
    """Which texts are empty or white space only, as `str.isspace` has it."""
    return pc.or_(pc.utf8_is_space(texts), pc.invert(pc.binary_length(texts).cast(pa.bool_())))


def distinct(labels: Sequence[str]) -> dict[str, np.ndarray]:
    """The labels that occur, sorted, with the indices of each among these."""
    encoded = [block.dictionary_encode() for block in blocks(labels)]
    if not encoded:
        return {}
    coded = pa.chunked_array(encoded).combine_chunks()
    numbers = np.from_dlpack(coded.indices)
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    return dict(sorted(zip(coded.dictionary.to_pylist(), members, strict=True)))


def identity(values: Sequence[Any]) -> Any:
    """What values depend on that lie in the cache, as plain values; None for others."""
    if not isinstance(values, Column) or values.key is None:
        return None
    return [values.key, xxhash.xxh3_128_hexdigest(values.rows.data)]


def take(values: Sequence[Any], indices: np.ndarray) -> Sequence[Any]:
    """The values at these indices."""
    if isinstance(values, Column):
        return values.take(indices)
    return [values[index] for index in indices.tolist()]


def stored(kind: str, recipe: Any, make: Callable[[], Iterable[pa.RecordBatch]]) -> pa.Table:
    """The table that is made of these batches.

    Args:
        kind, recipe: as `cached` takes them, which keeps the table, and gives the one that it has;
            without a recipe, it stays in memory.
        make: gives the batches.

    Raises:
        UserError: if the cache cannot be written; nothing is left of a half of the table.
    """
    if recipe is None:
        return pa.Table.from_batches(make())

    def write(folder: Path) -> None:
        batches = iter(make())
        first = next(batches)
        with (folder / NAME).open("wb") as file, pa.ipc.new_stream(file, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)

    with (cached(kind, recipe, write) / NAME).open("rb") as file:
        found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.add(found)
    return pa.ipc.open_stream(pa.py_buffer(found)).read_all()


def release() -> None:
    """Lets the kernel take back the pages of tables on disk, which count as memory in use."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for each in mapped:
            each.madvise(mmap.MADV_DONTNEED)
