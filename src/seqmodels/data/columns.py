"""Tables by columns, as Arrow holds them: numbers as arrays, everything else as names."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.data.tables import (
    Tables,
    as_number,
    is_list,
    is_number,
    no_number,
    table_of,
    texts_of,
)
from seqmodels.errors import UserError, choices, refusing, shown
from seqmodels.files import called

if TYPE_CHECKING:
    import pyarrow as pa

OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


@dataclass(frozen=True)
class Names:
    """A column of texts: which of `names` each row has, `codes (N,)`; -1 for none."""

    codes: np.ndarray
    names: list[str]

    @cached_property
    def texts(self) -> np.ndarray:
        """Each row's text, or None."""
        return np.array([*self.names, None], dtype=object)[self.codes]


@dataclass(frozen=True)
class Columns:
    """The columns of a table."""

    table: pa.Table
    path: str
    places: np.ndarray | None = None  # the row of the file, from 0, that each is of; None: as here
    known: Sequence[str] = ()  # the names of the columns of the file, if there are more

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, column: object) -> bool:
        return column in self.table.column_names

    def take(self, rows: np.ndarray) -> Columns:
        """These rows."""
        places = rows if self.places is None else self.places[rows]
        return Columns(self.table.take(rows), self.path, places)

    def beside(self, other: Columns, rows: np.ndarray) -> Columns:
        """With further columns: for each row a row of another table."""
        table = self.table
        for column in other.table.column_names:
            if column not in self:
                values = other.table[column]
                short = values if is_number(values.type) else values.dictionary_encode()
                table = table.append_column(column, short.take(rows))
        return Columns(table, self.path, self.places)

    def place(self, row: Any) -> int:
        """The row of the file, from 1, that a row is of."""
        return 1 + int(row if self.places is None else self.places[row])

    def where(self, row: Any) -> str:
        """The file and the row of it, for an error."""
        return f"{self.path}: row {self.place(row)}"

    def check(self, column: str, key: str) -> None:
        """Raises a `UserError` that names the key, such as `data.group`, without such a column."""
        if column not in self:
            known = choices(column, self.known or self.table.column_names)
            raise UserError(f"{self.path} has no column {column!r}: set {key}; {known}")

    @property
    def lists(self) -> list[str]:
        """The columns whose cells are lists."""
        return [field.name for field in self.table.schema if is_list(field.type)]

    @cached_property
    def _names(self) -> dict[str, Names]:
        return {}

    def names(self, column: str) -> Names:
        """A column as texts; blank ones are none."""
        import pyarrow as pa

        if column not in self._names:
            array = self.table[column].combine_chunks()
            if pa.types.is_dictionary(array.type):
                array = array.dictionary_decode()  # which may hold names that no row has
            with refusing(f"{self.path}: {column!r} holds no texts", pa.ArrowException):
                encoded = array.dictionary_encode()
                found = texts_of(encoded.dictionary)
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            known = np.array([bool((text or "").strip()) for text in found] + [False])
            self._names[column] = Names(np.where(known[codes], codes, -1), found)
        return self._names[column]

    def filled(self, column: str, key: str = "") -> Names:
        """As `names`, of a column that this key names; raises a `UserError` for a row without
        one."""
        if key:
            self.check(column, key)
        names = self.names(column)
        if (names.codes < 0).any():
            raise UserError(f"{self.where((names.codes < 0).argmax())} has no {column!r}: fill it")
        return names

    def _numbers(self, column: str) -> np.ndarray:
        """Infinite for a text that is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if is_number(self.table[column].type):
            return pc.cast(self.table[column], pa.float64(), safe=False).to_numpy()
        names = self.names(column)
        return np.array([*map(as_number, names.names), math.nan])[names.codes]

    def holds_texts(self, column: str) -> bool:
        """Whether it does; not if it holds more numbers, of which one may be wrong."""
        import pyarrow as pa

        if is_number(kind := self.table[column].type) or pa.types.is_temporal(kind):
            return not is_number(kind)
        wrong = int(np.isinf(self._numbers(column)).sum())
        return 2 * wrong >= max(int((self.names(column).codes >= 0).sum()), 1)

    def numbers(self, column: str, key: str = "") -> np.ndarray:
        """A column, that this key names, as float64, nan where a number is missing. Raises a
        `UserError` for an infinite number, or a text."""
        if key:
            self.check(column, key)
        found = self._numbers(column)
        if (wrong := np.isinf(found)).any():
            row = wrong.argmax()
            numeric = is_number(self.table[column].type)
            value = found[row].item() if numeric else self.names(column).texts[row]
            raise no_number(value, self.where(row), column)
        return found

    def lists_of(self, column: str, key: str) -> list[list[str]]:
        """The texts in each cell, a list of them or one; raises a `UserError` for an empty one."""
        self.check(column, key)
        found = texts_of(self.table[column].combine_chunks())
        cells = [cell if isinstance(cell, list) else [cell] for cell in found]
        for row, cell in enumerate(cells):
            if not cell or not all(isinstance(text, str) and text.strip() for text in cell):
                raise UserError(f"{self.where(row)} has an empty text in {column!r}: fill it")
        return cells

    def rows(self, roles: Mapping[str, str], *read: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of what is read of it, each with what `Examples.also` holds of it.

        Args:
            roles: which column says that, of those that there are.
        """
        also = dict[str, list[Any]]()
        for role, column in roles.items():
            if column in self:
                also[role] = self.filled(column).texts.tolist()
                if role == "weight":
                    weights = self.numbers(column)
                    if (wrong := ~(weights >= 0)).any():
                        has = f"{self.where(wrong.argmax())} has {weights[wrong][0]} as {column!r}"
                        raise UserError(f"{has}: a weight is 0 or more")
                    also[role] = weights.tolist()
        own = [dict(zip(also, each, strict=True)) for each in zip(*also.values(), strict=True)]
        return zip(*read, *([own] if also else []), strict=True)

    def moments(self, column: str, key: str) -> Any:
        """A column of dates in ISO 8601, also with slashes, as a `DatetimeIndex`; in UTC if the
        first one has an offset. Raises a `UserError` for another text, or none."""
        import pandas as pd  # slow to import

        names = self.filled(column, key)
        given = [str(text).strip().replace("/", "-") for text in names.names]
        dates = ["" if re.fullmatch(r"\d+\.\d*", text) else text for text in given]  # else a month
        found = pd.to_datetime(dates, format="ISO8601", errors="coerce", utc=True)[names.codes]
        if found.hasnans:
            row = found.isna().argmax()
            raise UserError(
                f"{self.where(row)} has {shown(repr(names.texts[row]))} as {column!r}: write times "
                "as 2013-01-31 06:00, with or without an offset such as +01:00"
            )
        return found if OFFSET.search(given[names.codes[0]]) else found.tz_localize(None)


def read_pieces(
    path: str, tables: Tables, wanted: Sequence[str], several: str = ""
) -> Iterator[Columns]:
    """These columns of a file, some rows at a time, as `Tables.read` takes them. Raises a
    `UserError` if the file cannot be read."""
    first = 0
    for table, names in tables.read(path, wanted, several=several):
        yield Columns(table, called(path), first + np.arange(len(table)), names)
        first += len(table)


def read_texts(path: str, tables: Tables, column: str, key: str) -> Iterator[str]:
    """A column of texts that this key names, each as soon as it can be read."""
    for table in read_pieces(path, tables, [column]):
        yield from table.filled(column, key).texts


def read_columns(path: str, tables: Tables, texts: Collection[str] = ()) -> Columns:
    """The columns of a CSV, TSV, JSON, JSON Lines or Parquet file. Raises a `UserError` if the file
    cannot be read, or is empty.

    Args:
        texts: columns of which a number in a CSV file is a text, as it stands there.
    """
    import pyarrow as pa

    pieces = [table for table, _ in tables.read(path, texts=texts)]
    return columns_of(pa.concat_tables(pieces) if pieces else pa.table({}), called(path))


def columns_of(given: Any, path: str) -> Columns:
    """Those of a table of Arrow, or of rows, each a dict. Raises a `UserError` if there are no
    rows, or a column has values of several types."""
    import pyarrow as pa

    if isinstance(given, list):
        with refusing(f"{path} cannot be read", pa.ArrowException, TypeError, ValueError):
            given = table_of(given, dict.fromkeys(name for row in given for name in row))
    if not len(given):
        raise UserError(f"{path} has no rows")
    return Columns(given, path)


def steps_of(columns: Columns) -> tuple[Columns, np.ndarray]:
    """The columns with lists, a row for each of their elements, beside the others, each row as
    often as its lists have elements; and the row of each element. Lists of lists are `(T, C)`
    series, whose channels become columns. Raises a `UserError` for a row without a list, or with
    lists of unequal length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = {name: columns.table[name].combine_chunks() for name in columns.lists}
    sizes = {n: pc.list_value_length(each).fill_null(0).to_numpy() for n, each in lists.items()}
    first, *others = sizes
    for name in others:
        if (wrong := sizes[name] != sizes[first]).any():
            row = wrong.argmax()
            both = f"{sizes[first][row]} of {first!r} and {sizes[name][row]} of {name!r}"
            raise UserError(f"{columns.where(row)} has {both}: give one of each for each step")
    if not sizes[first].all():
        where = columns.where(sizes[first].argmin())
        raise UserError(f"{where} has no steps: fill its lists, or remove it")
    rows, flat = np.repeat(np.arange(len(columns)), sizes[first]), dict[str, Any]()
    for name, each in lists.items():
        steps = each.flatten()
        if not is_list(steps.type):
            flat[name] = steps
            continue
        widths = pc.list_value_length(steps).fill_null(0).to_numpy()
        if (wrong := widths != widths[0]).any():
            what = f"{shown(name)} has steps of {widths[0]} channels and of others"
            raise UserError(f"{columns.where(rows[wrong.argmax()])}: {what}: give each all of them")
        cells, width = steps.flatten(), int(widths[0])
        for channel in range(width):
            column = f"{name}[{channel}]"
            flat[column] = cells.take(np.arange(channel, len(cells), width))
            Columns(pa.table(flat), columns.path, rows).numbers(column)
    rest = Columns(columns.table.drop_columns([*lists]), columns.path)
    return Columns(pa.table(flat), columns.path, rows).beside(rest, rows), rows
