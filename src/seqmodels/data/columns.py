"""Tables by columns, as Arrow holds them: numbers as arrays, everything else as names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seqmodels.arguments import LARGEST_WEIGHT
from seqmodels.errors import SettingError, UserError, choices, listed, refusing, setting, shown

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = ("", "NA", "N/A", "null")  # how others write what is not there
MANY_TEXTS = 100  # in a column that is hardly a category
Kind = Literal["number", "boolean", "text", "time", "list", "other"]
TRUTH = {"true": 1.0, "false": 0.0}  # a column of these alone is one of numbers
DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?")
THOUSANDS = re.compile(
    r"[-+]?[0-9]{1,3}(?P<mark>[,.' \u00a0\u202f\u2019])[0-9]{3}(?P<more>(?P=mark)[0-9]{3})*"
    r"(?P<fraction>[.,][0-9]+)?"
)
UNIT = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]+)?\s*[^\s0-9.,eE+-]\D{0,9}")


@dataclass(frozen=True)
class Names:
    """A column of texts: which of the different `names` each row has, `codes (N,)`; -1 for none."""

    codes: np.ndarray
    names: list[str]

    @cached_property
    def texts(self) -> np.ndarray:
        """Each row's text, or None."""
        return np.array([*self.names, None], dtype=object)[self.codes]

    def part(self, start: int, stop: int) -> Names:
        """The rows from `start` to before `stop`."""
        return Names(self.codes[start:stop], self.names)

    def stripped(self) -> Names:
        """Without the blanks around names, so that `u1` and `u1 ` are one."""
        stripped_names = [name.strip() for name in self.names]
        if stripped_names == self.names:
            return self
        codes_by_name = dict[str, int]()
        new_codes = [codes_by_name.setdefault(n, len(codes_by_name)) for n in stripped_names]
        return Names(np.array([*new_codes, -1])[self.codes], [*codes_by_name])


@dataclass(frozen=True)
class Origin:
    """The files that some columns are from, and the file and the row in it of each row."""

    paths: Sequence[str]
    files: np.ndarray | None  # the number of a path for each row; None: there is one
    rows: np.ndarray  # from 0

    def take(self, rows: np.ndarray) -> Origin:
        """Of these rows."""
        files = None if self.files is None else self.files[rows]
        return Origin(self.paths, files, self.rows[rows])

    def where(self, row: Any) -> str:
        """The file and the row of it, for an error."""
        path = self.paths[0 if self.files is None else int(self.files[row])]
        return f"{path}: row {1 + int(self.rows[row])}"


@dataclass(frozen=True)
class Columns:
    """The columns of a table."""

    table: pa.Table
    path: str
    places: np.ndarray | None = None  # the row of the file, from 0, that each is of; None: as here
    known: Sequence[str] = ()  # the names of the columns of the file, if there are more
    origins: Mapping[str, Origin] = field(default_factory=dict)  # of columns from other files
    _names: dict[str, Names] = field(default_factory=dict, init=False)  # that were asked for

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def _name_set(self) -> frozenset[str]:
        return frozenset(self.table.column_names)  # of which Arrow makes a new list each time

    def __contains__(self, column: object) -> bool:
        return column in self._name_set

    def take(self, rows: np.ndarray) -> Columns:
        """These rows."""
        places = rows if self.places is None else self.places[rows]
        taken = {id(origin): origin.take(rows) for origin in self.origins.values()}
        origins = {column: taken[id(origin)] for column, origin in self.origins.items()}
        return Columns(self.table.take(rows), self.path, places, origins=origins)

    def select(self, columns: Iterable[str]) -> Columns:
        """These columns alone."""
        return replace(self, table=self.table.select([*columns]))

    def beside(self, other: Columns, rows: np.ndarray) -> Columns:
        """With further columns: for each row a row of another table."""
        import pyarrow as pa

        columns = columns_by_name(self.table)
        origins = dict(self.origins)
        places = rows if other.places is None else other.places[rows]
        origin = Origin([other.path], None, places)
        for column, values in columns_by_name(other.table).items():
            if column not in self:
                if other.kind(column) == "text":
                    values = values.dictionary_encode()  # a text stands once for many rows
                columns[column] = values.take(rows)
                if other.path != self.path:
                    origins[column] = origin
        return Columns(pa.table(columns), self.path, self.places, origins=origins)

    def place(self, row: Any) -> int:
        """The row of the file, from 1, that a row is of."""
        return 1 + int(row if self.places is None else self.places[row])

    def where(self, row: Any, column: str = "") -> str:
        """The file and the row of it, for an error about this column."""
        if column in self.origins:
            return self.origins[column].where(row)
        return f"{self.path}: row {self.place(row)}"

    def check(self, column: str, key: str) -> None:
        """Raises a `UserError` that names the key, such as `data.group`, without such a column."""
        if column not in self:
            known = choices(column, self.known or self.table.column_names)
            lacks = f"{self.path} has no column {column!r}"
            raise SettingError(
                f"{lacks}: set {key}; {known}",
                f"{lacks}, which this run reads: name it so in the file, which has "
                f"{listed(self.known or self.table.column_names)}",
            )

    @property
    def lists(self) -> list[str]:
        """The columns whose cells are lists."""
        return [field.name for field in self.table.schema if is_list(field.type)]

    def kind(self, column: str) -> Kind:
        """What Arrow holds in a column."""
        return kind_of(self.table[column].type)

    def kind_in_lists(self, column: str) -> Kind:
        """What Arrow holds in the lists of a column."""
        return kind_of(self.table[column].type.value_type)

    def list_lengths(self, column: str) -> np.ndarray:
        """How many elements the list in each row has, `(N,)`."""
        import pyarrow.compute as pc

        return pc.list_value_length(self.table[column]).fill_null(0).to_numpy()

    def has_gaps_in_lists(self, column: str) -> bool:
        """Whether a number is missing in the lists of a column."""
        elements = self.table[column].combine_chunks().flatten()
        return kind_of(elements.type) == "number" and bool(np.isnan(_float64(elements)).any())

    def names(self, column: str) -> Names:
        """A column as texts without the blanks around them; blank ones are none."""
        if column not in self._names:
            self._names[column] = self.written(column).stripped()
        return self._names[column]

    def written(self, column: str) -> Names:
        """A column as texts as they are written; blank ones are none."""
        import pyarrow as pa

        array = self.table[column]
        if pa.types.is_string(array.type):
            array = array.cast(pa.large_string())  # of which a chunk has no limit of 2 GB
        array = array.combine_chunks()
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()  # which may hold names that no row has
        with refusing(f"{self.path}: {column!r} holds no texts", pa.ArrowException):
            encoded = array.dictionary_encode()
            texts = texts_of(encoded.dictionary)
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        names = [text or "" for text in texts]
        is_name = np.array([bool(name.strip()) for name in names] + [False])
        return Names(np.where(is_name[codes], codes, -1), names)

    def filled(self, column: str, key: str = "", *, raw: bool = False) -> Names:
        """As `names`, of a column that this key names; raises a `UserError` for a row without one.

        Args:
            raw: as `written`.
        """
        if key:
            self.check(column, key)
        names = self.written(column) if raw else self.names(column)
        self.check_filled(column, names.codes < 0)
        return names

    def check_filled(self, column: str, is_missing: np.ndarray) -> None:
        """Raises a `UserError` if a column lacks a value in one of the rows, `(N,)` bool."""
        if is_missing.any():
            where = self.where(is_missing.argmax(), column)
            raise UserError(f"{where} has no {column!r}: fill it")

    def parsed(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """A column as numbers, `(N,)` float64, nan where one is missing; and where it holds
        something else than a finite number, `(N,)` bool. `true` is 1 and `false` is 0."""
        import pyarrow as pa
        import pyarrow.compute as pc

        array = self.table[column]
        if self.kind(column) == "number":
            values = pc.cast(array, pa.float64(), safe=False).to_numpy()
            return values, np.isinf(values)
        if self.kind(column) == "boolean":
            values = pc.cast(pc.cast(array, pa.uint8()), pa.float64()).to_numpy()
            return values, np.zeros(len(values), bool)
        names = self.names(column)
        words = {name.lower() for name in names.names if name not in MISSING}
        if words and words <= TRUTH.keys():
            numbers = [TRUTH.get(name.lower(), math.nan) for name in names.names]
        else:
            numbers = [as_number(name) for name in names.names]
        values = np.array([*numbers, math.nan])[names.codes]
        return values, np.isinf(values)

    def holds_texts(self, column: str) -> bool:
        """Whether it does; not if it holds more numbers, of which one may be wrong."""
        if self.kind(column) in ("number", "boolean"):
            return False
        if self.kind(column) != "text":
            return True
        is_wrong = self.parsed(column)[1]
        count = int((self.names(column).codes >= 0).sum())
        return 2 * int(is_wrong.sum()) >= max(count, 1)

    def numbers(self, column: str, key: str = "") -> np.ndarray:
        """A column, that this key names, as float64, nan where a number is missing. Raises a
        `UserError` for an infinite number, or a text."""
        if key:
            self.check(column, key)
        values, is_wrong = self.parsed(column)
        if is_wrong.any():
            row = is_wrong.argmax()
            is_numeric = self.kind(column) == "number"
            value = values[row].item() if is_numeric else self.names(column).texts[row]
            raise no_number(value, self.where(row, column), column)
        return values

    def check_numbers(self) -> None:
        """Raises a `UserError` for a column that holds something else."""
        for column in self.table.column_names:
            self.numbers(column)

    def weights(self, column: str) -> np.ndarray:
        """A column of weights in the loss, as float64. Raises a `UserError` for a missing one, a
        negative one, or one that is too large to compute with."""
        weights = self.numbers(column)
        is_wrong = ~((weights >= 0) & (weights <= LARGEST_WEIGHT))
        if is_wrong.any():
            row = is_wrong.argmax()
            raise UserError(
                f"{self.where(row, column)} has {weights[row]:g} as {column!r}: give a weight from "
                f"0 to {LARGEST_WEIGHT:g}"
            )
        return weights

    def lists_of(self, column: str, key: str, *, raw: bool = True) -> list[list[str]]:
        """The texts in each cell, a list of them or one; raises a `UserError` for an empty one.

        Args:
            raw: with the blanks around them, as they are written.
        """
        self.check(column, key)
        found = texts_of(self.table[column].combine_chunks())
        cells = [cell if isinstance(cell, list) else [cell] for cell in found]
        for row, cell in enumerate(cells):
            if not cell or not all(isinstance(text, str) and text.strip() for text in cell):
                where = self.where(row, column)
                raise UserError(f"{where} has an empty text in {column!r}: fill it")
        if raw:
            return cells
        return [[text.strip() for text in cell] for cell in cells]

    def rows(self, roles: Mapping[str, str], *read: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of what is read of it, each with what `Examples.also` holds of it.

        Args:
            roles: which column says that, of those that there are.
        """
        also: dict[str, list[Any]] = {"source_row": [self.place(row) for row in range(len(self))]}
        for role, column in roles.items():
            if column in self:
                names = self.names(column) if role == "id" else self.filled(column)
                also[role] = names.texts.tolist()
                if role == "weight":
                    also[role] = self.weights(column).tolist()
        also_by_row = [
            dict(zip(also, row, strict=True)) for row in zip(*also.values(), strict=True)
        ]
        return zip(*read, also_by_row, strict=True)


def columns_by_name(table: pa.Table) -> dict[str, Any]:
    """The columns of a table of Arrow."""
    return dict(zip(table.column_names, table.columns, strict=True))


def _float64(array: Any) -> np.ndarray:
    """An array of numbers, with nan where one is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def kind_of(dtype: Any) -> Kind:
    """What a type of Arrow is of."""
    from pyarrow import types

    if is_number(dtype):
        return "number"
    if types.is_boolean(dtype):
        return "boolean"
    if types.is_temporal(dtype):
        return "time"
    if is_list(dtype):
        return "list"
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_dictionary)
    return "text" if any(test(dtype) for test in texts) else "other"


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
    cure = f": {cure_of(value)}" if isinstance(value, str) else ""
    wrong = f"{shown(repr(value))} as {name!r}, which is not a finite number"
    return UserError(f"{where} has {wrong}{cure}")


def cure_of(text: str) -> str:
    """What to do about a text that stands among numbers."""
    text = text.strip()
    decimal = f"train with {setting('data.decimal', ',')}"
    thousands = THOUSANDS.fullmatch(text)
    if thousands and (thousands["mark"] != "," or thousands["more"] or thousands["fraction"]):
        return f"write numbers without separators of thousands, such as {_without(thousands)}"
    if thousands:
        return f"{decimal} if it is {text.replace(',', '.')}, or write {text.replace(',', '')}"
    if DECIMAL_COMMA.fullmatch(text):
        return decimal
    if UNIT.fullmatch(text):
        return "write numbers without their unit"
    if text.isprintable() and len(text) <= 20:
        return f"if it stands for nothing, train with {setting('data.na_values', [text])}"
    return "correct it, or leave it empty"


def _without(thousands: re.Match[str]) -> str:
    """1,234.5 as 1234.5, and 1.234,5 as 1234.5."""
    fraction = (thousands["fraction"] or "").replace(",", ".")
    whole = thousands[0].removesuffix(thousands["fraction"] or "")
    return shown(whole.replace(thousands["mark"], "") + fraction)
