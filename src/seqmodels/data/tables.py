"""Tables: CSV and TSV, JSON, Parquet, as Arrow holds them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seqmodels.data.batches import MANY_COLUMNS, table_of_batches
from seqmodels.data.columns import BLOCK, Columns
from seqmodels.data.examples import InputRow
from seqmodels.data.gaps import NaValues, values_of_column, with_gaps
from seqmodels.data.separated import (
    Separated,
    check_names,
    check_no_points,
    with_points,
)
from seqmodels.errors import UserError, choices, refusing, setting, within_memory
from seqmodels.files import called, existing_file, read_lines

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {".csv": ",", ".tsv": "\t"}
# The columns of an index of pandas that has no name are called so.
INDEX = "__index_level_"
# The formats whose cells may be lists.
WITH_LISTS = (".json", ".jsonl", ".ndjson", ".parquet")
# The formats of which one can read some columns without the others.
READ_BY_COLUMN = (*SEPARATORS, ".parquet")
TABLES = (*SEPARATORS, *WITH_LISTS)
ARRAYS = (".npy", ".npz", ".pt", ".pth", ".pkl", ".mat", ".h5", ".hdf5")
BY_PANDAS = {".xlsx": "read_excel", ".xls": "read_excel", ".ods": "read_excel"}
BY_PANDAS |= {".feather": "read_feather", ".arrow": "read_feather", ".orc": "read_orc"}
BY_PANDAS |= {".dta": "read_stata", ".sav": "read_spss", ".sas7bdat": "read_sas"}
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z")
# A list of objects begins so in JSON.
LIST = re.compile(r"\s*\[\s*(\{|\]?\s*$)")
# Python writes NaN for a number that is missing.
NO_NUMBERS = {"NaN": None}
# Numbers stay texts, because 1 and 1.0 are different labels.
AS_TEXT = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=lambda name: NO_NUMBERS.get(name, name)
)
# Of a Parquet file, so many bytes of pages are read at a time, and so many bytes of rows.
BUFFER, BATCH = 1 << 18, 1 << 20
# Float64 doesn't tell larger whole numbers apart.
LARGEST_EXACT = 2**53
Decimal = Literal[".", ","]


def is_empty(path: str) -> bool:
    """Whether this is a file without a byte, such as one whose writing failed."""
    file = Path(path)
    return file.is_file() and not file.stat().st_size


@dataclass(frozen=True, kw_only=True)
class Tables:
    """How to read tables; the ending of a file says which format it has.

    - CSV and TSV: the text of a field. An empty one is an empty text.
    - JSON: the content of a string; a number, `true` or `false` as it stands in the file. So `1`
      and `1.0` are different labels, and `1` and `"1"` are the same. `null` is missing.
    - Parquet: a string; a number in the fewest digits that give it again; `true` or `false`; the
      name of a class where HuggingFace `datasets` has written its number. Null and nan are missing,
      and a class of -1.

    Args:
        columns: the names of the columns, for CSV and TSV files without a header.
        quoting: whether double quotes enclose fields; None means yes in CSV and no in TSV.
        encoding: of CSV, TSV and plain text files.
        separator: what stands between the fields of CSV and TSV; None means a comma in CSV, and a
            tab in TSV.
        decimal: what stands before the fraction of a number that is written as text, `.` or `,`.
        na_values: what stands for a value that is missing: in all columns that no key names for
            their texts, or by the name of a column.

    Raises:
        UserError: for a separator of several characters.
    """

    columns: list[str] | None = None
    quoting: bool | None = None
    encoding: str = "utf-8"
    separator: str | None = None
    decimal: Decimal = "."
    na_values: NaValues | None = None

    def __post_init__(self) -> None:
        if self.separator == "\\t":
            # One writes a tab so in a shell.
            object.__setattr__(self, "separator", "\t")
        if self.separator is None:
            return
        if len(self.separator) != 1 or self.separator >= "\x7f":
            raise UserError(
                f"data.separator={self.separator}: give one character, such as "
                f"{setting('data.separator', ';')}"
            )

    def read(
        self,
        path: str,
        wanted: Sequence[str] = (),
        texts: Collection[str] | None = None,
        several: str = "",
        ends: Sequence[int] = (),
    ) -> Columns:
        """The rows of a file. Raises a `UserError` if it cannot be read, or has none.

        Args:
            wanted: the columns to read; without any, all.
            texts: the columns of CSV and TSV that stay texts. Another one becomes a column of
                numbers if all its fields are numbers. None: all columns stay texts.
            several: the column whose cells in JSON may be a list in one row, and a single value in
                another.
            ends: where each series ends, if the rows are known to be in order. Then the memory of
                each can be freed by itself.
        """
        import pyarrow as pa  # takes time, so only where a table is read

        suffix = ending(path)
        if is_empty(path):
            raise UserError(f"{called(path)} has no rows: the file is empty")
        errors = (pa.ArrowException, OSError, ValueError, LookupError)
        with refusing(f"{called(path)} cannot be read", *errors), within_memory(called(path)):
            if suffix not in TABLES:
                raise UserError(f"{path}: {other_format(path)}")
            if suffix == ".parquet":
                # Decimal commas are replaced in texts as they stand.
                keeps_once = texts is not None and self.decimal == "."
                table, names = _parquet(
                    existing_file(path), wanted, texts_once=keeps_once, ends=ends
                )
            elif suffix in SEPARATORS:
                reader = self._separated(suffix)
                table, names = reader.read(existing_file(path), wanted, texts, ends)
                if self.decimal != "." and texts is not None:
                    check_no_points(table, texts, path)
            else:
                table, names = _json(path, wanted, several)
        if not len(table):
            raise UserError(f"{called(path)} has no rows")
        return self.with_gaps(Columns(table, called(path), file_columns=names), texts)

    def text_rows(
        self, path: str, column: str, key: str, roles: Mapping[str, str]
    ) -> Iterator[InputRow]:
        """The texts in a column that this key names. In a `.txt` file and in standard input, `-`,
        each line is a text, which is given as soon as it can be read.

        Args:
            roles: the columns by their roles, of which `id` alone is read.
        """
        if has_lines(path):
            yield from map(InputRow, read_lines(path, self.encoding))
            return
        identity = {role: name for role, name in roles.items() if role == "id"}
        table = self.read(path, [column, *identity.values()])
        texts = table.filled(column, key, raw=True).texts
        yield from starmap(InputRow, table.rows(identity, texts))

    def of_rows(
        self, rows: Sequence[Mapping[str, Any]], path: str, texts: Collection[str]
    ) -> Columns:
        """The columns of rows that are in memory. Raises a `UserError` if there are none, or a
        column has values of several types.

        Args:
            path: where the rows come from.
            texts: see `read`.
        """
        import pyarrow as pa

        source = called(path)
        if not rows:
            raise UserError(f"{source} has no rows")
        errors = (pa.ArrowException, TypeError, ValueError)
        with refusing(f"{source} cannot be read", *errors), within_memory(source):
            columns = Columns(table_of(rows), source)
        return self.with_gaps(columns, texts)

    def with_gaps(self, columns: Columns, texts: Collection[str] | None) -> Columns:
        """The columns with numbers that have a decimal point, and with nothing where a value of
        `na_values` stands.

        Args:
            texts: see `read`.
        """
        table = columns.table
        if self.decimal != "." and texts is not None:
            other_columns = [name for name in table.column_names if name not in texts]
            table = with_points(table, other_columns)
        table = with_gaps(table, self.na_values, texts)
        return replace(columns, table=table)

    def with_exact_numbers(self, table: Columns, path: str, column: str) -> Columns:
        """The table of a file, with its texts in a column of numbers that float64 does not tell
        apart, such as nanoseconds."""
        if ending(path) not in SEPARATORS or table.kind(column) != "number":
            return table
        largest = 0.0
        for _, numbers in table.blocks(column):
            largest = max(largest, np.nanmax(np.abs(numbers), initial=0))
        if largest <= LARGEST_EXACT:
            return table
        texts = self.read(path, [column]).table[column]
        position = table.table.column_names.index(column)
        return replace(table, table=table.table.set_column(position, column, texts))

    def _separated(self, suffix: str) -> Separated:
        """How to read a file with separators that has this ending."""
        separator = self.separator or SEPARATORS[suffix]
        quotes = self.quoting
        if quotes is None:
            quotes = suffix == ".csv"
        missing = list[str]()
        if not isinstance(self.na_values, Mapping):
            values = values_of_column(self.na_values, "", is_named=False)
            missing = [value for value in values if isinstance(value, str)]
        return Separated(
            separator=separator,
            quotes=quotes,
            columns=self.columns,
            encoding=self.encoding,
            decimal=self.decimal,
            missing=missing,
        )


def _parquet(
    path: str, wanted: Sequence[str], *, texts_once: bool, ends: Sequence[int] = ()
) -> tuple[pa.Table, Sequence[str]]:
    """The wanted columns of a Parquet file, or all if none is named; and the names of all its
    columns. Numbers of classes become the names of the classes.

    Args:
        texts_once: whether to keep a text that many rows have once.
        ends: see `table_of_batches`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Without a buffer, all pages of a column would be in memory beside what they hold.
    options: dict[str, Any] = {"buffer_size": BUFFER, "pre_buffer": False}
    with pq.ParquetFile(path, page_checksum_verification=True, **options) as file:
        names = [name for name in file.schema_arrow.names if not name.startswith(INDEX)]
        check_names(names, path)
        columns_to_read = [name for name in names if name in wanted or not wanted]
        if texts_once and 0 < len(columns_to_read) <= MANY_COLUMNS:
            size = _rows_of_a_batch(file.metadata)
            batches = file.iter_batches(size, columns=columns_to_read, use_threads=False)
            schema = pa.schema(map(file.schema_arrow.field, columns_to_read))
            table = table_of_batches(batches, schema, ends=ends)
        else:
            table = file.read(columns_to_read)
        metadata = file.schema_arrow.metadata
    class_names_by_column = _class_names(metadata or {})
    for position, column in enumerate(table.column_names):
        if column in class_names_by_column:
            class_names = class_names_by_column[column]
            values = [_with_class_names(value, class_names) for value in table[column].to_pylist()]
            table = table.set_column(position, column, [values])
    return table, names


def _rows_of_a_batch(metadata: Any) -> int:
    """How many rows of a Parquet file to read at a time: as many as take about `BATCH` bytes."""
    sizes = [
        metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
    ]
    row_size = sum(sizes) / max(metadata.num_rows, 1)
    return int(np.clip(BATCH / max(row_size, 1), 1, BLOCK))


def _json(path: str, wanted: Sequence[str], several: str) -> tuple[pa.Table, Sequence[str]]:
    """The wanted columns of a JSON file, or all if none is named; and the names of all its columns.

    Args:
        several: see `Tables.read`.
    """
    rows = list(json_rows(path))
    if len(rows) == 1 and all(isinstance(value, dict) for value in rows[0].values()):
        raise UserError(
            f"{called(path)} holds a dict for each column, not a row for each line: "
            "write it by to_json(..., orient='records', lines=True)"
        )
    names = names_of(rows)
    columns_to_read = [name for name in wanted if name in names]
    return table_of(rows, columns_to_read, several), names


def table_of(
    rows: Sequence[Mapping[str, Any]], columns: Collection[str] = (), several: str = ""
) -> pa.Table:
    """A table of Arrow of rows, of which some may lack a column.

    Args:
        columns: the columns of the table; without any, all that a row has.
        several: the column in which a single value is a list of one.
    """
    import pyarrow as pa

    arrays = dict[str, Any]()
    for name in columns or names_of(rows):
        cells = [row.get(name) for row in rows]
        if name == several:
            cells = [cell if isinstance(cell, list) else [cell] for cell in cells]
        arrays[name] = _array(cells)
    return pa.table(arrays)


def names_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that any of some rows has, in the order in which they first occur."""
    return [*dict.fromkeys(name for row in rows for name in row)]


def _array(values: list[Any]) -> pa.Array:
    """A column of Arrow. If only some rows have objects or lists, it keeps these alone, each as
    JSON: Arrow has no type for such a column, which perhaps nobody reads."""
    import pyarrow as pa

    is_nested = [isinstance(value, dict | list) for value in values]
    if any(is_nested) and not all(is_nested):
        with suppress(pa.ArrowException):
            return pa.array(values)
        objects = zip(is_nested, values, strict=True)
        return pa.array(
            [{"json": json.dumps(value)} if nested else None for nested, value in objects]
        )
    return pa.array(values)


def json_rows(path: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON file, with texts as values: one on each line, or all of them in one
    list. A list in the place of an object holds the steps of a series."""
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        with refusing(f"{called(path)}: line {number} is not JSON", ValueError, RecursionError):
            if LIST.match(line):
                # The list may end on any later line, and nothing follows it.
                rows = AS_TEXT.decode("\n".join([line, *lines]))
            elif line:
                rows = [AS_TEXT.decode(line)]
            else:
                rows = []
        for row in rows:
            values = row if isinstance(row, dict) else {"series": row}
            yield {key: _as_text(value) for key, value in values.items()}


def _as_text(value: Any) -> Any:
    """A value of JSON, in which `true` and `false` are texts, as numbers are already."""
    if isinstance(value, list):
        return [_as_text(element) for element in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, dict[int, str]]:
    """The names of classes by their numbers, for each column of a Parquet file that holds such
    numbers. HuggingFace `datasets` describes the columns in JSON inside the file."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        class_names_by_column = dict[str, dict[int, str]]()
        for column, feature in features.items():
            # A column of lists says inside what its elements are.
            feature_of_elements = feature.get("feature", feature)
            if feature_of_elements["_type"] == "ClassLabel":
                class_names_by_column[column] = dict(enumerate(feature_of_elements["names"]))
        return class_names_by_column
    return {}


def _with_class_names(value: Any, class_names: Mapping[int, str]) -> Any:
    """The name of a class in the place of its number, or a list of them. `datasets` writes -1 where
    there is no class, which becomes None."""
    if isinstance(value, list):
        return [_with_class_names(element, class_names) for element in value]
    return class_names.get(value)


def has_lines(path: str) -> bool:
    """Whether a file to predict for is plain text with an input on each line, as standard input
    is."""
    return path == "-" or ending(path) == ".txt"


def ending(path: str) -> str:
    """The ending of a file, such as `.csv`."""
    return Path(path).suffix.lower()


def other_format(path: str) -> str:
    """What to do about a file that is no table of these formats, or about a folder."""
    suffix = ending(path)
    if Path(path).is_dir():
        return (
            "a folder: write a table with a row for each of its files, and set data.files to the "
            "column with their names; or join the files into one table"
        )
    if suffix in ARRAYS:
        return 'read its arrays in Python: train(config, data={"train": (X, y)})'
    name = Path(path).name
    if suffix in BY_PANDAS:
        reader = BY_PANDAS[suffix]
        table = Path(name).stem
        return f"write it as a table: pandas.{reader}({name!r}).to_parquet('{table}.parquet')"
    if suffix in PACKED:
        return (
            f"unpack it, or write it as a table: pandas.read_csv({name!r}).to_parquet('a.parquet')"
        )
    return f"unknown ending {suffix!r}: {choices(suffix, TABLES)}"
