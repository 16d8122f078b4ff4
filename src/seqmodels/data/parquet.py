"""Rows of Parquet files, and the names of the classes in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.types as of

from seqmodels.data.formats import check_columns
from seqmodels.data.in_memory import InMemory
from seqmodels.errors import UserError, choices, one_line, shown
from seqmodels.files import existing_file


def parquet_rows(
    path: str, wanted: Iterable[str], *, lists: bool | None = False, times: bool = False
) -> Iterator[dict[str, Any]]:
    """The wanted columns of a Parquet file, row by row. Other columns are None.

    Args:
        lists: whether they hold lists of texts or numbers, instead of texts or numbers; None:
            either.
        times: whether columns may hold dates and times, too.

    Raises:
        UserError: if the file is damaged, or naming a column that holds neither texts nor numbers.
    """
    import pyarrow.parquet as pq  # takes memory

    wanted = [*wanted]
    source: Any = path.parquet(wanted) if isinstance(path, InMemory) else existing_file(path)
    try:
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            check_columns(schema.names, path)
            chosen = [name for name in schema.names if name in set(wanted)]
            for name in chosen:
                where = f"{path}: column {name!r}"
                _check_type(schema.field(name).type, where, lists=lists, times=times)
            absent: dict[str, Any] = {name: None for name in schema.names if name not in chosen}
            names = _class_names(schema.metadata or {})
            row: dict[str, Any]
            # a float of 32 bits is 0.1, and not 0.10000000149011612
            short = {
                name: schema.field(name).type.to_pandas_dtype()
                for name in chosen
                if schema.field(name).type in (pa.float16(), pa.float32())
            }
            for batch in file.iter_batches(batch_size=4096, columns=chosen):
                for row in batch.to_pylist() if chosen else [absent] * len(batch):
                    for column in short:
                        if row[column] is not None:
                            row[column] = float(str(short[column](row[column])))
                    for column in names.keys() & row.keys():
                        if (number := row[column]) is not None:
                            row[column] = _named(number, names[column], path)
                    yield absent | row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}; write it again") from error


def _named(number: Any, names: Sequence[str], path: str) -> Any:
    if isinstance(number, list):
        return [None if each is None else class_name(str(each), names, path) for each in number]
    return class_name(str(number), names, path)


def _check_type(kind: Any, where: str, *, lists: bool | None, times: bool) -> None:
    if lists is not False:
        listed = of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind)
        if lists and not listed:
            raise UserError(f"{where} holds values of type {kind}: they must be lists, one a text")
        kind = kind.value_type if listed else kind
    value = kind.value_type if of.is_dictionary(kind) else kind
    texts = of.is_string(value) or of.is_large_string(value) or of.is_string_view(value)
    numbers = of.is_integer(value) or of.is_floating(value) or of.is_boolean(value)
    if not (texts or numbers or of.is_null(value) or (times and of.is_temporal(value))):
        raise UserError(f"{where} holds values of type {value}: convert them to text")


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    # HuggingFace `datasets` describes the columns of a Parquet file in JSON inside it
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            column: kind["names"]
            for column, feature in features.items()
            if (kind := feature.get("feature", feature)).get("_type") == "ClassLabel"
        }
    return {}


def class_name(text: str, names: Sequence[str], source: str) -> str | None:
    """The name of a class from its name or its number; None for -1, an example without a label.

    Raises:
        UserError: if there is no such class.
    """
    if text in names:
        return text
    if text == "-1":
        return None
    if not (text.isascii() and text.isdecimal()) or int(text) >= len(names):
        raise UserError(f"{source}: there is no class '{shown(text)}': {choices(text, names)}")
    return names[int(text)]
