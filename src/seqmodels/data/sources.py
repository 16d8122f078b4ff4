"""Where files come from: yours, one for each split; rows in memory; a data set of the HuggingFace
hub; Python's standard library, which every machine has."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xxhash
from pydantic import BeforeValidator

from seqmodels.arguments import Name
from seqmodels.cache import cached
from seqmodels.data.columns import is_list
from seqmodels.data.examples import SPLITS, Examples, Split
from seqmodels.data.gaps import NaValues
from seqmodels.data.module import DataModule
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.tables import Decimal, Tables, names_of
from seqmodels.errors import UserError, refusing, shown, unusable, within_memory
from seqmodels.files import IN_MEMORY, called
from seqmodels.installation import require

if TYPE_CHECKING:
    import pyarrow as pa

ROLES = {
    "group": "data.group",
    "split": "data.split",
    "weight": "data.weight_column",
    "id": "data.id",
}
NOT_IN_EVERY_INSTALLATION = {"site-packages", "dist-packages", "test", "tests", "idle_test"}

# a file may be called 2020
Table = Annotated[Any, BeforeValidator(lambda given: str(given) if type(given) is int else given)]
"""The path of a file; or in Python also rows in memory, as `as_file` takes them."""


class ReadsTables(DataModule):
    """Data that is read from tables.

    Args:
        columns, quoting, encoding, separator, decimal, na_values: how to read them; see `Tables`.
        options: those of the next class.
    """

    reads_tables = True

    def __init__(
        self,
        *,
        columns: list[Name] | None = Tables.columns,
        quoting: bool | None = Tables.quoting,
        encoding: Name = Tables.encoding,
        separator: Name | None = Tables.separator,
        decimal: Decimal = Tables.decimal,
        na_values: NaValues | None = Tables.na_values,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.tables = Tables(
            columns=columns,
            quoting=quoting,
            encoding=encoding,
            separator=separator,
            decimal=decimal,
            na_values=na_values,
        )


class OwnFiles(ReadsTables, SequenceDataModule):
    """Sequences from a file for each split, or from a data set of the HuggingFace hub.

    Args:
        train, validation, test: a file each, or rows as `as_file` takes them; splits without any
            are cut from `train`.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        group: the column that says whose a row is, such as a patient's or a machine's: no cut puts
            one of them into two splits.
        split: the column of `train` that says which split a row is of.
        id: the column by which predictions can be joined with the file again.
        options: `columns` and the other arguments of `ReadsTables`; `batch_size` and those of
            `SequenceDataModule`.
    """

    def __init__(
        self,
        train: Table | None = None,
        validation: Table | None = None,
        test: Table | None = None,
        *,
        hub: Name | None = None,
        group: Name | None = None,
        split: Name | None = None,
        id: Name | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        roles = {"group": group, "split": split, "id": id}
        self.roles = {role: column for role, column in roles.items() if column}
        given: dict[Split, Any] = {"train": train, "validation": validation, "test": test}
        self.paths = {s: as_file(it, f"data.{s}") for s, it in given.items() if it is not None}
        self.hub = hub

    @property
    def title(self) -> str:
        return self.hub or Path(called(self.paths.get("train", super().title))).name

    def split_paths(self) -> dict[Split, str]:
        """The file of each split that has one. Raises a `UserError` without one for training, or
        for a data set that the hub does not have."""
        if ("train" in self.paths) == (self.hub is not None):
            raise UserError("give either data.train=<file> or data.hub=<name>")
        return hub_files(self.hub) if self.hub else self.paths

    def read(self) -> dict[Split, Examples]:
        found = dict[Split, Examples]()
        for split, path in self.split_paths().items():
            source = f"{self.hub} {split}" if self.hub else called(path)
            with within_memory(source):
                examples = self.examples_of(self.read_file(path), source)
            found[split] = examples
            for role in self.roles.keys() - examples.also.keys() if len(examples) else ():
                if role != "split" or split == "train":
                    self.tables.read(path).check(self.roles[role], ROLES[role])
        return found


def as_file(given: Any, name: str, folder: str | None = None) -> str:
    """The path of a file: for rows in memory, of a Parquet file in this folder, or in the cache.
    Raises a `UserError` for other values, or a column with values of several types.

    Args:
        given: a path, which stays as it is; or rows as `rows_of` takes them.
    """
    if isinstance(given, str | Path):
        return str(given)
    import pyarrow as pa  # takes time and memory
    import pyarrow.parquet as pq

    table = rows_of(given, name)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content, file = sink.getvalue(), f"{Path(name).name}{IN_MEMORY}"

    def write(place: Path) -> None:
        (place / file).write_bytes(content)

    if folder is None:
        return str(cached("memory", [xxhash.xxh3_128_hexdigest(content), file], write) / file)
    write(Path(folder))
    return f"{folder}/{file}"


def rows_of(given: Any, name: str) -> pa.Table:
    """A table of anything that may be `X`. What has names for its channels becomes what a file of
    the same rows would: columns, in which a list is a series.

    Args:
        given: rows: a DataFrame of pandas or polars, a table of pyarrow, a dict of columns, or a
            list of dicts. Or a row for each series: a DataFrame whose cells are lists, arrays or
            Series; a list of DataFrames; a list of arrays or tensors `(T, C)`, time first, an array
            `(N, T, C)`, a jagged tensor, where `(T,)` is one channel; or a list of texts. Or
            `(X, y)` of these and their targets, a label or a number each, or those of each step,
            and perhaps a dict of further columns, such as `{"user": users}`.
        name: what to call it in an error.

    Raises:
        UserError: for anything else, for series of other shapes, or another number of targets than
            of series.
    """
    import pyarrow as pa

    taken = "a DataFrame, a dict of columns, a list of dicts, each a row, or (X, y)"
    kinds = (pa.ArrowException, AttributeError, RuntimeError, TypeError, ValueError)
    with refusing(f"{name}: give the path of a file, {taken}", *kinds):
        if isinstance(given, tuple):
            return _with_targets(name, *given)
        return _table_of(given, name)


def has_names(given: Any) -> bool:
    """Whether it has columns with names: a DataFrame or a list of them, a table of pyarrow, or
    columns or rows in dicts."""
    if isinstance(given, Mapping):  # which may be one row
        return not any(isinstance(value, str) for value in given.values())
    if isinstance(given, Sequence) and len(given) > 0:
        return isinstance(given[0], Mapping) or _is_frame(given[0])
    return _is_frame(given)


def raw_inputs(data: DataModule, inputs: Any, source: str) -> Iterator[Any]:
    """The raw inputs in rows that have names, as `read_inputs` gives those of a file."""
    with TemporaryDirectory() as place:  # a service would fill the cache with its questions
        yield from data.read_inputs(as_file(inputs, source, place))


def one_each(inputs: Any) -> Any:
    """Inputs with an element, or a row, for each series: those of an index of two levels, as sktime
    has it, are frames."""
    if hasattr(inputs, "unbind"):
        return [*inputs.unbind()]
    if _has_two_levels(inputs):
        return [frame.droplevel(0) for _, frame in inputs.groupby(level=0, sort=False)]
    if _is_frame(inputs) and not _has_series_in_cells(inputs):
        return [*np.asarray(inputs)]  # a row is a series of one channel
    return inputs


def _has_two_levels(given: Any) -> bool:
    """Whether it has an index of two levels, as series have in sktime."""
    return getattr(getattr(given, "index", None), "nlevels", 1) == 2


def _is_frame(given: Any) -> bool:
    is_of_pandas_or_arrow = hasattr(given, "iloc") or hasattr(given, "__arrow_c_stream__")
    return hasattr(given, "columns") and is_of_pandas_or_arrow


def _has_series_in_cells(frame: Any) -> bool:
    import pyarrow as pa

    table = frame if isinstance(frame, pa.Table) else _of_frame(frame)
    return any(is_list(field.type) for field in table.schema)


def _with_targets(
    name: str, inputs: Any, targets: Any, also: Mapping[str, Sequence[Any]] | None = None
) -> pa.Table:
    """A table with a row for each series or text, and its target as the column `label`."""
    import pyarrow as pa

    table = _table_of(one_each(inputs), name, are_to_learn_from=True)
    beside: dict[str, Any] = {"label": targets, **(also or {})}
    for column, values in beside.items():
        if len(values) != len(table):
            raise UserError(f"{name}: {len(table)} inputs and {len(values)} of {column!r}")
        if column in table.column_names:
            raise UserError(
                f"{name}: {column!r} is a channel and beside the series, too: rename one"
            )
        plain = [each.tolist() if hasattr(each, "tolist") else each for each in values]
        table = table.append_column(column, pa.array(plain, from_pandas=True))
    return table


def _table_of(given: Any, name: str, *, are_to_learn_from: bool = False) -> pa.Table:
    import pyarrow as pa

    if _has_two_levels(given) and not any(given.index.names):
        given = one_each(given)
    if _is_frame(given):
        return _of_frame(given)
    if isinstance(given, Mapping):
        return _of_columns(given)
    rows = [*given.unbind()] if hasattr(given, "unbind") else [*given]
    if not rows:
        return _of_arrays(rows, name)
    if all(isinstance(row, Mapping) for row in rows):
        return _of_columns({name: [row.get(name) for row in rows] for name in names_of(rows)})
    if _is_frame(rows[0]):
        return _of_frames(rows, name, are_to_learn_from=are_to_learn_from)
    if all(isinstance(row, str) for row in rows):
        return pa.table({"text": rows})
    return _of_arrays(rows, name)


def _of_frame(frame: Any) -> pa.Table:
    """The columns of a DataFrame, and the levels of its index that have a name."""
    import pyarrow as pa

    if not hasattr(frame, "iloc"):  # of another library
        return pa.table(frame)
    levels = [level for level in frame.index.names if level is not None]
    frame = frame.reset_index(level=levels) if levels else frame
    frame = frame.set_axis([*map(str, frame.columns)], axis=1)
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"two columns are called {twice!r}")
    return _of_columns({column: frame[column] for column in frame.columns})


def _of_columns(columns: Mapping[Any, Any]) -> pa.Table:
    import pyarrow as pa

    arrays = dict[str, Any]()
    for name, values in columns.items():
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(_cells(values), from_pandas=True)
        arrays[str(name)] = values
    return pa.table(arrays)


def _cells(values: Any) -> Any:
    """A column of which a cell may be an array `(T,)` or `(T, C)`, or a Series."""
    if hasattr(values, "tolist") and np.ndim(values) > 1:
        return values.tolist()
    if hasattr(values, "dtype") and values.dtype != np.dtype(object):
        return values
    cells = [*values]
    first = next((cell for cell in cells if hasattr(cell, "__array__") and np.ndim(cell)), None)
    if first is None:
        return values
    return [None if cell is None else np.asarray(cell).tolist() for cell in cells]


def _of_frames(frames: Sequence[Any], name: str, *, are_to_learn_from: bool) -> pa.Table:
    """A row for each frame, whose columns become lists."""
    import pyarrow as pa

    every_name = dict.fromkeys(str(column) for frame in frames for column in frame.columns)
    shared_names = []
    for column in every_name:
        has_it = [column in map(str, frame.columns) for frame in frames]
        if all(has_it):
            shared_names.append(column)
        elif are_to_learn_from:  # else it may be a column that nobody reads
            number = 1 + has_it.index(False)
            raise UserError(f"{name}: series {number} has no column {shown(column)!r}")
    if all(hasattr(frame, "iloc") for frame in frames):
        import pandas as pd  # slow to import

        steps = _of_frame(pd.concat([*frames]))
    else:
        tables = [_of_frame(frame) for frame in frames]
        steps = pa.concat_tables(tables, promote_options="permissive")
    indices = [column for column in steps.column_names if column not in every_name]
    ends = np.cumsum([0, *map(len, frames)])
    return pa.table(
        {
            column: pa.LargeListArray.from_arrays(ends, steps[column].combine_chunks())
            for column in [*indices, *shared_names]
        }
    )


def _of_arrays(rows: Sequence[Any], name: str) -> pa.Table:
    """A row for each array `(T, C)`, with a column of lists for each channel."""
    import pyarrow as pa

    arrays = [np.asarray(row, float) for row in rows]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    width = arrays[0].shape[-1] if arrays and arrays[0].ndim else 0
    for number, array in enumerate(arrays, start=1):
        if array.ndim != 2 or not array.size or array.shape[1] != width:
            raise UserError(
                f"{name}: series {number} has shape {array.shape}, not (steps, {width}): steps "
                "come first, then channels, as many in each series"
            )
    ends = np.cumsum([0, *map(len, arrays)])
    steps = np.concatenate(arrays) if arrays else np.empty((0, 0))
    return pa.table(
        {
            f"channel {channel + 1}": pa.LargeListArray.from_arrays(
                ends, pa.array(np.ascontiguousarray(steps[:, channel]))
            )
            for channel in range(width)
        }
    )


def hub_files(name: str) -> dict[Split, str]:
    """A Parquet file in the cache for each split of a data set of the HuggingFace hub. Raises a
    `UserError` with the message of `datasets`, or if there is no training split."""
    require("datasets", f"data.hub={name}", "hub")
    import datasets  # slow to import

    with unusable(f"data.hub={name}"):
        found = datasets.load_dataset(name)
        if "train" not in found:
            raise UserError(f"data.hub={name} has no train split, only {', '.join(found)}")
        return {s: _from_hub(name, s, found[s]) for s in SPLITS if s in found}


def _from_hub(name: str, split: Split, rows: Any) -> str:
    recipe = [name, split, rows.cache_files]
    folder = cached("hub", recipe, lambda made: rows.to_parquet(f"{made}/rows.parquet"))
    return f"{folder}/rows.parquet"


def library_files() -> list[Path]:
    """The modules of the running Python's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not NOT_IN_EVERY_INSTALLATION.intersection(path.relative_to(root).parts)
    ]
