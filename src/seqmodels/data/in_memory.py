"""Rows that are in memory, where a reader takes the path of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import pyarrow as pa
import xxhash
from pydantic import BeforeValidator

from seqmodels.errors import UserError, one_line

PREFIX = "<in memory, "  # of what a configuration has in place of rows

# a file may be called 2020
Table = Annotated[Any, BeforeValidator(lambda given: str(given) if type(given) is int else given)]
"""The path of a file; or in Python also rows in memory, as `InMemory` takes them."""


class InMemory(str):
    """A table in memory, read as a Parquet file would be. As a text, it is what errors call it."""

    table: pa.Table
    by_position: bool  # whether its rows are tuples, so that its columns have no names yet

    @classmethod
    def of(cls, given: Any, name: str) -> Any:
        """What a reader takes: rows by this name; a path, None and rows that have one stay.

        Args:
            given: a DataFrame of pandas or polars, a table of pyarrow, a dict of columns, or a list
                of rows, each a dict, or a tuple in the order in which the reader names its columns.

        Raises:
            UserError: for other values, or a column with values of several types.
        """
        if given is None or isinstance(given, str):
            return given
        found = cls(name)
        found.by_position = isinstance(given, Sequence) and not is_table(given)
        try:
            if found.by_position:
                rows = ((row,) if isinstance(row, str) else row for row in given)
                columns = enumerate(zip(*rows, strict=True))
                found.table = pa.table({str(number): [*values] for number, values in columns})
            elif isinstance(given, Sequence):
                found.table = pa.Table.from_pylist([*given])
            elif is_table(given):
                found.table = pa.table(given)
            else:
                raise TypeError(f"not {type(given).__name__}")
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UserError(
                f"{name}: give the path of a file, a DataFrame, a dict of columns, or a list of "
                f"dicts or tuples, each a row ({one_line(error)})"
            ) from error
        return found

    @property
    def placeholder(self) -> str:
        """What a configuration has in its place."""
        content = xxhash.xxh3_64_hexdigest(self.parquet(self.table.column_names))
        return f"{PREFIX}{len(self.table):,} rows, {content}>"

    def parquet(self, names: Sequence[str]) -> pa.Buffer:
        """The content of the Parquet file.

        Args:
            names: of the columns, if rows are tuples.
        """
        import pyarrow.parquet as pq  # takes memory

        table = self.table
        if self.by_position:
            if table.num_columns > len(names):
                raise UserError(
                    f"{self}: its rows have {table.num_columns} values, and are read as "
                    f"{', '.join(names)}: give dicts"
                )
            table = table.rename_columns([*names[: table.num_columns]])
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return sink.getvalue()


def is_table(given: Any) -> bool:
    """Whether it has columns with names: a DataFrame, a table of pyarrow, or in dicts."""
    if isinstance(given, Mapping):
        columns = given.values()
        return all(isinstance(v, Iterable) and not isinstance(v, str | bytes) for v in columns)
    rows = isinstance(given, Sequence) and len(given) > 0 and isinstance(given[0], Mapping)
    return rows or hasattr(given, "columns")
