"""Tables by columns, as Arrow holds them: numbers as arrays, everything else as names."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.data.tables import (
    MISSING,
    Tables,
    as_number,
    is_list,
    is_number,
    read_table,
    texts_of,
)
from seqmodels.errors import UserError, choices, refusing, shown
from seqmodels.files import called

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Names:
    """A column of texts: which of `names` each row has, `codes (N,)`; -1 for none."""

    codes: np.ndarray
    names: list[str]

    def __getitem__(self, rows: Any) -> Names:
        return Names(self.codes[rows], self.names)

    @cached_property
    def texts(self) -> np.ndarray:
        """Each row's text, or None."""
        return np.array([*self.names, None], dtype=object)[self.codes]


class Columns:
    """The columns of a table.

    Args:
        table: of Arrow.
        path: to name in errors.
        rows: which row of the table each row is; None: each is one.
        places: which row of the file each row of the table is, for errors; None: each is one.
    """

    def __init__(
        self,
        table: pa.Table,
        path: str,
        rows: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> None:
        self.table, self.path, self.rows, self.places = table, path, rows, places
        self._names: dict[str, Names] = {}

    def __len__(self) -> int:
        return len(self.table if self.rows is None else self.rows)

    def __contains__(self, column: object) -> bool:
        return column in self.table.column_names

    def check(self, column: str, key: str) -> None:
        """Raises a `UserError` that names the key, such as `data.group`, without such a column."""
        if column not in self:
            known = choices(column, self.table.column_names)
            raise UserError(f"{self.path} has no column {column!r}: set {key}; {known}")

    def where(self, row: Any) -> str:
        """The file and the row of it that a row of the table is, for an error."""
        return f"{self.path}: row {1 + int(row if self.places is None else self.places[row])}"

    @cached_property
    def lists(self) -> list[str]:
        """The columns whose cells are lists."""
        return [field.name for field in self.table.schema if is_list(field.type)]

    def names(self, column: str) -> Names:
        """A column as texts; blank ones are none."""
        if column not in self._names:
            encoded = self.table[column].combine_chunks().dictionary_encode()
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            found = texts_of(encoded.dictionary)
            known = np.array([text is not None and bool(text.strip()) for text in found] + [False])
            self._names[column] = Names(np.where(known[codes], codes, -1), found)
        names = self._names[column]
        return names if self.rows is None else names[self.rows]

    def numbers(self, column: str, *, needed: bool = False) -> np.ndarray | None:
        """A column as float64, nan where a number is missing; None if it holds texts.

        Args:
            needed: whether texts are an error.

        Raises:
            UserError: for an infinite number, or a text in some rows of numbers.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        array = self.table[column]
        kind = array.type
        if is_number(kind):
            found = pc.cast(array, pa.float64(), safe=False).to_numpy()
            if np.isinf(found).any():
                row = int(np.isinf(found).argmax())
                as_number(found[row], self.where(row), column)  # says that
        elif is_list(kind) or pa.types.is_temporal(kind):
            return None
        else:
            names = Columns(self.table, self.path).names(column)
            values, wrong = [math.nan] * (len(names.names) + 1), []
            for n, text in enumerate(names.names):
                try:
                    values[n] = as_number(None if text in MISSING else text, "", "")
                except UserError:
                    wrong.append(n)
            bad = np.isin(names.codes, wrong)
            if bad.any() and (needed or 2 * bad.sum() < (names.codes >= 0).sum()):
                row = int(bad.argmax())
                as_number(names.texts[row], self.where(row), column)
            found = None if bad.any() else np.array(values)[names.codes]
        return found if found is None or self.rows is None else found[self.rows]


def read_columns(
    path: str,
    tables: Tables,
    texts: Collection[str] = (),
    wanted: Sequence[str] = (),
) -> Columns:
    """The columns of a CSV, TSV, JSON, JSON Lines or Parquet file.

    Args:
        texts: columns of which a number in a CSV file is a text, as it stands there.
        wanted: which to read; without any, all.

    Raises:
        UserError: if the file cannot be read, is empty, or has no such column.
    """
    import pyarrow as pa

    name = called(path)
    with refusing(f"{name} cannot be read", pa.ArrowException, OSError, ValueError, LookupError):
        table = read_table(path, tables, texts, wanted)
    if not len(table):
        raise UserError(f"{name} has no rows")
    return Columns(table, name)


def steps_of(columns: Columns) -> tuple[Columns, Columns, np.ndarray]:
    """The columns with lists, a row for each of their elements; the others, each row as often as
    its lists have elements; and the row of each element. Lists of lists are `(T, C)` series, whose
    channels become columns.

    Raises:
        UserError: for a row without a list, or with lists of unequal length.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = {name: columns.table[name].combine_chunks() for name in columns.lists}
    sizes = {n: pc.list_value_length(each).fill_null(0).to_numpy() for n, each in lists.items()}
    first, *others = sizes
    for name in others:
        if (wrong := sizes[name] != sizes[first]).any():
            row = int(wrong.argmax())
            both = f"{sizes[first][row]} of {first!r} and {sizes[name][row]} of {name!r}"
            raise UserError(f"{columns.where(row)} has {both}: give one of each for each step")
    if not sizes[first].all():
        row = int(sizes[first].argmin())
        raise UserError(f"{columns.where(row)} has no steps: fill its lists, or remove it")
    rows, flat = np.repeat(np.arange(len(columns.table)), sizes[first]), dict[str, Any]()
    steps = Columns(pa.table({}), columns.path, places=rows)
    for name, each in lists.items():
        flat[name] = each.flatten()
        if not is_list(flat[name].type):
            continue
        widths = pc.list_value_length(flat[name]).fill_null(0).to_numpy()
        if (wrong := widths != widths[0]).any():
            what = f"{shown(name)} has steps of {widths[0]} channels and of others"
            raise UserError(f"{steps.where(wrong.argmax())}: {what}: give each step all of them")
        cells, width = flat.pop(name).flatten(), int(widths[0])
        of = {f"{name}[{n}]": cells.take(np.arange(n, len(cells), width)) for n in range(width)}
        flat |= of
        for channel in of:
            Columns(pa.table(of), columns.path, places=rows).numbers(channel, needed=True)
    rest = columns.table.drop_columns([*lists])
    return (
        Columns(pa.table(flat), columns.path, places=rows),
        Columns(rest, columns.path, rows),
        rows,
    )
