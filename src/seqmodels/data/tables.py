"""Tables: CSV and TSV, JSON, Parquet. All that they hold is read as text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seqmodels.errors import UserError, choices, one_line, shown
from seqmodels.files import called, existing_file, read_lines

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {".csv": ",", ".tsv": "\t"}
MISSING = ("NA", "N/A", "null")  # how others write what is not there
TABLES = (*SEPARATORS, ".json", ".jsonl", ".ndjson", ".parquet")
BLOCK = 16 << 20  # bytes of a file to read at a time, which hold the longest row
AS_TEXT = json.JSONDecoder(parse_int=str, parse_float=str)  # 1 and 1.0 are different labels


class Row(NamedTuple):
    """A row of a file: the text of each value, a list of texts, or None where there is none.

    Args:
        values: by column, of those that were wanted.
        columns: the names of all columns.
    """

    values: Mapping[str, Any]
    path: str
    number: int
    columns: Iterable[str]

    @property
    def where(self) -> str:
        """The file and the row, for an error."""
        return f"{self.path}: row {self.number}"

    def value(self, column: str, key: str) -> Any:
        """The value of a column.

        Args:
            key: names the column, such as `data.text_column`.

        Raises:
            UserError: if there is no such column.
        """
        if column in self.values:
            return self.values[column]
        headless = ending(self.path) in SEPARATORS
        raise UserError(
            f"{self.where} has no column {column!r}: set {key}; {choices(column, self.columns)}"
            + ("; if the file has no header, set data.columns" if headless else "")
        )

    def filled(self, value: Any, what: str) -> str:
        """A text of this row.

        Raises:
            UserError: if it is missing or blank, or not a text.
        """
        if isinstance(value, str) and value.strip():
            return value
        empty = value is None or isinstance(value, str)
        wrong = "empty; remove the row or fill it" if empty else "not a text; convert it"
        raise UserError(f"{self.path}: the {what} of row {self.number} is {wrong}")


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

    def rows(self, path: str, wanted: Sequence[str]) -> Iterator[Row]:
        """The rows of a file.

        Args:
            path: a table, or plain text with a row on each line, each as soon as it can be read:
                `.txt`, or `-` for standard input.
            wanted: the columns to read. The first one is the column of plain text.

        Raises:
            UserError: if the file cannot be read, or a row is wrong.
        """
        import pyarrow as pa  # takes time, so only where a table is read

        found: Iterable[tuple[Mapping[str, Any], Iterable[str]]]
        kind = ending(path)
        if path == "-" or kind == ".txt":
            found = (({wanted[0]: line}, wanted[:1]) for line in read_lines(path, self.encoding))
        elif kind in SEPARATORS:
            batches = self.separated(existing_file(path), wanted)
            found = ((row, names) for batch, names in batches for row in batch.to_pylist())
        elif kind == ".parquet":
            found = _parquet(existing_file(path), wanted)
        elif kind in TABLES:
            found = ((values, values) for values in _json(path))
        else:
            raise UserError(f"{path}: unknown ending {kind!r}: {choices(kind, TABLES)}")
        name, number = called(path), 0
        try:
            for number, (values, columns) in enumerate(found, start=1):
                yield Row(values, name, number, columns)
        except UserError:
            raise
        except (pa.ArrowException, OSError, ValueError, LookupError, RecursionError) as error:
            if "UTF8" in str(error) and kind in SEPARATORS:  # whose row Arrow does not tell
                for _ in read_lines(path, self.encoding):
                    pass
            raise UserError(
                f"{name} cannot be read after row {number}: {one_line(error)}; correct it"
            ) from error

    def separated(
        self, path: str, wanted: Sequence[str], texts: Collection[str] | None = None
    ) -> Iterator[tuple[Any, Sequence[str]]]:
        """Batches of Arrow, each with the names of all columns, of a CSV or TSV file.

        Args:
            wanted: the columns to read; without any of them, all.
            texts: those that stay texts where the others are numbers; None: all of them.
        """
        import pyarrow as pa
        import pyarrow.csv as pa_csv

        separator, wrong = SEPARATORS[ending(path)], list[Any]()
        quotes = separator == "," if self.quoting is None else self.quoting
        read = pa_csv.ReadOptions(
            column_names=self.columns,
            encoding=self.encoding,
            block_size=BLOCK if texts is None else BLOCK // 4,  # of a row of numbers
            use_threads=False,
        )

        def opened(wrong_row: Callable[[Any], Any], blank: bool, convert: Any = None) -> Any:
            how = pa_csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if quotes else False,
                newlines_in_values=quotes,
                ignore_empty_lines=blank,
                invalid_row_handler=wrong_row,
            )
            return pa_csv.open_csv(path, read, how, convert)

        with opened(lambda row: "skip", True) as file:
            schema, names = file.schema, file.schema.names
        _check_columns(names, path)
        others = [each for each in ";\t|," if each in names[0] and each != separator]
        if len(names) == 1 and names[0] not in wanted and others:
            raise UserError(
                f"{path} is separated by {others[0]!r}, not by {separator!r}: write it anew, such "
                f"as by pandas.read_csv({path!r}, sep={others[0]!r}).to_csv('new{ending(path)}', "
                f"sep={separator!r}, index=False)"
            )
        blank = len(names) > 1  # of one column, it is a row without a value
        types = {
            name: pa.string()
            if texts is None or name in texts or not is_number(schema.field(name).type)
            else pa.float64()
            for name in [name for name in wanted if name in names] or names
        }
        convert = pa_csv.ConvertOptions(include_columns=[*types], column_types=types)

        def refused(row: Any) -> str:
            wrong.append(row)
            return "error"

        try:
            with opened(refused, blank, convert) as file:
                yield from ((batch, names) for batch in file)
        except pa.ArrowInvalid as error:
            for row in wrong:  # which Arrow counts with the header
                raise UserError(
                    f"{path}: row {row.number - (self.columns is None)} has {row.actual_columns} "
                    f"instead of {row.expected_columns} values: {shown(row.text)}; correct it"
                ) from error
            raise


def _parquet(path: str, wanted: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Sequence[str]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        _check_columns(names, path)
        classes = _class_names(file.schema_arrow.metadata or {})
        chosen = [name for name in names if name in wanted]
        for batch in file.iter_batches(4096, columns=chosen):
            columns = [
                [_named(classes[name], value) for value in column.to_pylist()]
                if name in classes
                else texts_of(column)
                for name, column in zip(chosen, batch.select(chosen).columns, strict=True)
            ]
            for values in zip(*columns, strict=True) if columns else [()] * len(batch):
                yield dict(zip(chosen, values, strict=True)), names


def read_table(path: str, tables: Tables, texts: Collection[str] = ()) -> pa.Table:
    """A table of Arrow from a CSV, TSV, JSON, JSON Lines or Parquet file. In CSV, a column is of
    numbers if all of it is; in JSON, all are texts, or lists of texts.

    Args:
        texts: columns of a CSV file that stay texts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = ending(existing_file(path))
    if kind in SEPARATORS:
        try:
            batches = [batch for batch, _ in tables.separated(path, (), texts)]
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
            batches = [batch for batch, _ in tables.separated(path, ())]
        return pa.Table.from_batches(batches) if batches else pa.table({})
    if kind == ".parquet":
        found = pq.read_table(path, page_checksum_verification=True)
        _check_columns(found.column_names, path)
        for name, classes in _class_names(found.schema.metadata or {}).items():
            column = [_named(classes, value) for value in found[name].to_pylist()]
            found = found.set_column(found.column_names.index(name), name, [column])
        return found
    if kind not in TABLES:
        raise UserError(f"{path}: unknown ending {kind!r}: {choices(kind, TABLES)}")
    rows = [*_json(path)]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def is_list(kind: Any) -> bool:
    """Whether a type of Arrow is that of lists."""
    import pyarrow as pa

    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def is_number(kind: Any) -> bool:
    """Whether a type of Arrow is that of numbers, or of a column without any value."""
    import pyarrow as pa

    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
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
    return pc.cast(column, pa.string()).to_pylist()


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


def _json(path: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON file: one per line, or all of them in one list."""
    lines = read_lines(path)
    for line in lines:
        if line.lstrip().startswith("["):
            yield from map(_object, AS_TEXT.decode("\n".join([line, *lines])))
        elif line.strip():
            yield _object(AS_TEXT.decode(line))


def _object(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        example = '{"text": "...", "label": "..."}'
        raise ValueError(f"{shown(str(row))} is not a JSON object, such as {example}")
    return {key: as_text(value) for key, value in row.items()}


def as_text(value: Any) -> Any:
    """A value of `AS_TEXT`, where `true` is a text, too; in a list, too."""
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # an error for half of a surrogate pair
        return value
    if isinstance(value, list):
        return [*map(as_text, value)]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _check_columns(names: Sequence[str], source: str) -> None:
    """Raises a `UserError` for a name that two columns have."""
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{source}: two columns are called '{shown(twice)}'; rename one of them")


def as_number(value: Any, where: str, name: str) -> float:
    """The number that a text is; nan for a missing one.

    Args:
        where, name: the row and the column, for an error.

    Raises:
        UserError: if it is not a finite number.
    """
    text = str(value)
    if value is None or not text.strip():
        return math.nan
    with suppress(TypeError, ValueError):
        if not math.isinf(found := float(plain(text))):
            return found
    raise UserError(f"{where} has {shown(repr(value))} as {name!r}, which is not a finite number")


def plain(text: str) -> str:
    """The text itself; raises ValueError for `1_000` and the digits of other scripts, which Python
    reads as numbers."""
    if "_" in text or not text.isascii():
        raise ValueError(f"{shown(repr(text))} is no number")
    return text


def ending(path: str) -> str:
    """The ending of a file, such as `.csv`."""
    return Path(path).suffix.lower()
