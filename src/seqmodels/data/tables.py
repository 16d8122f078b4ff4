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

from seqmodels.data.columns import Columns
from seqmodels.data.examples import InputRow
from seqmodels.data.gaps import NaValues, values_of_column, with_gaps
from seqmodels.data.separated import Separated, check_names, check_no_points, with_points
from seqmodels.errors import UserError, choices, refusing, setting, within_memory
from seqmodels.files import called, existing_file, read_lines

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {".csv": ",", ".tsv": "\t"}
INDEX = "__index_level_"  # of pandas, without a name
WITH_LISTS = (".json", ".jsonl", ".ndjson", ".parquet")  # formats whose cells may be lists
TABLES = (*SEPARATORS, *WITH_LISTS)
ARRAYS = (".npy", ".npz", ".pt", ".pth", ".pkl", ".mat", ".h5", ".hdf5")
BY_PANDAS = {".xlsx": "read_excel", ".xls": "read_excel", ".ods": "read_excel"}
BY_PANDAS |= {".feather": "read_feather", ".arrow": "read_feather", ".orc": "read_orc"}
BY_PANDAS |= {".dta": "read_stata", ".sav": "read_spss", ".sas7bdat": "read_sas"}
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z")
LIST = re.compile(r"\s*\[\s*(\{|\]?\s*$)")  # how one of objects begins
NO_NUMBERS = {"NaN": None}  # Python writes it for a number that is missing
AS_TEXT = json.JSONDecoder(  # 1 and 1.0 are different labels
    parse_int=str, parse_float=str, parse_constant=lambda name: NO_NUMBERS.get(name, name)
)
LARGEST_EXACT = 2**53  # of the whole numbers that float64 tells apart
Decimal = Literal[".", ","]


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
        if self.separator == "\\t":  # as a shell writes it
            object.__setattr__(self, "separator", "\t")
        if self.separator is not None and not (
            len(self.separator) == 1 and self.separator < "\x7f"
        ):
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
    ) -> Columns:
        """The rows of a file. Raises a `UserError` if it cannot be read, or has none.

        Args:
            wanted: the columns to read; without any, all.
            texts: of CSV and TSV, the columns that stay texts where others are numbers, if all of
                them is; None: all of them.
            several: one of them, whose cells may be lists or not in JSON.
        """
        import pyarrow as pa  # takes time, so only where a table is read

        kind = ending(path)
        errors = (pa.ArrowException, OSError, ValueError, LookupError)
        with refusing(f"{called(path)} cannot be read", *errors), within_memory(called(path)):
            if kind not in TABLES:
                raise UserError(f"{path}: {other_format(path)}")
            if kind == ".parquet":
                table, names = _parquet(existing_file(path), wanted)
            elif kind in SEPARATORS:
                table, names = self._separated(kind).read(existing_file(path), wanted, texts)
                if self.decimal != "." and texts is not None:
                    check_no_points(table, texts, path)
            else:
                rows = [*json_rows(path)]
                if len(rows) == 1 and all(isinstance(v, dict) for v in rows[0].values()):
                    raise UserError(
                        f"{called(path)} holds a dict for each column, not a row for each line: "
                        "write it by to_json(..., orient='records', lines=True)"
                    )
                names = names_of(rows)
                table = table_of(rows, [name for name in wanted if name in names], several)
        if not len(table):
            raise UserError(f"{called(path)} has no rows")
        return self.with_gaps(Columns(table, called(path), file_columns=names), texts)

    def text_rows(
        self, path: str, column: str, key: str, roles: Mapping[str, str]
    ) -> Iterator[InputRow]:
        """The texts in a column that this key names; or of `.txt` and standard input, `-`, each
        line as soon as it can be read.

        Args:
            roles: its column `id`, if one says so.
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
            table = with_points(table, [name for name in table.column_names if name not in texts])
        table = with_gaps(table, self.na_values, texts)
        return replace(columns, table=table)

    def with_exact_numbers(self, table: Columns, path: str, column: str) -> Columns:
        """The table of a file, with its texts in a column of numbers that float64 does not tell
        apart, such as nanoseconds."""
        if ending(path) not in SEPARATORS or table.kind(column) != "number":
            return table
        largest = np.nanmax(np.abs(table.parsed(column)[0]), initial=0)
        if largest <= LARGEST_EXACT:
            return table
        texts = self.read(path, [column]).table[column]
        place = table.table.column_names.index(column)
        return replace(table, table=table.table.set_column(place, column, texts))

    def _separated(self, kind: str) -> Separated:
        """How to read a file of this ending."""
        separator = self.separator or SEPARATORS[kind]
        quotes = self.quoting
        if quotes is None:
            quotes = kind == ".csv"
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


def _parquet(path: str, wanted: Sequence[str]) -> tuple[pa.Table, Sequence[str]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = [n for n in file.schema_arrow.names if not n.startswith(INDEX)]
        check_names(names, path)
        table = file.read([name for name in names if name in wanted or not wanted])
    classes = _class_names(table.schema.metadata or {})
    for n, name in enumerate(table.column_names):
        if name in classes:
            column = [_named(classes[name], value) for value in table[name].to_pylist()]
            table = table.set_column(n, name, [column])
    return table, names


def table_of(
    rows: Sequence[Mapping[str, Any]], columns: Collection[str] = (), several: str = ""
) -> pa.Table:
    """A table of Arrow of rows that may lack a column, or in the column `several` have one value in
    the place of a list; without columns, of all that a row has."""
    import pyarrow as pa

    cells = {name: [row.get(name) for row in rows] for name in columns or names_of(rows)}
    if several in cells:
        cells[several] = [cell if isinstance(cell, list) else [cell] for cell in cells[several]]
    return pa.table({name: _array(values) for name, values in cells.items()})


def names_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that any of some rows has, in the order in which they first occur."""
    return [*dict.fromkeys(name for row in rows for name in row)]


def _array(values: list[Any]) -> pa.Array:
    """A column of Arrow. Objects in some rows alone become texts, because Arrow has no type for
    these, and nobody may read the column."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except pa.ArrowException:
        if not any(isinstance(value, dict) for value in values):
            raise
    return pa.array([json.dumps(v) if isinstance(v, dict | list) else v for v in values])


def json_rows(path: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON file, with texts as values: one on each line, or all of them in one
    list. A list in the place of one is that of a series' steps."""
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        whole = LIST.match(line)
        with refusing(f"{called(path)}: line {number} is not JSON", ValueError, RecursionError):
            found = AS_TEXT.decode("\n".join([line, *lines]) if whole else line or "null")
        for row in found if whole else [found] if line.strip() else ():
            values = row if isinstance(row, dict) else {"series": row}
            yield {key: _as_text(value) for key, value in values.items()}


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_as_text, value)]
    return ("true" if value else "false") if isinstance(value, bool) else value


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, dict[int, str]]:
    # HuggingFace `datasets` describes the columns of a Parquet file in JSON inside it
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        kinds = {column: kind.get("feature", kind) for column, kind in features.items()}
        named = {c: kind["names"] for c, kind in kinds.items() if kind["_type"] == "ClassLabel"}
        return {column: dict(enumerate(names)) for column, names in named.items()}
    return {}


def _named(names: Mapping[int, str], value: Any) -> Any:
    # None for -1, which `datasets` writes where there is no class
    return [_named(names, v) for v in value] if isinstance(value, list) else names.get(value)


def has_lines(path: str) -> bool:
    """Whether a file to predict for is plain text with an input on each line, as standard input
    is."""
    return path == "-" or ending(path) == ".txt"


def ending(path: str) -> str:
    """The ending of a file, such as `.csv`."""
    return Path(path).suffix.lower()


def other_format(path: str) -> str:
    """What to do about a file that is no table of these formats, or about a folder."""
    kind = ending(path)
    if Path(path).is_dir():
        return (
            "a folder: write a table with a row for each of its files, and set data.files to the "
            "column with their names; or join the files into one table"
        )
    if kind in ARRAYS:
        return 'read its arrays in Python: train(config, data={"train": (X, y)})'
    name = Path(path).name
    if kind in BY_PANDAS:
        reader = BY_PANDAS[kind]
        table = Path(name).stem
        return f"write it as a table: pandas.{reader}({name!r}).to_parquet('{table}.parquet')"
    if kind in PACKED:
        return (
            f"unpack it, or write it as a table: pandas.read_csv({name!r}).to_parquet('a.parquet')"
        )
    return f"unknown ending {kind!r}: {choices(kind, TABLES)}"
