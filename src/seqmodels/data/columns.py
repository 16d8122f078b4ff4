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

# How other programs write a value that is missing.
MISSING = ("", "NA", "N/A", "null")
# A column with more different texts than these is hardly a category.
MANY_TEXTS = 100
Kind = Literal["number", "boolean", "text", "time", "list", "other"]
# A column of texts that holds these words alone is one of numbers.
TRUTH = {"true": 1.0, "false": 0.0}
DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?")
THOUSANDS = re.compile(
    r"[-+]?[0-9]{1,3}(?P<mark>[,.' \u00a0\u202f\u2019])[0-9]{3}(?P<more>(?P=mark)[0-9]{3})*"
    r"(?P<fraction>[.,][0-9]+)?"
)
UNIT = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]+)?\s*[^\s0-9.,eE+-]\D{0,9}")


@dataclass(frozen=True)
class Names:
    """A column of texts: the different `names`, and which of them each row has."""

    codes: np.ndarray  # (N,), a position in `names`; -1 for no text
    names: list[str]

    @cached_property
    def texts(self) -> np.ndarray:
        """Each row's text, or None."""
        return np.array([*self.names, None], dtype=object)[self.codes]

    def part(self, start: int, stop: int) -> Names:
        """The rows from `start` to before `stop`."""
        return Names(self.codes[start:stop], self.names)

    def stripped(self) -> Names:
        """The same column without the blanks around names, so that `u1` and `u1 ` are one."""
        stripped_names = [name.strip() for name in self.names]
        if stripped_names == self.names:
            return self
        new_names = list(dict.fromkeys(stripped_names))
        new_code_by_name = {name: code for code, name in enumerate(new_names)}
        new_codes = [new_code_by_name[name] for name in stripped_names]
        new_codes.append(-1)  # The code -1 reads the last one, and stays -1.
        return Names(np.array(new_codes)[self.codes], new_names)


@dataclass(frozen=True)
class Origin:
    """The files that some columns are from: for each row of the columns, its file and the row of
    the file."""

    paths: Sequence[str]
    files: np.ndarray | None  # (N,), positions in `paths`; None: all rows are from one file
    rows: np.ndarray  # (N,), counted from 0 in each file

    def take(self, rows: np.ndarray) -> Origin:
        """The origin of these rows."""
        files = None if self.files is None else self.files[rows]
        return Origin(self.paths, files, self.rows[rows])

    def where(self, row: Any) -> str:
        """The file that a row is from, and its row there, for an error."""
        path = self.paths[0]
        if self.files is not None:
            path = self.paths[self.files[row]]
        return f"{path}: row {1 + int(self.rows[row])}"


@dataclass(frozen=True)
class Columns:
    """The columns of a table, which remember the rows of the file that they are from.

    Args:
        path: the file of the table.
        file_rows: the row of the file, counted from 0, that each row is from; None: the table has
            the rows of its file.
        file_columns: the names of all columns of the file, if the table lacks some of them.
        origins: where columns are from that are from other files than the table.
    """

    table: pa.Table
    path: str
    file_rows: np.ndarray | None = None  # (N,)
    file_columns: Sequence[str] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)
    _names: dict[str, Names] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def _name_set(self) -> frozenset[str]:
        # Arrow makes a new list of the names whenever it is asked.
        return frozenset(self.table.column_names)

    def __contains__(self, column: object) -> bool:
        return column in self._name_set

    def take(self, rows: np.ndarray) -> Columns:
        """The columns with these rows alone."""
        # Most columns share one origin, whose rows are taken once.
        origin_by_id = {id(origin): origin.take(rows) for origin in self.origins.values()}
        origins = {column: origin_by_id[id(origin)] for column, origin in self.origins.items()}
        table = self.table.take(rows)
        return Columns(table, self.path, self.file_rows_of(rows), origins=origins)

    def select(self, columns: Iterable[str]) -> Columns:
        """These columns alone."""
        return replace(self, table=self.table.select([*columns]))

    def beside(self, table: Columns, rows: np.ndarray) -> Columns:
        """These columns, and beside them those of another table that have other names.

        Args:
            rows: the row of the other table that stands beside each row, `(N,)`.
        """
        import pyarrow as pa

        columns = columns_by_name(self.table)
        origins = dict(self.origins)
        origin = Origin([table.path], None, table.file_rows_of(rows))
        for column, values in columns_by_name(table.table).items():
            if column in self:
                continue
            if table.kind(column) == "text":
                values = values.dictionary_encode()  # A text is kept once for many rows.
            columns[column] = values.take(rows)
            if table.path != self.path:
                origins[column] = origin
        return Columns(pa.table(columns), self.path, self.file_rows, origins=origins)

    def file_rows_of(self, rows: np.ndarray) -> np.ndarray:
        """The rows of the file, counted from 0, that these rows are from."""
        return rows if self.file_rows is None else self.file_rows[rows]

    def file_row(self, row: Any) -> int:
        """The row of the file, counted from 1 as in messages, that a row is from."""
        index = row if self.file_rows is None else self.file_rows[row]
        return 1 + int(index)

    def where(self, row: Any, column: str = "") -> str:
        """The file and its row that a row is from, for an error about this column."""
        if column in self.origins:
            return self.origins[column].where(row)
        return f"{self.path}: row {self.file_row(row)}"

    def check(self, column: str, key: str) -> None:
        """Raises a `UserError` that names the key, such as `data.group`, without such a column."""
        if column not in self:
            file_columns = self.file_columns or self.table.column_names
            problem = f"{self.path} has no column {column!r}"
            raise SettingError(
                f"{problem}: set {key}; {choices(column, file_columns)}",
                f"{problem}, which this run reads: name it so in the file, which has "
                f"{listed(file_columns)}",
            )

    @property
    def lists(self) -> list[str]:
        """The columns whose cells are lists."""
        return [field.name for field in self.table.schema if is_list(field.type)]

    def kind(self, column: str) -> Kind:
        """What a column holds: one of `Kind`."""
        return kind_of(self.table[column].type)

    def kind_in_lists(self, column: str) -> Kind:
        """What the lists of a column hold: one of `Kind`."""
        return kind_of(self.table[column].type.value_type)

    def list_lengths(self, column: str) -> np.ndarray:
        """How many elements the list in each row has, `(N,)`."""
        import pyarrow.compute as pc

        return pc.list_value_length(self.table[column]).fill_null(0).to_numpy()

    def holds_numbers_in_lists(self, column: str) -> bool:
        """Whether the lists of a column, or the lists in them, begin with numbers, which JSON may
        hold as texts."""
        elements = self.elements_in_lists(column)
        kind = kind_of(elements.type)
        if kind != "text":
            return kind in ("number", "boolean")
        first_texts = [text for text in elements[:20].to_pylist() if text is not None]
        are_numbers = [math.isfinite(as_number(text)) for text in first_texts]
        return not are_numbers or any(are_numbers)

    def has_gaps_in_lists(self, column: str) -> bool:
        """Whether a number is missing in the lists of a column."""
        if not self.holds_numbers_in_lists(column):
            return False
        elements = self.elements_in_lists(column)
        if kind_of(elements.type) != "number":
            return elements.null_count > 0
        is_gap = np.isnan(_float64(elements))
        return bool(is_gap.any())

    def elements_in_lists(self, column: str) -> Any:
        """All elements of the lists of a column, or of the lists in them."""
        elements = self.table[column].combine_chunks().flatten()
        return elements.flatten() if is_list(elements.type) else elements

    def names(self, column: str) -> Names:
        """A column as texts without the blanks around them; blank texts are missing ones."""
        if column not in self._names:
            self._names[column] = self.written(column).stripped()
        return self._names[column]

    def written(self, column: str) -> Names:
        """A column as texts as they are written; blank texts are missing ones."""
        import pyarrow as pa

        array = self.table[column]
        if pa.types.is_string(array.type):
            # A single chunk of short strings is limited to 2 GB.
            array = array.cast(pa.large_string())
        array = array.combine_chunks()
        if pa.types.is_dictionary(array.type):
            # Its dictionary may hold names that no row has.
            array = array.dictionary_decode()
        with refusing(f"{self.path}: {column!r} holds no texts", pa.ArrowException):
            encoded = array.dictionary_encode()
            texts = texts_of(encoded.dictionary)
        indices = encoded.indices.fill_null(-1)
        codes = indices.to_numpy(zero_copy_only=False).astype(np.int64)
        names = [text or "" for text in texts]
        is_name = [bool(name.strip()) for name in names]
        is_name.append(False)  # The code -1 reads the last one.
        has_name = np.array(is_name)[codes]  # (N,)
        return Names(np.where(has_name, codes, -1), names)

    def filled(self, column: str, key: str = "", *, raw: bool = False) -> Names:
        """A column as texts, of which each row must have one.

        Args:
            key: the key that names the column, for an error.
            raw: whether to read the texts as they are written, with the blanks around them.

        Raises:
            UserError: without such a column, or for a row without a text.
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
        """A column as numbers, `(N,)` float64, nan where one is missing; and whether each row holds
        something else than a finite number, `(N,)` bool. `true` is 1 and `false` is 0."""
        import pyarrow as pa
        import pyarrow.compute as pc

        array = self.table[column]
        if self.kind(column) == "number":
            values = pc.cast(array, pa.float64(), safe=False).to_numpy()
            return values, np.isinf(values)
        if self.kind(column) == "boolean":
            integers = pc.cast(array, pa.uint8())
            values = pc.cast(integers, pa.float64()).to_numpy()
            return values, np.zeros(len(values), bool)
        names = self.names(column)
        words = {name.lower() for name in names.names if name not in MISSING}
        if words and words <= TRUTH.keys():
            numbers = [TRUTH.get(name.lower(), math.nan) for name in names.names]
        else:
            numbers = [as_number(name) for name in names.names]
        numbers.append(math.nan)  # The code -1 reads the last one.
        values = np.array(numbers)[names.codes]
        return values, np.isinf(values)

    def holds_texts(self, column: str) -> bool:
        """Whether a column holds texts: at least half of its values are no numbers. In a column
        with more numbers than texts, a text is a mistake, or stands for a gap."""
        if self.kind(column) in ("number", "boolean"):
            return False
        if self.kind(column) != "text":
            return True
        _, is_wrong = self.parsed(column)
        value_count = int((self.names(column).codes >= 0).sum())
        return 2 * int(is_wrong.sum()) >= max(value_count, 1)

    def numbers(self, column: str, key: str = "") -> np.ndarray:
        """A column as float64, `(N,)`, nan where a number is missing.

        Args:
            key: the key that names the column, for an error.

        Raises:
            UserError: without such a column, or for an infinite number or a text.
        """
        if key:
            self.check(column, key)
        values, is_wrong = self.parsed(column)
        if is_wrong.any():
            row = is_wrong.argmax()
            value = values[row].item()
            if self.kind(column) != "number":
                value = self.names(column).texts[row]
            raise no_number(value, self.where(row, column), column)
        return values

    def check_numbers(self) -> None:
        """Raises a `UserError` for a column that holds something else than numbers."""
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
        """The texts in each cell of a column, whose cells are lists of texts or one text.

        Args:
            key: the key that names the column, for an error.
            raw: whether the texts keep the blanks around them, as they are written.

        Raises:
            UserError: without such a column, or for an empty cell or text.
        """
        self.check(column, key)
        cells = []
        for row, cell in enumerate(texts_of(self.table[column].combine_chunks())):
            texts = cell if isinstance(cell, list) else [cell]
            is_filled = [isinstance(text, str) and bool(text.strip()) for text in texts]
            if not texts or not all(is_filled):
                raise UserError(
                    f"{self.where(row, column)} has an empty text in {column!r}: fill it"
                )
            cells.append(texts)
        if raw:
            return cells
        return [[text.strip() for text in texts] for texts in cells]

    def rows(self, roles: Mapping[str, str], *read: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """A tuple for each row: what is read of it, then what else an example knows of it, as
        `Examples.also` holds it.

        Args:
            roles: the column for each role, such as `weight`; a table may lack some of them.
            read: what is read of the rows, one element for each row.
        """
        also: dict[str, list[Any]] = {
            "source_row": [self.file_row(row) for row in range(len(self))]
        }
        for role, column in roles.items():
            if column not in self:
                continue
            if role == "id":
                also[role] = self.names(column).texts.tolist()
            else:
                also[role] = self.filled(column).texts.tolist()
            if role == "weight":
                also[role] = self.weights(column).tolist()
        value_rows = zip(*also.values(), strict=True)
        also_by_row = [dict(zip(also, values, strict=True)) for values in value_rows]
        return zip(*read, also_by_row, strict=True)


def columns_by_name(table: pa.Table) -> dict[str, Any]:
    """The columns of a table of Arrow, by their names."""
    return dict(zip(table.column_names, table.columns, strict=True))


def _float64(array: Any) -> np.ndarray:
    """An array of Arrow as float64, with nan where a number is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def kind_of(dtype: Any) -> Kind:
    """What an array of this type of Arrow holds."""
    from pyarrow import types

    if is_number(dtype):
        return "number"
    if types.is_boolean(dtype):
        return "boolean"
    if types.is_temporal(dtype):
        return "time"
    if is_list(dtype):
        return "list"
    is_text = types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype)
    if is_text or types.is_dictionary(dtype):
        return "text"
    return "other"


def is_list(dtype: Any) -> bool:
    """Whether a type of Arrow is that of lists."""
    from pyarrow import types

    return types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype)


def is_number(dtype: Any) -> bool:
    """Whether a type of Arrow is that of numbers, or of a column without any value."""
    from pyarrow import types

    if types.is_integer(dtype) or types.is_floating(dtype):
        return True
    return types.is_decimal(dtype) or types.is_null(dtype)


def texts_of(column: Any) -> list[Any]:
    """The text of each value of a column of Arrow, or the list of its texts; None for a value that
    is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_list(column.type):
        return _texts_of_lists(column)
    if pa.types.is_dictionary(column.type):
        return texts_of(column.dictionary_decode())
    if pa.types.is_temporal(column.type):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return pc.cast(column, pa.large_string()).to_pylist()


def _texts_of_lists(column: Any) -> list[list[Any] | None]:
    """The texts in each list of a column of Arrow; None for a list that is missing."""
    import pyarrow.compute as pc

    remaining_texts = iter(texts_of(column.flatten()))
    lists = list[list[Any] | None]()
    for length in pc.list_value_length(column).to_pylist():
        lists.append(None if length is None else [*islice(remaining_texts, length)])
    return lists


def as_number(value: Any) -> float:
    """The number that a text says; nan if it is missing, and infinity if it says none. `1_000` and
    the digits of other scripts are no numbers, although Python reads them."""
    text = str(value)
    if value is None or text.strip() in MISSING:
        return math.nan
    if "_" in text or not text.isascii():
        return math.inf
    with suppress(ValueError):
        return float(text)
    return math.inf


def no_number(value: Any, where: str, name: str) -> UserError:
    """The error about a value that is no number.

    Args:
        where: its file and row.
        name: its column.
    """
    message = f"{where} has {shown(repr(value))} as {name!r}, which is not a finite number"
    if isinstance(value, str):
        message += f": {cure_of(value)}"
    return UserError(message)


def cure_of(text: str) -> str:
    """What to do about a text that stands among numbers."""
    text = text.strip()
    with_decimal_comma = f"train with {setting('data.decimal', ',')}"
    thousands = THOUSANDS.fullmatch(text)
    if thousands:
        # The comma of 1,234 may also be a decimal one.
        has_several_marks = thousands["more"] or thousands["fraction"]
        if thousands["mark"] == "," and not has_several_marks:
            as_fraction, as_thousands = text.replace(",", "."), text.replace(",", "")
            return f"{with_decimal_comma} if it is {as_fraction}, or write {as_thousands}"
        return f"write numbers without separators of thousands, such as {_without(thousands)}"
    if DECIMAL_COMMA.fullmatch(text):
        return with_decimal_comma
    if UNIT.fullmatch(text):
        return "write numbers without their unit"
    if text.isprintable() and len(text) <= 20:
        return f"if it stands for nothing, train with {setting('data.na_values', [text])}"
    return "correct it, or leave it empty"


def _without(thousands: re.Match[str]) -> str:
    """A number without its separators of thousands: 1,234.5 and 1.234,5 as 1234.5."""
    fraction = thousands["fraction"] or ""
    integer = thousands[0].removesuffix(fraction)
    digits = integer.replace(thousands["mark"], "")
    return shown(digits + fraction.replace(",", "."))
