"""A table of Arrow of its batches, which takes no more memory than what it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from seqmodels.data.columns import Coder, kind_of
from seqmodels.machine import return_memory

if TYPE_CHECKING:
    import pyarrow as pa

# A table with more columns than these is read as a whole: it has few rows.
MANY_COLUMNS = 256


def table_of_batches(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    plain: Collection[str] = (),
    ends: Sequence[int] = (),
) -> pa.Table:
    """A table of its batches. Of a column of texts, each text is kept once, if few rows have
    different ones.

    Args:
        plain: the columns whose texts are kept as they stand.
        ends: the rows after which numbers are needed no more when they have been read: the ends of
            series. The numbers before each are a chunk of Arrow, which can be freed by itself.
    """
    import pyarrow as pa
    from pyarrow import types

    columns = dict[str, _Column]()
    for field in schema:
        if kind_of(field.type) == "text" and field.name not in plain:
            columns[field.name] = _Texts()
        elif types.is_float32(field.type) or types.is_float64(field.type):
            columns[field.name] = _Floats(field.type, ends)
        else:
            columns[field.name] = _Chunks(field.type)
    for batch in batches:
        for name, array in zip(schema.names, batch.columns, strict=True):
            columns[name].add(array)
    table = pa.table({name: column.array() for name, column in columns.items()})
    return_memory()
    return table


class _Column(Protocol):
    """A column that is read in pieces."""

    def add(self, array: Any) -> None:
        """Adds the next rows, an array of Arrow."""

    def array(self) -> Any:
        """All rows, as a chunked array of Arrow."""


class _Chunks(_Column):
    """A column as it is."""

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._chunks: list[Any] = []

    def add(self, array: Any) -> None:
        self._chunks.append(array)

    def array(self) -> Any:
        import pyarrow as pa

        return pa.chunked_array(self._chunks, self._dtype)


class _Texts(_Column):
    """A column of texts, each of which is kept once; or as they are, once most rows have a text of
    their own."""

    def __init__(self) -> None:
        self._coder: Coder | None = Coder()
        self._chunks: list[Any] = []  # if there is no coder

    def add(self, array: Any) -> None:
        import pyarrow as pa

        if self._coder is None:
            self._chunks.append(array.cast(pa.large_string()))
            return
        self._coder.add(array)
        if self._coder.has_many_names:
            self._chunks.append(self._coder.array().dictionary_decode())
            self._coder = None

    def array(self) -> Any:
        import pyarrow as pa

        if self._coder is not None:
            return pa.chunked_array([self._coder.array()])
        return pa.chunked_array(self._chunks, pa.large_string())


class _Floats(_Column):
    """A column of numbers, in few large chunks."""

    def __init__(self, dtype: Any, ends: Sequence[int]) -> None:
        self._dtype = dtype
        self._sizes = np.diff(ends, prepend=0).tolist()
        self._full_chunks: list[Any] = []  # arrays of Arrow
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        number = len(self._full_chunks)
        size = self._sizes[number] if number < len(self._sizes) else 0
        self._values = np.empty(size, self._dtype.to_pandas_dtype())
        self._is_null: np.ndarray | None = None  # one for each value, once a value is missing
        self._filled_count = 0  # of the values of this chunk

    def add(self, array: Any) -> None:
        while len(array):
            if not self._sizes:
                self._grow(self._filled_count + len(array))
            piece = array[: len(self._values) - self._filled_count]
            array = array[len(piece) :]
            end = self._filled_count + len(piece)
            self._values[self._filled_count : end] = piece.to_numpy(zero_copy_only=False)
            if piece.null_count:
                if self._is_null is None:
                    self._is_null = np.zeros(len(self._values), bool)
                is_null = piece.is_null().to_numpy(zero_copy_only=False)
                self._is_null[self._filled_count : end] = is_null
            self._filled_count = end
            if self._sizes and end == len(self._values):
                self._end_chunk()

    def _grow(self, least_size: int) -> None:
        """Makes room for more values. The C library moves a large array without a copy."""
        if least_size > len(self._values):
            self._resize(max(least_size, len(self._values) * 65 // 64))

    def _resize(self, size: int) -> None:
        self._values.resize(size, refcheck=False)
        if self._is_null is not None:
            self._is_null.resize(size, refcheck=False)

    def _end_chunk(self) -> None:
        import pyarrow as pa

        self._full_chunks.append(pa.array(self._values, mask=self._is_null))
        self._begin_chunk()

    def array(self) -> Any:
        import pyarrow as pa

        if self._filled_count:
            self._resize(self._filled_count)
            self._end_chunk()
        return pa.chunked_array(self._full_chunks, self._dtype)
