"""Tables by columns, as Arrow holds them: numbers as arrays, everything else as names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.errors import UserError, choices, refusing, shown

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = ("", "NA", "N/A", "null")  # how others write what is not there
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
    _names: dict[str, Names] = field(default_factory=dict, init=False)  # that were asked for

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

    def names(self, column: str) -> Names:
        """A column as texts; blank ones are none."""
        import pyarrow as pa

        if column not in self._names:
            array = self.table[column]
            if pa.types.is_string(array.type):
                array = array.cast(pa.large_string())  # of which a chunk has no limit of 2 GB
            array = array.combine_chunks()
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


def is_list(kind: Any) -> bool:
    """Whether a type of Arrow is that of lists."""
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def is_number(kind: Any) -> bool:
    """Whether a type of Arrow is that of numbers, or of a column without any value."""
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    return any(test(kind) for test in tests)


def texts_of(column: Any) -> list[Any]:
    """The text of each value of a column of Arrow, or the list of its texts; None for none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if is_list(kind):
        texts, lengths = iter(texts_of(column.flatten())), pc.list_value_length(column).to_pylist()
        return [None if length is None else [*islice(texts, length)] for length in lengths]
    if pa.types.is_dictionary(kind):
        return texts_of(column.dictionary_decode())
    if pa.types.is_temporal(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
    return pc.cast(column, pa.large_string()).to_pylist()


def as_number(value: Any) -> float:
    """The number that a text is; nan for a missing one, and infinite for what is none, such as
    `1_000` and the digits of other scripts, which Python reads as numbers."""
    text = str(value)
    if value is None or text.strip() in MISSING:
        return math.nan
    with suppress(ValueError):
        return math.inf if "_" in text or not text.isascii() else float(text)
    return math.inf


def no_number(value: Any, where: str, name: str) -> UserError:
    """The error for it, with its row and column."""
    return UserError(f"{where} has {shown(repr(value))} as {name!r}, which is not a finite number")
