"""Tables: CSV and TSV, JSON, Parquet, as Arrow holds them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodels.data.columns import Columns, is_number
from seqmodels.data.examples import InputRow
from seqmodels.errors import UserError, choices, refusing, shown, within_memory
from seqmodels.files import called, existing_file, read_lines

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {".csv": ",", ".tsv": "\t"}
INDEX = "__index_level_"  # of pandas, without a name
TABLES = (*SEPARATORS, ".json", ".jsonl", ".ndjson", ".parquet")
BLOCK = 16 << 20  # bytes of a file to read at a time, which hold the longest row
LIST = re.compile(r"\s*\[\s*(\{|\]?\s*$)")  # how one of objects begins
AS_TEXT = json.JSONDecoder(parse_int=str, parse_float=str)  # 1 and 1.0 are different labels


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
    """

    columns: list[str] | None = None
    quoting: bool | None = None
    encoding: str = "utf-8"

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
                raise UserError(f"{path}: unknown ending {kind!r}: {choices(kind, TABLES)}")
            if kind == ".parquet":
                table, names = _parquet(existing_file(path), wanted)
            elif kind in SEPARATORS:
                table, names = self._separated(existing_file(path), wanted, texts)
            else:
                rows = [*json_rows(path)]
                names = [*dict.fromkeys(name for row in rows for name in row)]
                table = table_of(rows, [name for name in wanted if name in names], several)
        if not len(table):
            raise UserError(f"{called(path)} has no rows")
        return Columns(table, called(path), known=names)

    def text_rows(
        self, path: str, column: str, key: str, roles: Mapping[str, str]
    ) -> Iterator[InputRow]:
        """The texts in a column that this key names; or of `.txt` and standard input, `-`, each
        line as soon as it can be read.

        Args:
            roles: its column `id`, if one says so.
        """
        if path == "-" or ending(path) == ".txt":
            yield from map(InputRow, read_lines(path, self.encoding))
            return
        identity = {role: name for role, name in roles.items() if role == "id"}
        table = self.read(path, [column, *identity.values()])
        texts = table.filled(column, key, raw=True).texts
        yield from starmap(InputRow, table.rows(identity, texts))

    def _separated(
        self, path: str, wanted: Sequence[str], texts: Collection[str] | None
    ) -> tuple[pa.Table, Sequence[str]]:
        import pyarrow as pa
        from pyarrow import csv

        separator = SEPARATORS[ending(path)]
        quotes = separator == "," if self.quoting is None else self.quoting
        how = csv.ParseOptions(
            delimiter=separator, quote_char='"' if quotes else False, newlines_in_values=quotes
        )
        read = csv.ReadOptions(
            column_names=self.columns,
            encoding=self.encoding,
            block_size=BLOCK if texts is None else BLOCK // 4,  # of a row of numbers
            use_threads=False,
        )
        how.invalid_row_handler = lambda row: "skip"  # of the first ones, until its names are known
        try:
            with csv.open_csv(path, read, how) as file:
                schema, names = file.schema, file.schema.names
            _check_columns(names, path)
            others = [each for each in ";\t|," if each in names[0] and each != separator]
            if len(names) == 1 and names[0] not in wanted and others:
                raise UserError(
                    f"{path} is separated by {others[0]!r}, not by {separator!r}: write it anew, "
                    f"such as by pandas.read_csv(..., sep={others[0]!r})"
                )
            how.invalid_row_handler = lambda row: "error"
            how.ignore_empty_lines = len(names) > 1  # of one column, it is a row without a value
            types = {name: pa.string() for name in names if name in wanted or not wanted}
            if texts is not None:
                numbers = (n for n in types if n not in texts and is_number(schema.field(n).type))
                types |= dict.fromkeys(numbers, pa.float64())
            convert = csv.ConvertOptions(include_columns=[*types], column_types=types)
            return csv.read_csv(path, read, how, convert), names
        except pa.ArrowInvalid as error:
            if "UTF8" in str(error):  # whose line Arrow does not tell
                for _ in read_lines(path, self.encoding):
                    pass
            is_long_row = "straddling object" in str(error) or "Empty CSV" in str(error)
            if is_long_row and Path(path).stat().st_size > read.block_size:
                raise UserError(
                    f"{path}: a row is longer than {read.block_size >> 20} MB: write the table as "
                    "Parquet, or with fewer columns"
                ) from error
            if "conversion error" not in str(error):
                raise
            return self._separated(path, wanted, None)  # a text among numbers


def _parquet(path: str, wanted: Sequence[str]) -> tuple[pa.Table, Sequence[str]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = [n for n in file.schema_arrow.names if not n.startswith(INDEX)]
        _check_columns(names, path)
        table = file.read([name for name in names if name in wanted or not wanted])
    classes = _class_names(table.schema.metadata or {})
    for n, name in enumerate(table.column_names):
        if name in classes:
            column = [_named(classes[name], value) for value in table[name].to_pylist()]
            table = table.set_column(n, name, [column])
    return table, names


def columns_of(rows: Sequence[Mapping[str, Any]], path: str) -> Columns:
    """Those of rows. Raises a `UserError` if there are none, or a column has values of several
    types."""
    import pyarrow as pa

    if not rows:
        raise UserError(f"{path} has no rows")
    errors = (pa.ArrowException, TypeError, ValueError)
    with refusing(f"{path} cannot be read", *errors), within_memory(path):
        return Columns(table_of(rows), path)


def table_of(
    rows: Sequence[Mapping[str, Any]], columns: Collection[str] = (), several: str = ""
) -> pa.Table:
    """A table of Arrow of rows that may lack a column, or in the column `several` have one value in
    the place of a list; without columns, of all that a row has."""
    import pyarrow as pa

    names = columns or dict.fromkeys(name for row in rows for name in row)
    found = {name: [row.get(name) for row in rows] for name in names}
    if several in found:
        found[several] = [v if isinstance(v, list) else [v] for v in found[several]]
    return pa.table(found)


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


def _check_columns(names: Sequence[str], source: str) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{source}: two columns are called '{shown(twice)}'; rename one of them")


def ending(path: str) -> str:
    """The ending of a file, such as `.csv`."""
    return Path(path).suffix.lower()
