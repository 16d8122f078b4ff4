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

# The key that names the column of each role.
ROLES = {
    "group": "data.group",
    "split": "data.split",
    "weight": "data.weight_column",
    "id": "data.id",
}
NOT_IN_EVERY_INSTALLATION = {"site-packages", "dist-packages", "test", "tests", "idle_test"}


def _with_text_for_number(table: Any) -> Any:
    """The argument for a table, in which the name of a file such as 2020 is a text again."""
    return str(table) if type(table) is int else table


Table = Annotated[Any, BeforeValidator(_with_text_for_number)]
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
        column_by_role = {"group": group, "split": split, "id": id}
        self.roles = {role: column for role, column in column_by_role.items() if column}
        tables: dict[Split, Any] = {"train": train, "validation": validation, "test": test}
        self.paths = dict[Split, str]()
        for table_split, table in tables.items():
            if table is not None:
                self.paths[table_split] = as_file(table, f"data.{table_split}")
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
        examples_by_split = dict[Split, Examples]()
        for split, path in self.split_paths().items():
            source = f"{self.hub} {split}" if self.hub else called(path)
            with within_memory(source):
                examples = self.examples_of(self.read_file(path), source)
            examples_by_split[split] = examples
            self._check_roles(split, path, examples)
        return examples_by_split

    def _check_roles(self, split: Split, path: str, examples: Examples) -> None:
        """Raises a `UserError` if a file lacks the column of a role. Only the training file needs
        one that names splits."""
        if not len(examples):
            return
        for role in self.roles.keys() - examples.also.keys():
            if role != "split" or split == "train":
                self.tables.read(path).check(self.roles[role], ROLES[role])


def as_file(table: Any, name: str, folder: str | None = None) -> str:
    """The path of a file: for rows in memory, of a Parquet file in this folder, or in the cache.
    Raises a `UserError` for other values, or a column with values of several types.

    Args:
        table: a path, which stays as it is; or rows as `rows_of` takes them.
        name: what to call the rows in an error.
    """
    if isinstance(table, str | Path):
        return str(table)
    import pyarrow as pa  # takes time and memory
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(rows_of(table, name), sink)
    content = sink.getvalue()
    file_name = f"{Path(name).name}{IN_MEMORY}"

    def write(folder: Path) -> None:
        (folder / file_name).write_bytes(content)

    if folder is None:
        recipe = [xxhash.xxh3_128_hexdigest(content), file_name]
        return str(cached("memory", recipe, write) / file_name)
    write(Path(folder))
    return f"{folder}/{file_name}"


def rows_of(rows: Any, name: str) -> pa.Table:
    """A table of anything that may be `X`. What has names for its channels becomes what a file of
    the same rows would: columns, in which a list is a series.

    Args:
        rows: a DataFrame of pandas or polars, a table of pyarrow, a dict of columns, or a
            list of dicts. Or a row for each series: a DataFrame whose cells are lists, arrays or
            Series; a list of DataFrames; a list of arrays or tensors `(T, C)`, time first, an array
            `(N, T, C)`, a jagged tensor, where `(T,)` is one channel; or a list of texts. Or
            `(X, y)` of these and their targets, a label or a number each, or those of each step,
            and perhaps a dict of further columns, such as `{"user": users}`.
        name: what to call the rows in an error.

    Raises:
        UserError: for anything else, for series of other shapes, or another number of targets than
            of series.
    """
    import pyarrow as pa

    message = (
        f"{name}: give the path of a file, a DataFrame, a dict of columns, a list of dicts, each a "
        "row, or (X, y)"
    )
    refused_errors = (pa.ArrowException, AttributeError, RuntimeError, TypeError, ValueError)
    with refusing(message, *refused_errors):
        if isinstance(rows, tuple):
            return _with_targets(name, *rows)
        return _table_of(rows, name)


def has_names(rows: Any) -> bool:
    """Whether rows have columns with names: a DataFrame or a list of them, a table of pyarrow, or
    columns or rows in dicts."""
    if isinstance(rows, Mapping):
        # With a text for a value, it is a single row.
        return not any(isinstance(value, str) for value in rows.values())
    if isinstance(rows, Sequence) and len(rows) > 0:
        return isinstance(rows[0], Mapping) or _is_frame(rows[0])
    return _is_frame(rows)


def raw_inputs(data: DataModule, inputs: Any, source: str) -> Iterator[Any]:
    """The raw inputs in rows that have names, as `read_inputs` gives those of a file."""
    # In the cache, the inputs of a service would never end.
    with TemporaryDirectory() as folder:
        yield from data.read_inputs(as_file(inputs, source, folder))


def one_each(inputs: Any) -> Any:
    """Inputs with an element, or a row, for each series. Series with an index of two levels, as
    sktime has them, become a list of frames."""
    if hasattr(inputs, "unbind"):
        return [*inputs.unbind()]
    if _has_two_levels(inputs):
        return [frame.droplevel(0) for _, frame in inputs.groupby(level=0, sort=False)]
    if _is_frame(inputs) and not _has_series_in_cells(inputs):
        return [*np.asarray(inputs)]  # A row is a series of one channel.
    return inputs


def _has_two_levels(rows: Any) -> bool:
    """Whether rows have an index of two levels, as series have in sktime."""
    index = getattr(rows, "index", None)
    return getattr(index, "nlevels", 1) == 2


def _is_frame(rows: Any) -> bool:
    """Whether rows are a DataFrame, or a table of pyarrow."""
    is_of_pandas_or_arrow = hasattr(rows, "iloc") or hasattr(rows, "__arrow_c_stream__")
    return hasattr(rows, "columns") and is_of_pandas_or_arrow


def _has_series_in_cells(frame: Any) -> bool:
    import pyarrow as pa

    table = frame if isinstance(frame, pa.Table) else _of_frame(frame)
    return any(is_list(field.type) for field in table.schema)


def _with_targets(
    name: str, inputs: Any, targets: Any, also: Mapping[str, Sequence[Any]] | None = None
) -> pa.Table:
    """A table with a row for each series or text, and its target as the column `label`.

    Args:
        also: further columns.
    """
    import pyarrow as pa

    table = _table_of(one_each(inputs), name, are_to_learn_from=True)
    columns: dict[str, Any] = {"label": targets, **(also or {})}
    for column, values in columns.items():
        if len(values) != len(table):
            raise UserError(f"{name}: {len(table)} inputs and {len(values)} of {column!r}")
        if column in table.column_names:
            raise UserError(
                f"{name}: {column!r} is a channel and beside the series, too: rename one"
            )
        # Numbers and arrays of NumPy or PyTorch become those of Python.
        cells = [cell.tolist() if hasattr(cell, "tolist") else cell for cell in values]
        table = table.append_column(column, pa.array(cells, from_pandas=True))
    return table


def _table_of(inputs: Any, name: str, *, are_to_learn_from: bool = False) -> pa.Table:
    """The table of Arrow of rows that have no targets beside them.

    Args:
        are_to_learn_from: whether a DataFrame in a list may not lack a column of the others.
    """
    import pyarrow as pa

    if _has_two_levels(inputs) and not any(inputs.index.names):
        inputs = one_each(inputs)
    if _is_frame(inputs):
        return _of_frame(inputs)
    if isinstance(inputs, Mapping):
        return _of_columns(inputs)
    if hasattr(inputs, "unbind"):
        inputs = inputs.unbind()
    rows = [*inputs]
    if not rows:
        return _of_arrays(rows, name)
    if all(isinstance(row, Mapping) for row in rows):
        columns = {column: [row.get(column) for row in rows] for column in names_of(rows)}
        return _of_columns(columns)
    if _is_frame(rows[0]):
        return _of_frames(rows, name, are_to_learn_from=are_to_learn_from)
    if all(isinstance(row, str) for row in rows):
        return pa.table({"text": rows})
    return _of_arrays(rows, name)


def _of_frame(frame: Any) -> pa.Table:
    """The columns of a DataFrame, and the levels of its index that have a name."""
    import pyarrow as pa

    is_of_pandas = hasattr(frame, "iloc")
    if not is_of_pandas:
        return pa.table(frame)
    named_levels = [level for level in frame.index.names if level is not None]
    if named_levels:
        frame = frame.reset_index(level=named_levels)
    frame = frame.set_axis([*map(str, frame.columns)], axis=1)
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"two columns are called {twice!r}")
    return _of_columns({column: frame[column] for column in frame.columns})


def _of_columns(columns: Mapping[Any, Any]) -> pa.Table:
    """A table of columns of any values, by their names."""
    import pyarrow as pa

    arrays = dict[str, Any]()
    for name, values in columns.items():
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(_cells(values), from_pandas=True)
        arrays[str(name)] = values
    return pa.table(arrays)


def _cells(values: Any) -> Any:
    """The cells of a column as Arrow takes them: a cell that is an array `(T,)` or `(T, C)`, or a
    Series, becomes a list."""
    if hasattr(values, "tolist") and np.ndim(values) > 1:
        return values.tolist()
    if hasattr(values, "dtype") and values.dtype != np.dtype(object):
        return values
    cells = [*values]
    has_arrays = any(hasattr(cell, "__array__") and np.ndim(cell) for cell in cells)
    if not has_arrays:
        return values
    return [None if cell is None else np.asarray(cell).tolist() for cell in cells]


def _of_frames(frames: Sequence[Any], name: str, *, are_to_learn_from: bool) -> pa.Table:
    """A row for each frame, whose columns become lists."""
    import pyarrow as pa

    every_name = dict[str, None]()  # each name once, in the order of the frames
    for frame in frames:
        every_name |= dict.fromkeys(map(str, frame.columns))
    shared_names = []
    for column in every_name:
        has_column = [column in map(str, frame.columns) for frame in frames]
        if all(has_column):
            shared_names.append(column)
        elif are_to_learn_from:
            # In rows to predict, it may be a column that nobody reads.
            number = 1 + has_column.index(False)
            raise UserError(f"{name}: series {number} has no column {shown(column)!r}")
    if all(hasattr(frame, "iloc") for frame in frames):
        import pandas as pd  # slow to import

        steps = _of_frame(pd.concat([*frames]))
    else:
        tables = [_of_frame(frame) for frame in frames]
        steps = pa.concat_tables(tables, promote_options="permissive")
    levels = [column for column in steps.column_names if column not in every_name]
    ends = np.cumsum([0, *map(len, frames)])
    columns = {}
    for column in [*levels, *shared_names]:
        cells = steps[column].combine_chunks()
        columns[column] = pa.LargeListArray.from_arrays(ends, cells)
    return pa.table(columns)


def _of_arrays(rows: Sequence[Any], name: str) -> pa.Table:
    """A row for each array `(T, C)`, with a column of lists for each channel."""
    import pyarrow as pa

    arrays = []
    for row in rows:
        array = np.asarray(row, float)
        arrays.append(array[:, None] if array.ndim == 1 else array)
    width = 0  # the number of channels
    if arrays and arrays[0].ndim:
        width = arrays[0].shape[-1]
    for number, array in enumerate(arrays, start=1):
        if array.ndim != 2 or not array.size or array.shape[1] != width:
            raise UserError(
                f"{name}: series {number} has shape {array.shape}, not (steps, {width}): steps "
                "come first, then channels, as many in each series"
            )
    ends = np.cumsum([0, *map(len, arrays)])
    steps = np.concatenate(arrays) if arrays else np.empty((0, 0))
    columns = {}
    for channel in range(width):
        values = pa.array(np.ascontiguousarray(steps[:, channel]))
        columns[f"channel {channel + 1}"] = pa.LargeListArray.from_arrays(ends, values)
    return pa.table(columns)


def hub_files(name: str) -> dict[Split, str]:
    """A Parquet file in the cache for each split of a data set of the HuggingFace hub. Raises a
    `UserError` with the message of `datasets`, or if there is no training split."""
    require("datasets", f"data.hub={name}", "hub")
    import datasets  # slow to import

    with unusable(f"data.hub={name}"):
        rows_by_split = datasets.load_dataset(name)
        if "train" not in rows_by_split:
            raise UserError(f"data.hub={name} has no train split, only {', '.join(rows_by_split)}")
        return {
            split: _from_hub(name, split, rows_by_split[split])
            for split in SPLITS
            if split in rows_by_split
        }


def _from_hub(name: str, split: Split, rows: Any) -> str:
    """The path of a Parquet file in the cache with the rows of a split."""

    def write(folder: Path) -> None:
        rows.to_parquet(f"{folder}/rows.parquet")

    folder = cached("hub", [name, split, rows.cache_files], write)
    return f"{folder}/rows.parquet"


def library_files() -> list[Path]:
    """The modules of the running Python's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = []
    for path in sorted(root.rglob("*.py")):
        folders = path.relative_to(root).parts
        if NOT_IN_EVERY_INSTALLATION.isdisjoint(folders):
            modules.append(path)
    return modules
