"""Read a table as it is: with the separator, the encoding and the decimal that it has."""

from __future__ import annotations

from itertools import islice
from typing import Any

from seqmodels.data.columns import Columns
from seqmodels.data.number_texts import DECIMAL_COMMA
from seqmodels.data.separated import LINES
from seqmodels.data.separated import SEPARATORS as OTHER_SEPARATORS
from seqmodels.data.tables import SEPARATORS, Tables, ending
from seqmodels.errors import UserError
from seqmodels.files import existing_file, read_lines

OLD_ENCODING = "cp1252"  # what European spreadsheets write that is not UTF-8


def read_as_it_is(path: str) -> tuple[Columns, dict[str, Any]]:
    """A table, and the keys of `data` that it needs to be read. Raises a `UserError` if it cannot
    be read."""
    options = dict[str, Any]()
    if ending(path) in SEPARATORS:
        options = _options(existing_file(path))
    return Tables(**options).read(path, texts=()), options


def _options(path: str) -> dict[str, Any]:
    """What differs from a usual file in the first lines of a file with separators."""
    options = dict[str, Any]()
    try:
        for _ in read_lines(path, "utf-8"):
            pass
    except UserError:
        options["encoding"] = OLD_ENCODING
    lines = [*islice(read_lines(path, options.get("encoding", "utf-8")), LINES)]
    lines = [line.strip("\r") for line in lines if line.strip()]
    usual = separator = SEPARATORS[ending(path)]
    if lines and usual not in lines[0]:
        counts = {each: lines[0].count(each) for each in OTHER_SEPARATORS}
        if any(counts.values()):
            separator = max(counts, key=counts.__getitem__)
            options["separator"] = separator
    fields = [field.strip() for line in lines[1:] for field in line.split(separator)]
    if separator != "," and any(DECIMAL_COMMA.fullmatch(field) for field in fields):
        options["decimal"] = ","
    return options
