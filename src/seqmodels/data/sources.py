"""Where files come from: yours, one for each split; rows in memory; a data set of the HuggingFace
hub; Python's standard library, which every machine has."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xxhash
from pydantic import BeforeValidator

from seqmodels.arguments import Name
from seqmodels.cache import cached
from seqmodels.data.examples import Examples
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.tables import Tables, table_of
from seqmodels.errors import UserError, refusing, shown, unusable
from seqmodels.files import IN_MEMORY, called
from seqmodels.installation import require

ROLES = {"group": "data.group", "split": "data.split", "weight": "data.weight_column"}
NOT_IN_EVERY_INSTALLATION = {"site-packages", "dist-packages", "test", "tests", "idle_test"}

# a file may be called 2020
Table = Annotated[Any, BeforeValidator(lambda given: str(given) if type(given) is int else given)]
"""The path of a file; or in Python also rows in memory, as `as_file` takes them."""


class OwnFiles(SequenceDataModule):
    """Sequences from a file for each split, or from a data set of the HuggingFace hub.

    Args:
        train, validation, test: a file each, or rows as `as_file` takes them; splits without any
            are cut from `train`.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        group: the column that says whose a row is, such as a patient's or a machine's: no cut puts
            one of them into two splits.
        split: the column of `train` that says which split a row is of.
        columns, quoting, encoding: how to read tables; see `Tables`.
        options: `batch_size` and the other arguments of `SequenceDataModule`.
    """

    reads_tables = True

    def __init__(
        self,
        train: Table | None = None,
        validation: Table | None = None,
        test: Table | None = None,
        *,
        hub: Name | None = None,
        group: Name | None = None,
        split: Name | None = None,
        columns: list[Name] | None = Tables.columns,
        quoting: bool | None = Tables.quoting,
        encoding: Name = Tables.encoding,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.tables = Tables(columns=columns, quoting=quoting, encoding=encoding)
        roles = {"group": group, "split": split}
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
            found[split] = examples = self.examples_of(self.read_file(path), source)
            for role in self.roles.keys() - examples.also.keys() if len(examples) else ():
                if role != "split" or split == "train":
                    self.tables.read(path).check(self.roles[role], ROLES[role])
        return found


def as_file(given: Any, name: str, folder: str | None = None) -> str:
    """The path of a file: for rows in memory, of a Parquet file in this folder, or in the cache.
    Raises a `UserError` for other values, or a column with values of several types.

    Args:
        given: a path, which stays as it is; a DataFrame of pandas or polars, a table of pyarrow, a
            dict of columns, or a list of dicts, each a row; or `(X, y)`, as `of_arrays` takes them.
    """
    if isinstance(given, str | Path):
        return str(given)
    import pyarrow as pa  # takes time and memory
    import pyarrow.parquet as pq

    taken = "a DataFrame, a dict of columns, a list of dicts, each a row, or (X, y)"
    kinds = (pa.ArrowException, AttributeError, RuntimeError, TypeError, ValueError)
    with refusing(f"{name}: give the path of a file, {taken}", *kinds):
        if isinstance(given, tuple):
            given = of_arrays(name, *given)
        if isinstance(given, Sequence):  # of which any may have a column that the first lacks
            given = table_of(given)
        table = pa.table(given)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content, file = sink.getvalue(), f"{Path(name).name}{IN_MEMORY}"

    def write(place: Path) -> None:
        (place / file).write_bytes(content)

    if folder is None:
        return str(cached("memory", [xxhash.xxh3_128_hexdigest(content), file], write) / file)
    write(Path(folder))
    return f"{folder}/{file}"


def of_arrays(
    name: str, inputs: Any, targets: Any, also: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, Any]:
    """A table with a row for each series, whose channels are columns of lists; or for each text.
    Raises a `UserError` for series of other shapes, or another number of targets than of series.

    Args:
        inputs: series `(T, C)`, time first: a list of arrays, tensors or DataFrames, an array
            `(N, T, C)`, or a jagged tensor; `(T,)` is one channel. Or texts.
        targets: of each, what becomes the column `label`: a label or a number, or those of each of
            its steps.
        also: further columns by name, such as `{"user": users}`.
    """
    import pyarrow as pa

    rows = [*inputs.unbind()] if hasattr(inputs, "unbind") else [*inputs]
    columns: dict[str, Any] = {"label": [*targets], **(also or {})}
    for column, values in columns.items():
        if len(values) != len(rows):
            raise UserError(f"{name}: {len(rows)} inputs and {len(values)} of {column!r}")
        plain = [each.tolist() if hasattr(each, "tolist") else each for each in values]
        columns[column] = pa.array(plain, from_pandas=True)
    if all(isinstance(row, str) for row in rows):
        return {"text": rows, **columns}
    if hasattr(rows[0], "columns"):  # by their names
        for number, row in enumerate(rows, start=1):
            if lacking := [str(c) for c in rows[0].columns if c not in row]:
                raise UserError(f"{name}: series {number} has no column {shown(lacking[0])!r}")
        named = {str(c): [np.asarray(row[c]) for row in rows] for c in rows[0].columns}
    else:
        arrays = [np.asarray(row, float) for row in rows]
        arrays = [row[:, None] if row.ndim == 1 else row for row in arrays]
        width = arrays[0].shape[-1] if arrays[0].ndim else 0
        for number, row in enumerate(arrays, start=1):
            if row.ndim != 2 or not row.size or row.shape[1] != width:
                found = f"{name}: series {number} has shape {row.shape}, not (steps, {width})"
                raise UserError(f"{found}: steps come first, then channels, as many in each series")
        named = {f"channel {n + 1}": [row[:, n] for row in arrays] for n in range(width)}
    for column in named.keys() & columns.keys():
        raise UserError(f"{name}: {column!r} is a channel and beside the series, too: rename one")
    ends = np.cumsum([0, *(len(row) for row in rows)])
    return {
        column: pa.LargeListArray.from_arrays(ends, pa.array(np.concatenate(steps)))
        for column, steps in named.items()
    } | columns


def is_table(given: Any) -> bool:
    """Whether it has columns with names: a DataFrame, a table of pyarrow, or in dicts."""
    if isinstance(given, Mapping):  # which may be one row
        return not any(isinstance(value, str) for value in given.values())
    rows = isinstance(given, Sequence) and len(given) > 0 and isinstance(given[0], Mapping)
    return rows or hasattr(given, "columns")


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
