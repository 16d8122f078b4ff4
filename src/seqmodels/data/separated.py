"""Files whose lines are fields with a separator between them, such as CSV and TSV."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodels.data.columns import DECIMAL_COMMA, as_number, columns_by_name, is_number
from seqmodels.errors import SettingError, UserError, setting, shown
from seqmodels.files import read_lines

if TYPE_CHECKING:
    import pyarrow as pa

USUAL_SEPARATORS = ",;\t|"  # to look for where a file has another one
LINES = 20  # of a file to look at before it is read
BLOCK = 16 << 20  # bytes of a file to read at a time, which hold the longest row
DECIMAL_POINT = re.compile(r"[-+]?[0-9]*\.[0-9]+")
WITH_COMMA = r"^\s*([-+]?[0-9]*),([0-9]+(?:[eE][-+]?[0-9]+)?)\s*$"
WITH_POINT = r"^\s*[-+]?[0-9]*\.[0-9]+\s*$"


@dataclass(frozen=True, kw_only=True)
class Separated:
    """How to read such a file.

    Args:
        separator: what stands between two fields.
        quotes: whether double quotes enclose fields, in which a line may end.
        columns: the names of the columns, where the first line has none.
        encoding: of the file.
        decimal: what stands before the fraction of a number, `.` or `,`.
        missing: texts that stand for a number that is missing, besides an empty one.
    """

    separator: str
    quotes: bool
    columns: Sequence[str] | None
    encoding: str
    decimal: str
    missing: Sequence[str] = ()

    def read(
        self, path: str, wanted: Collection[str], texts: Collection[str] | None
    ) -> tuple[pa.Table, Sequence[str]]:
        """The columns of a file that are wanted, and the names of all.

        Args:
            wanted: without any, all.
            texts: the columns that stay texts; of the others, those are numbers of which all fields
                are; None: all stay texts.

        Raises:
            UserError: if the file is in another encoding or has another separator, or if its first
                line names no columns.
            pyarrow.ArrowInvalid: if its lines differ in their number of fields.
        """
        import pyarrow as pa

        try:
            self._check_first_lines(path, wanted, texts)
            names, number_columns = self._header(path, BLOCK if texts is None else BLOCK // 4)
            has_one_column = len(names) == 1  # where an empty line is a row without a value
            types = {name: pa.string() for name in names if name in wanted or not wanted}
            if texts is None:
                return self._body(path, types, BLOCK, empty_lines=has_one_column), names
            numbers = [name for name in types if name in number_columns and name not in texts]
            number_types = types | dict.fromkeys(numbers, pa.float64())
            with suppress(pa.ArrowInvalid):
                block = BLOCK // 4  # of rows of numbers
                return self._body(path, number_types, block, empty_lines=has_one_column), names
            # There is a text among numbers further down, or a line that cannot be read.
            table = self._body(path, types, BLOCK, empty_lines=has_one_column)
            return _as_numbers(table, numbers), names
        except (ValueError, LookupError) as error:
            if not isinstance(error, UserError):
                for _ in read_lines(path, self.encoding):
                    pass  # which names a line that is not in this encoding
                self._check_row_length(path, error, BLOCK if texts is None else BLOCK // 4)
            raise

    def _header(self, path: str, block_size: int) -> tuple[list[str], set[str]]:
        """The names of all columns, and which of them begin with numbers."""
        from pyarrow import csv as arrow_csv

        options = self._options(block_size, empty_lines=False)
        with arrow_csv.open_csv(path, **options, convert_options=self._conversion({})) as file:
            schema = file.schema
        check_names(schema.names, path)
        return schema.names, {field.name for field in schema if is_number(field.type)}

    def _body(
        self, path: str, types: dict[str, Any], block_size: int, *, empty_lines: bool
    ) -> pa.Table:
        """All rows, of columns of these types."""
        from pyarrow import csv as arrow_csv

        options = self._options(block_size, empty_lines=empty_lines)
        return arrow_csv.read_csv(path, **options, convert_options=self._conversion(types))

    def _conversion(self, types: dict[str, Any]) -> Any:
        from pyarrow import csv as arrow_csv

        return arrow_csv.ConvertOptions(
            include_columns=[*types],
            column_types=types,
            decimal_point=self.decimal,
            null_values=[*arrow_csv.ConvertOptions().null_values, *self.missing],
        )

    def _options(self, block_size: int, *, empty_lines: bool) -> dict[str, Any]:
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

    def _check_row_length(self, path: str, error: Exception, block_size: int) -> None:
        """Raises a `UserError` for an error of Arrow about a row that is longer than a block."""
        is_about_length = "straddling object" in str(error) or "Empty CSV" in str(error)
        if is_about_length and Path(path).stat().st_size > block_size:
            raise UserError(
                f"{path}: a row is longer than {block_size >> 20} MB: write the table as Parquet, "
                "or with fewer columns"
            ) from error

    # mistakes that the first lines show

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
        if re.fullmatch(r"sep=.", lines[0].strip()):
            separator = setting("data.separator", lines[0].strip()[-1])
            first_line = f"{path}: remove its first line, {lines[0].strip()}"
            raise SettingError(
                f"{first_line}, and set {separator}",
                f"{first_line}, and separate it by {self.separator!r}, as the training file is",
            )
        if len(names) == 1 and names[0] in wanted:
            return
        if other := self._other_separator(lines, rows, names):
            cures = setting("data.separator", other)
            if self.decimal != "," and _have_decimal_commas(self._fields(lines, other)[1:]):
                cures += f" {setting('data.decimal', ',')}"
            problem = f"{path} is separated by {other!r}, not by {self.separator!r}"
            raise SettingError(
                f"{problem}: set {cures}", f"{problem}, as the training file is: write it so"
            )

    def _fields(self, lines: Sequence[str], separator: str) -> list[list[str]]:
        """The fields of these lines; none if they are too long to look at."""
        with suppress(csv.Error):
            if self.quotes:
                rows = [*csv.reader(lines, delimiter=separator)]
            else:
                rows = [*csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)]
            # The last line may be in the middle of a field.
            return rows[:-1] if len(lines) >= LINES else rows
        return []

    def _other_separator(
        self, lines: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str]
    ) -> str:
        """The separator that divides these lines evenly, where the one that is set does not."""
        if len(names) > 1 and {*map(len, rows)} == {len(names)}:
            return ""
        for separator in USUAL_SEPARATORS.replace(self.separator, ""):
            counts = [len(fields) for fields in self._fields(lines, separator)]
            is_even = {*counts} == {len(names) if self.columns else counts[0]}
            if counts[0] > 1 and (is_even or len(names) == 1):
                return separator
        return ""


def check_names(names: Sequence[str], source: str) -> None:
    """Raises a `UserError` for a name that stands twice."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{source}: two columns are called '{shown(twice)}'; rename one of them")


def _as_numbers(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """The table with numbers in those of these columns of texts that hold nothing else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = columns_by_name(table)
    for column in columns:
        with suppress(pa.ArrowInvalid):
            texts = pc.utf8_trim_whitespace(arrays[column])
            arrays[column] = pc.cast(pc.if_else(pc.equal(texts, ""), None, texts), pa.float64())
    return pa.table(arrays)


def _check_decimal(
    rows: Sequence[Sequence[str]], names: Sequence[str], texts: Collection[str], path: str
) -> None:
    """Raises a `UserError` if a column holds numbers with a decimal comma, and none a point."""
    for column, *fields in zip(names, *rows[1:], strict=False):
        commas = [field for field in fields if DECIMAL_COMMA.fullmatch(field.strip())]
        if column not in texts and commas and len(commas) == len([*filter(None, fields)]):
            if any(DECIMAL_POINT.fullmatch(field) for row in rows for field in row):
                return  # the commas are of something else
            problem = f"{path}: {shown(column)} holds numbers such as {commas[0]!r}"
            raise SettingError(
                f"{problem}: set {setting('data.decimal', ',')}",
                f"{problem}: write them with a point, as the training file has them",
            )


def _check_header(rows: Sequence[Sequence[str]], path: str) -> None:
    """Raises a `UserError` if the first line does not name the columns."""
    names, *others = rows
    numbers = [as_number(name) for name in names]
    is_increasing = all(first < second for first, second in pairwise(numbers))
    if len(names) > 1 and all(map(math.isfinite, numbers)) and not is_increasing:
        problem = f"{path}: its first line holds numbers"
        raise SettingError(
            f"{problem}: set data.columns to the names of its columns",
            f"{problem}: write the names of the columns there, as the training file has them",
        )
    counts = [len(fields) for fields in others]
    count = counts[-1] if counts else 0
    if len(names) < count and counts[-3:] == [count] * 3:
        raise UserError(
            f"{path}: its first line has {len(names)} of {count} fields: remove what stands before "
            "the names of the columns"
        )


def _check_no_header(rows: Sequence[Sequence[str]], names: Sequence[str], path: str) -> None:
    """Raises a `UserError` if the columns have names, and the first line has some, too."""
    first = rows[0]
    pairs = zip(first, names, strict=False)
    is_named = [field.strip().lower() == name.lower() for field, name in pairs]
    is_text_among_numbers = list[bool]()
    for field, *fields_below in zip(*rows, strict=False):
        if fields_below and all(math.isfinite(as_number(below)) for below in fields_below):
            is_text_among_numbers.append(math.isinf(as_number(field)))
    has_text_in_each = bool(is_text_among_numbers) and all(is_text_among_numbers)
    if sum(is_named) * 2 >= len(names) or has_text_in_each:
        raise UserError(
            f"{path}: its first line, {shown(','.join(first))}, looks like names of columns: leave "
            "data.columns out, or remove the line"
        )


def _have_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    fields = [field.strip() for row in rows for field in row]
    if any(DECIMAL_POINT.fullmatch(field) for field in fields):
        return False
    return any(DECIMAL_COMMA.fullmatch(field) for field in fields)


def with_points(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """The table with a point in the place of the decimal comma in these columns of texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = columns_by_name(table)
    for column in columns:
        if _holds_strings(arrays[column]):
            arrays[column] = pc.replace_substring_regex(arrays[column], WITH_COMMA, r"\1.\2")
    return pa.table(arrays)


def check_no_points(table: pa.Table, texts: Collection[str], path: str) -> None:
    """Raises a `UserError` for a number with a point, which is one for thousands, in a file that
    has decimal commas. `texts` are columns that hold no numbers."""
    import pyarrow.compute as pc

    for name, column in columns_by_name(table).items():
        if name in texts or not _holds_strings(column):
            continue
        if not pc.any(pc.match_substring_regex(column, WITH_COMMA)).as_py():
            continue
        has_point = pc.match_substring_regex(column, WITH_POINT)
        if pc.any(has_point).as_py():
            row = pc.index(has_point, True).as_py()
            raise UserError(
                f"{path}: row {row + 1} has {shown(repr(column[row].as_py()))} as {name!r}, among "
                "numbers with decimal commas: write numbers without separators of thousands"
            )


def _holds_strings(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
