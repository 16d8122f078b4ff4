"""Tables by columns, as Arrow holds them: numbers as arrays, everything else as names."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
# Up to so many different texts of a column are always kept once.
MANY_NAMES = 10_000
# More slices than these are slower to read than a copy of them is to make.
FEW_SLICES = 100
# So many rows of a long column are computed with at a time.
BLOCK = 1 << 18
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

    codes: np.ndarray  # (N,), a position in `names`; -1 for no text; of the smallest type
    names: list[str]

    @cached_property
    def texts(self) -> np.ndarray:
        """Each row's text, or None."""
        return self.texts_in(slice(None))

    def texts_in(self, rows: slice) -> np.ndarray:
        """The text of each of these rows, or None."""
        return np.array([*self.names, None], dtype=object)[self.codes[rows]]

    @cached_property
    def counts(self) -> np.ndarray:
        """How many rows have each of the names, `(len(names),)`."""
        counts = np.zeros(len(self.names) + 1, np.int64)  # The last one is of rows without a text.
        for start, stop in row_blocks(len(self.codes)):
            codes = self.codes[start:stop].astype(np.int64)
            codes[codes < 0] = len(self.names)
            counts += np.bincount(codes, minlength=len(counts))
        return counts[:-1]

    @property
    def numbers(self) -> np.ndarray:
        """The number that each of the names says, `(len(names),)`; infinity where it says none. If
        all are `true` and `false`, these are 1 and 0."""
        words = {name.lower() for name in self.names if name not in MISSING}
        if words and words <= TRUTH.keys():
            return np.array([TRUTH.get(name.lower(), math.nan) for name in self.names])
        return np.array([as_number(name) for name in self.names], np.float64)

    @property
    def are_wrong(self) -> np.ndarray:
        """Whether each of the names is something else than a finite number, `(len(names),)`."""
        return np.isinf(self.numbers)

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
        return Names(np.array(new_codes, self.codes.dtype)[self.codes], new_names)


class Coder:
    """Makes codes of texts that come in pieces: what `Names` holds, in little memory.

    Names have the order in which they first occur.
    """

    def __init__(self, row_count: int = 0) -> None:
        """
        Args:
            row_count: how many rows there will be, if that is known.
        """
        self.names: list[str] = []
        self._code_by_name: dict[str, int] = {}
        self._codes = np.empty(row_count, np.int8)
        self._coded_count = 0
        self._has_nulls = False

    @property
    def codes(self) -> np.ndarray:
        """The code of each row so far, `(N,)`; -1 where a value is null."""
        return self._codes[: self._coded_count]

    def add(self, array: Any) -> None:
        """Codes an array of Arrow, which may hold numbers, too."""
        import pyarrow as pa

        if not pa.types.is_dictionary(array.type):
            for start, stop in row_blocks(len(array)):
                encoded = array.slice(start, stop - start).dictionary_encode()
                codes = [self._code_of(text or "") for text in texts_of(encoded.dictionary)]
                self._append(codes, encoded.indices)
            return
        texts = texts_of(array.dictionary)
        # A dictionary may hold names that no row has, which get no code.
        codes = [-1] * len(texts)
        for start, stop in row_blocks(len(array)):
            indices = array.indices.slice(start, stop - start)
            for index in indices.unique().to_pylist():
                if index is not None and codes[index] < 0:
                    codes[index] = self._code_of(texts[index] or "")
            self._append(codes, indices)

    @property
    def has_many_names(self) -> bool:
        """Whether codes save no memory, because most rows have a name of their own."""
        return len(self.names) > max(MANY_NAMES, self._coded_count // 2)

    def _code_of(self, name: str) -> int:
        code = self._code_by_name.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code

    def _append(self, codes: list[int], indices: Any) -> None:
        """Adds the rows with these indices of Arrow into the codes."""
        import pyarrow as pa

        dtype = smallest_type(len(self.names))
        if self._codes.dtype.itemsize < dtype.itemsize:
            self._codes = self._codes.astype(dtype)
        end = self._coded_count + len(indices)
        if end > len(self._codes):
            # The C library moves a large array without a copy.
            self._codes.resize(max(end, len(self._codes) * 17 // 16), refcheck=False)
        code_by_index = np.array([*codes, -1], self._codes.dtype)
        filled_indices = indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        self._codes[self._coded_count : end] = code_by_index[filled_indices]
        self._coded_count = end
        self._has_nulls |= bool(indices.null_count)

    def array(self, rows: np.ndarray | slice = slice(None)) -> Any:
        """All rows, or these, as a dictionary array of Arrow."""
        import pyarrow as pa

        codes = self.codes[rows]
        indices = pa.array(codes, mask=codes < 0) if self._has_nulls else pa.array(codes)
        return pa.DictionaryArray.from_arrays(indices, pa.array(self.names, pa.large_string()))


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


@dataclass
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

    def in_slices(self, slices: Sequence[tuple[int, int]]) -> Columns:
        """The columns with the rows of these slices alone, from a row to before another. A few long
        slices are not copied."""
        import pyarrow as pa

        dtype = smallest_type(len(self))
        rows = np.concatenate([np.arange(start, stop, dtype=dtype) for start, stop in slices])
        if len(slices) > FEW_SLICES:
            return self.take(rows)
        origins = {column: origin.take(rows) for column, origin in self.origins.items()}
        pieces = [self.table.slice(start, stop - start) for start, stop in slices]
        return Columns(
            pa.concat_tables(pieces), self.path, self.file_rows_of(rows), origins=origins
        )

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
            columns[column] = _taken(values, rows)
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
        elements = elements_of(self.table[column])
        return elements_of(elements) if is_list(elements.type) else elements

    def names(self, column: str) -> Names:
        """A column as texts without the blanks around them; blank texts are missing ones."""
        if column not in self._names:
            self._names[column] = self.written(column).stripped()
        return self._names[column]

    def written(self, column: str) -> Names:
        """A column as texts as they are written; blank texts are missing ones. Raises a `UserError`
        for a column of objects or lists."""
        import pyarrow as pa

        if is_nested(self.table[column].type):
            raise self._no_text(column)
        names = _coded_already(self.table[column])
        if names is None:
            coder = Coder(len(self))
            with refusing(f"{self.path}: {column!r} holds no texts", pa.ArrowException):
                for chunk in self.table[column].chunks:
                    coder.add(chunk)
            names = Names(coder.codes, coder.names)
        is_name = [bool(name.strip()) for name in names.names]
        if all(is_name):
            return names
        is_name.append(False)  # The code -1 reads the last one.
        has_name = np.array(is_name)[names.codes]  # (N,)
        return Names(np.where(has_name, names.codes, names.codes.dtype.type(-1)), names.names)

    def _no_text(self, column: str) -> UserError:
        """The error about a column that holds objects or lists."""
        is_value = self.table[column].is_valid().to_numpy()
        where = self.where(is_value.argmax(), column)
        return UserError(
            f"{where} has an object or a list in {column!r}: write a text or a number in its place"
        )

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
        rows, parse = self._parser(column)
        values = parse(rows)
        return values, np.isinf(values)

    def blocks(self, column: str, overlap: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """The numbers of a long column, as `parsed` gives them, some rows at a time: the first row
        of each block, and its numbers.

        Args:
            overlap: with how many rows each block begins the next one.
        """
        rows, parse = self._parser(column)
        for start, stop in row_blocks(len(self), overlap):
            yield start, parse(rows[start:stop])

    def numbers_at(self, column: str, rows: np.ndarray) -> np.ndarray:
        """The numbers in these rows of a column, as `parsed` gives them.

        Args:
            rows: in rising order.
        """
        pieces = [np.zeros(0)]
        for start, values in self.blocks(column):
            first, last = np.searchsorted(rows, [start, start + len(values)])
            pieces.append(values[rows[first:last] - start])
        return np.concatenate(pieces)

    def _parser(self, column: str) -> tuple[Any, Callable[[Any], np.ndarray]]:
        """The rows of a column, which one can slice, and what makes numbers of a slice, float64;
        infinity where a row holds something else."""
        rows = self.table[column]
        if self.kind(column) == "number":
            return rows, _float64
        if self.kind(column) == "boolean":
            return rows, _float64_of_booleans
        names = self.names(column)
        number_by_code = np.append(names.numbers, math.nan)  # The code -1 reads the last one.
        return names.codes, number_by_code.__getitem__

    def hand_over(self, columns: Iterable[str], kept: Collection[str]) -> dict[str, Numbers]:
        """The numbers of these columns, row after row. The table keeps only those of the others and
        of `kept`, so that each number is in memory once."""
        given = {}
        for column in columns:
            rows, parse = self._parser(column)
            given[column] = Numbers(deque(getattr(rows, "chunks", [rows])), parse)
        others = [name for name in self.table.column_names if name in kept or name not in given]
        self.table = self.table.select(others)
        self.__dict__.pop("_name_set", None)
        return given

    def holds_texts(self, column: str) -> bool:
        """Whether a column holds texts: at least half of its values are no numbers. In a column
        with more numbers than texts, a text is a mistake, or stands for a gap."""
        if self.kind(column) in ("number", "boolean"):
            return False
        if self.kind(column) != "text":
            return True
        names = self.names(column)
        return 2 * self.wrong_count(column) >= max(int(names.counts.sum()), 1)

    def wrong_count(self, column: str) -> int:
        """How many rows of a column of texts hold something else than a finite number."""
        names = self.names(column)
        return int(names.counts[names.are_wrong].sum())

    def wrong_texts(self, column: str) -> list[str]:
        """The different texts of a column that are something else than a finite number."""
        names = self.names(column)
        return [names.names[code] for code in np.flatnonzero(names.are_wrong & (names.counts > 0))]

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
            raise self._no_number(column, int(is_wrong.argmax()))
        return values

    def check_column_of_numbers(self, column: str) -> None:
        """Raises a `UserError` for an infinite number or a text in a column."""
        for start, values in self.blocks(column):
            is_wrong = np.isinf(values)
            if is_wrong.any():
                raise self._no_number(column, start + int(is_wrong.argmax()))

    def _no_number(self, column: str, row: int) -> UserError:
        """The error about a row of a column that holds something else than a finite number."""
        value: Any
        if self.kind(column) == "number":
            [value] = self.numbers_at(column, np.array([row])).tolist()
        else:
            value = self.names(column).texts_in(slice(row, row + 1))[0]
        return no_number(value, self.where(row, column), column)

    def check_numbers(self) -> None:
        """Raises a `UserError` for a column that holds something else than numbers."""
        for column in self.table.column_names:
            self.check_column_of_numbers(column)

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
        dtype = self.table[column].type
        element_type = dtype.value_type if is_list(dtype) else dtype
        if is_nested(element_type):
            raise self._no_text(column)
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


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column, row after row, which are forgotten when they are read.

    Args:
        chunks: the rows of the column, in pieces.
        parse: makes numbers of some rows.
    """

    chunks: deque[Any]
    parse: Callable[[Any], np.ndarray]

    def read(self, count: int) -> np.ndarray:
        """The numbers of the next rows, `(count,)` float64, nan where one is missing."""
        pieces = []
        while count > 0:
            chunk = self.chunks.popleft()
            if len(chunk) > count:
                self.chunks.appendleft(chunk[count:])
                chunk = chunk[:count]
            pieces.append(self.parse(chunk))
            count -= len(chunk)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def row_blocks(count: int, overlap: int = 0) -> Iterator[tuple[int, int]]:
    """The first row of each block of `BLOCK` rows, and the row after its last one.

    Args:
        overlap: with how many rows each block begins the next one.
    """
    for start in range(0, max(count - overlap, 0), BLOCK):
        yield start, min(start + BLOCK + overlap, count)


def smallest_type(count: int) -> np.dtype:
    """The smallest type of NumPy that holds -1 and the numbers below `count`."""
    for dtype in (np.int8, np.int16, np.int32):
        if count - 1 <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)


def columns_by_name(table: pa.Table) -> dict[str, Any]:
    """The columns of a table of Arrow, by their names."""
    return dict(zip(table.column_names, table.columns, strict=True))


def _coded_already(column: Any) -> Names | None:
    """The codes of a column of Arrow that a `Coder` has made, without a copy; None of another
    column."""
    import pyarrow as pa

    if column.num_chunks != 1 or column.null_count or not pa.types.is_dictionary(column.type):
        return None
    [chunk] = column.chunks
    if not pa.types.is_signed_integer(chunk.indices.type):
        return None
    # A `Coder` counts names as they first occur, and each occurs.
    if chunk.indices.unique().to_pylist() != [*range(len(chunk.dictionary))]:
        return None
    texts = texts_of(chunk.dictionary)
    if None in texts or len(set(texts)) < len(texts):
        return None
    return Names(chunk.indices.to_numpy(), texts)


def _taken(column: Any, rows: np.ndarray) -> Any:
    """These rows of a column of Arrow, many of which are the same: in little memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind_of(column.type) == "text":
        coder = Coder(len(column))
        for chunk in column.chunks:
            coder.add(chunk)
        return coder.array(rows)
    if pa.types.is_signed_integer(column.type) and len(column) > column.null_count:
        least, largest = pc.min_max(column).as_py().values()
        dtype = smallest_type(1 + max(largest, -1 - least))
        column = column.cast(pa.from_numpy_dtype(dtype))
    return column.take(rows)


def _float64(array: Any) -> np.ndarray:
    """An array of Arrow as float64, with nan where a number is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _float64_of_booleans(array: Any) -> np.ndarray:
    """An array of Arrow with 1 for true and 0 for false, and nan where a value is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return _float64(pc.cast(array, pa.uint8()))


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


def is_nested(dtype: Any) -> bool:
    """Whether a type of Arrow is that of lists or objects."""
    from pyarrow import types

    return types.is_nested(dtype)


def is_number(dtype: Any) -> bool:
    """Whether a type of Arrow is that of numbers, or of a column without any value."""
    from pyarrow import types

    if types.is_integer(dtype) or types.is_floating(dtype):
        return True
    return types.is_decimal(dtype) or types.is_null(dtype)


def elements_of(lists: Any) -> Any:
    """The elements of all lists of a column of Arrow, one after the other, without a copy."""
    import pyarrow as pa

    chunks = [chunk.flatten() for chunk in lists.chunks]
    return pa.chunked_array(chunks, lists.type.value_type)


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
