"""Files whose lines are fields with a separator between them, such as CSV and TSV."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodels.data.batches import MANY_COLUMNS, table_of_batches
from seqmodels.data.columns import DECIMAL_COMMA, as_number, columns_by_name, is_number
from seqmodels.errors import SettingError, UserError, setting, shown
from seqmodels.files import read_lines

if TYPE_CHECKING:
    import pyarrow as pa

# The separators that a file may have instead of the one that is set.
USUAL_SEPARATORS = ",;\t|"
# So many lines of a file are looked at before it is read.
LINES = 20
# So many bytes of a file are read at a time. A row can't be longer.
BLOCK = 16 << 20
SMALL_BLOCK = 128 << 10
DECIMAL_POINT = re.compile(r"[-+]?[0-9]*\.[0-9]+")
WITH_COMMA = r"^\s*([-+]?[0-9]*),([0-9]+(?:[eE][-+]?[0-9]+)?)\s*$"
WITH_POINT = r"^\s*[-+]?[0-9]*\.[0-9]+\s*$"


@dataclass(frozen=True, kw_only=True)
class Separated:
    """How to read a file whose lines are fields with a separator between them.

    Args:
        separator: what stands between two fields.
        quotes: whether double quotes enclose fields, in which a line may end.
        columns: the names of the columns, where the first line has none.
        encoding: the encoding of the file.
        decimal: what stands before the fraction of a number, `.` or `,`.
        missing: the texts that stand for a number that is missing, besides an empty one.
    """

    separator: str
    quotes: bool
    columns: Sequence[str] | None
    encoding: str
    decimal: str
    missing: Sequence[str] = ()

    def read(
        self,
        path: str,
        wanted: Collection[str],
        texts: Collection[str] | None,
        ends: Sequence[int] = (),
    ) -> tuple[pa.Table, Sequence[str]]:
        """The columns of a file that are wanted, and the names of all its columns.

        Args:
            wanted: the columns to read; if empty, all.
            texts: the columns that stay texts. Another column becomes one of numbers if all its
                fields are numbers. None: all columns stay texts.
            ends: see `table_of_batches`.

        Raises:
            UserError: if the file is in another encoding or has another separator, or if its first
                line names no columns.
            pyarrow.ArrowInvalid: if its lines differ in their number of fields.
        """
        # Numbers are read in smaller blocks than texts. Arrow reads some thirty of them ahead.
        block_size = BLOCK if texts is None else BLOCK // 4
        try:
            self._check_first_lines(path, wanted, texts)
            if texts is None:
                names, _ = self._header(path, block_size)
                types = _text_types(names, wanted)
                table = self._body(path, types, block_size, len(names) == 1, plain=names)
                return table, names
            with suppress(_LongRowError):
                return self._with_numbers(path, wanted, texts, SMALL_BLOCK, ends)
            return self._with_numbers(path, wanted, texts, block_size, ends)
        except UserError:
            raise
        except (ValueError, LookupError) as error:
            self._check_encoding(path)
            if _is_about_length(error) and Path(path).stat().st_size > block_size:
                raise UserError(
                    f"{path}: a row is longer than {block_size >> 20} MB: write the table as "
                    "Parquet, or with fewer columns"
                ) from error
            raise

    def _with_numbers(
        self,
        path: str,
        wanted: Collection[str],
        texts: Collection[str],
        block_size: int,
        ends: Sequence[int],
    ) -> tuple[pa.Table, Sequence[str]]:
        """What `read` gives of a file with columns of numbers. Raises a `_LongRowError` for a row
        that is longer than a small block."""
        import pyarrow as pa

        with _refusing_long_rows(block_size):
            names, numeric_names = self._header(path, block_size)
        text_types = _text_types(names, wanted)
        columns = [name for name in text_types if name in numeric_names and name not in texts]
        types = text_types | dict.fromkeys(columns, pa.float64())
        # Decimal commas are replaced in texts as they stand.
        plain = names if self.decimal == "," else []
        # In a file with one column, an empty line is a row without a value.
        has_empty_rows = len(names) == 1
        with suppress(pa.ArrowInvalid), _refusing_long_rows(block_size):
            table = self._body(path, types, block_size, has_empty_rows, plain=plain, ends=ends)
            return table, names
        # There is a text among numbers further down, or a line that cannot be read.
        plain = [*plain, *columns]
        table = self._body(path, text_types, BLOCK, has_empty_rows, plain=plain)
        return _as_numbers(table, columns), names

    def _header(self, path: str, block_size: int) -> tuple[list[str], set[str]]:
        """The names of all columns, and those of the columns that begin with numbers."""
        from pyarrow import csv as arrow_csv

        options = self._options(block_size, empty_lines=False)
        with arrow_csv.open_csv(path, **options, convert_options=self._conversion({})) as file:
            schema = file.schema
        check_names(schema.names, path)
        return schema.names, {field.name for field in schema if is_number(field.type)}

    def _body(
        self,
        path: str,
        types: dict[str, Any],
        block_size: int,
        has_empty_rows: bool,
        plain: Collection[str] = (),
        ends: Sequence[int] = (),
    ) -> pa.Table:
        """All rows of the columns that have one of these types.

        Args:
            has_empty_rows: whether an empty line is a row.
            plain, ends: see `table_of_batches`.
        """
        from pyarrow import csv as arrow_csv

        options = self._options(block_size, empty_lines=has_empty_rows)
        conversion = self._conversion(types)
        if len(types) > MANY_COLUMNS:
            return arrow_csv.read_csv(path, **options, convert_options=conversion)
        with arrow_csv.open_csv(path, **options, convert_options=conversion) as file:
            return table_of_batches(file, file.schema, plain, ends)

    def _conversion(self, types: dict[str, Any]) -> Any:
        """Arrow's options for columns of these types; without any, it reads all and guesses."""
        from pyarrow import csv as arrow_csv

        return arrow_csv.ConvertOptions(
            include_columns=[*types],
            column_types=types,
            decimal_point=self.decimal,
            null_values=[*arrow_csv.ConvertOptions().null_values, *self.missing],
        )

    def _options(self, block_size: int, *, empty_lines: bool) -> dict[str, Any]:
        """Arrow's options to read and to parse."""
        from pyarrow import csv as arrow_csv

        parse = arrow_csv.ParseOptions(
            delimiter=self.separator,
            quote_char='"' if self.quotes else False,
            newlines_in_values=self.quotes,
            ignore_empty_lines=not empty_lines,
        )
        read = arrow_csv.ReadOptions(
            column_names=None if self.columns is None else list(self.columns),
            encoding=self.encoding,
            block_size=block_size,
            use_threads=False,
        )
        return {"read_options": read, "parse_options": parse}

    def _check_encoding(self, path: str) -> None:
        """Raises a `UserError` that names the first line that is not in the encoding."""
        for _ in read_lines(path, self.encoding):
            pass

    # Mistakes that the first lines show

    def _check_first_lines(
        self, path: str, wanted: Collection[str], texts: Collection[str] | None
    ) -> None:
        """Raises a `UserError` if another separator or decimal is meant, or if the names of the
        columns stand elsewhere."""
        lines = [line for line in islice(read_lines(path, self.encoding), LINES) if line.strip()]
        rows = self._fields(lines, self.separator)
        if not rows:
            return
        names = rows[0] if self.columns is None else list(self.columns)
        self._check_separator(path, lines, rows, wanted)
        if self.columns is None:
            _check_header(rows, path)
        else:
            _check_no_header(rows, names, path)
        if texts is not None and self.decimal != ",":
            _check_decimal(rows, names, texts, path)

    def _check_separator(
        self,
        path: str,
        lines: Sequence[str],
        rows: Sequence[Sequence[str]],
        wanted: Collection[str],
    ) -> None:
        """Raises a `UserError` if another separator is meant."""
        names = rows[0] if self.columns is None else list(self.columns)
        first_line = lines[0].strip()
        # Spreadsheets write the separator into a line of its own.
        if re.fullmatch(r"sep=.", first_line):
            separator = first_line[-1]
            cure = f"{path}: remove its first line, {first_line}"
            raise SettingError(
                f"{cure}, and set {setting('data.separator', separator)}",
                f"{cure}, and separate it by {self.separator!r}, as the training file is",
            )
        if len(names) == 1 and names[0] in wanted:
            return
        separator = self._other_separator(lines, rows, names)
        if separator:
            settings = setting("data.separator", separator)
            rows_below = self._fields(lines, separator)[1:]
            if self.decimal != "," and _have_decimal_commas(rows_below):
                settings += f" {setting('data.decimal', ',')}"
            problem = f"{path} is separated by {separator!r}, not by {self.separator!r}"
            raise SettingError(
                f"{problem}: set {settings}", f"{problem}, as the training file is: write it so"
            )

    def _fields(self, lines: Sequence[str], separator: str) -> list[list[str]]:
        """The fields of each line; empty if a field is too long to look at."""
        rows = list[list[str]]()
        with suppress(csv.Error):
            if self.quotes:
                rows = list(csv.reader(lines, delimiter=separator))
            else:
                rows = list(csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE))
        if len(lines) >= LINES:
            # The last line may end in the middle of a field.
            rows = rows[:-1]
        return rows

    def _other_separator(
        self, lines: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str]
    ) -> str:
        """The separator that divides these lines evenly, if the one that is set doesn't; else an
        empty text."""
        is_even = all(len(fields) == len(names) for fields in rows)
        if len(names) > 1 and is_even:
            return ""
        for separator in USUAL_SEPARATORS.replace(self.separator, ""):
            counts = [len(fields) for fields in self._fields(lines, separator)]
            expected_count = len(names) if self.columns else counts[0]
            is_even = all(count == expected_count for count in counts)
            if counts[0] > 1 and (is_even or len(names) == 1):
                return separator
        return ""


class _LongRowError(Exception):
    """A row is longer than a block of a file."""


@contextmanager
def _refusing_long_rows(block_size: int) -> Iterator[None]:
    """Within: a row that is longer than a small block is a `_LongRowError`."""
    try:
        yield
    except ValueError as error:
        if _is_about_length(error) and block_size == SMALL_BLOCK:
            raise _LongRowError from error
        raise


def _is_about_length(error: Exception) -> bool:
    """Whether an error of Arrow is about a row that is longer than a block."""
    return "straddling object" in str(error) or "Empty CSV" in str(error)


def _text_types(names: Sequence[str], wanted: Collection[str]) -> dict[str, Any]:
    """The type of texts for each of the columns that are wanted; without any, for all."""
    import pyarrow as pa

    return {name: pa.string() for name in names if name in wanted or not wanted}


def check_names(names: Sequence[str], source: str) -> None:
    """Raises a `UserError` for a name that two columns have."""
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{source}: two columns are called '{shown(name)}'; rename one of them")


def _as_numbers(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """The table in which these columns of texts become numbers, if they hold nothing else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = columns_by_name(table)
    for column in columns:
        with suppress(pa.ArrowInvalid):
            texts = pc.utf8_trim_whitespace(arrays[column])
            is_empty = pc.equal(texts, "")
            arrays[column] = pc.cast(pc.if_else(is_empty, None, texts), pa.float64())
    return pa.table(arrays)


def _check_decimal(
    rows: Sequence[Sequence[str]], names: Sequence[str], texts: Collection[str], path: str
) -> None:
    """Raises a `UserError` if a column holds only numbers with a decimal comma. If some number has
    a decimal point, commas are something else."""
    all_fields = [field for fields in rows for field in fields]
    if any(DECIMAL_POINT.fullmatch(field) for field in all_fields):
        return
    for column, *fields in zip(names, *rows[1:], strict=False):
        if column in texts:
            continue
        filled_fields = [field for field in fields if field]
        has_comma = [bool(DECIMAL_COMMA.fullmatch(field.strip())) for field in filled_fields]
        if filled_fields and all(has_comma):
            problem = f"{path}: {shown(column)} holds numbers such as {filled_fields[0]!r}"
            raise SettingError(
                f"{problem}: set {setting('data.decimal', ',')}",
                f"{problem}: write them with a point, as the training file has them",
            )


def _check_header(rows: Sequence[Sequence[str]], path: str) -> None:
    """Raises a `UserError` if the first line does not name the columns. Numbers that increase may
    be the names of steps."""
    names, *rows_below = rows
    numbers = [as_number(name) for name in names]
    are_numbers = all(map(math.isfinite, numbers))
    is_increasing = all(first < second for first, second in pairwise(numbers))
    if len(names) > 1 and are_numbers and not is_increasing:
        problem = f"{path}: its first line holds numbers"
        raise SettingError(
            f"{problem}: set data.columns to the names of its columns",
            f"{problem}: write the names of the columns there, as the training file has them",
        )
    last_counts = [len(fields) for fields in rows_below[-3:]]
    is_even = len(set(last_counts)) == 1
    if len(last_counts) == 3 and is_even and len(names) < last_counts[0]:
        raise UserError(
            f"{path}: its first line has {len(names)} of {last_counts[0]} fields: remove what "
            "stands before the names of the columns"
        )


def _check_no_header(rows: Sequence[Sequence[str]], names: Sequence[str], path: str) -> None:
    """Raises a `UserError` if the columns have names, and the first line looks like names, too: at
    least half of its fields are the names, or it has a text above all columns of numbers."""
    first_fields = rows[0]
    named_count = 0
    for field, name in zip(first_fields, names, strict=False):
        if field.strip().lower() == name.lower():
            named_count += 1
    is_text_above_numbers = list[bool]()  # for each column of numbers
    for field, *fields_below in zip(*rows, strict=False):
        are_numbers = [math.isfinite(as_number(below)) for below in fields_below]
        if are_numbers and all(are_numbers):
            is_text_above_numbers.append(math.isinf(as_number(field)))
    has_texts_above = bool(is_text_above_numbers) and all(is_text_above_numbers)
    if named_count * 2 >= len(names) or has_texts_above:
        raise UserError(
            f"{path}: its first line, {shown(','.join(first_fields))}, looks like names of "
            "columns: leave data.columns out, or remove the line"
        )


def _have_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    """Whether some fields are numbers with a decimal comma, and none has a decimal point."""
    fields = [field.strip() for row in rows for field in row]
    if any(DECIMAL_POINT.fullmatch(field) for field in fields):
        return False
    return any(DECIMAL_COMMA.fullmatch(field) for field in fields)


def with_points(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """The table with a point instead of the decimal comma in these columns of texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = columns_by_name(table)
    for column in columns:
        if _holds_strings(arrays[column]):
            arrays[column] = pc.replace_substring_regex(arrays[column], WITH_COMMA, r"\1.\2")
    return pa.table(arrays)


def check_no_points(table: pa.Table, texts: Collection[str], path: str) -> None:
    """Raises a `UserError` for a number with a point among numbers with decimal commas: the point
    separates thousands.

    Args:
        texts: the columns that hold no numbers.
    """
    import pyarrow.compute as pc

    for name, column in columns_by_name(table).items():
        if name in texts or not _holds_strings(column):
            continue
        has_comma = pc.match_substring_regex(column, WITH_COMMA)
        if not pc.any(has_comma).as_py():
            continue
        has_point = pc.match_substring_regex(column, WITH_POINT)
        if pc.any(has_point).as_py():
            row = pc.index(has_point, True).as_py()
            number = shown(repr(column[row].as_py()))
            raise UserError(
                f"{path}: row {row + 1} has {number} as {name!r}, among numbers with decimal "
                "commas: write numbers without separators of thousands"
            )


def _holds_strings(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
