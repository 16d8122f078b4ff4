"""Write what a test predicted for each row."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.errors import refusing
from seqmodels.files import write_table
from seqmodels.plain_values import flattened

NAMES = -1  # the row that holds the names of the columns


class Predictions(Callback):
    """Writes `predictions.csv` of the test split into the run folder: a line for each row in the
    order of the data, with its input, target, prediction and loss. Lists are written as JSON, and
    numbers with nine digits, so that a float32 is read as it was.

    However many rows there are, they lie on disk until they are sorted, not in memory.
    """

    name = "predictions.csv"

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.tells_rows = True
        folder = Path(trainer.default_root_dir)
        self.files = [folder / f".{self.name}.{rank}" for rank in range(trainer.world_size)]
        self.rows = _RowFile(self.files[trainer.global_rank])
        self.seen = 0

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if not outputs or "rows" not in outputs:  # of a task with a test step of its own
            return
        count, rank, numbers = trainer.world_size, trainer.global_rank, batch.rows
        if numbers is None:  # in the order of their batches, which processes share
            numbers = [rank + count * (self.seen + row) for row in range(len(batch))]
        self.seen += len(batch)
        loader: Any = trainer.test_dataloaders
        name: Any = getattr(getattr(loader, "dataset", None), "row_name", lambda row: {})
        rows = zip(map(int, numbers), outputs["rows"], outputs["losses"], strict=True)
        self.rows.add(
            {"row": row, **name(row), **outcome, "loss": loss} for row, outcome, loss in rows
        )

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.tells_rows = False
        self.rows.close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            _write(self.files, Path(trainer.default_root_dir) / self.name)
            self._clear()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        pl_module.tells_rows = False
        self._clear()

    def _clear(self) -> None:
        for file in getattr(self, "files", ()):
            file.unlink(missing_ok=True)


class _RowFile:
    """The rows of one process, in a database that sorts them."""

    def __init__(self, file: Path) -> None:
        file.unlink(missing_ok=True)  # of a test that was killed
        self.file, self.columns = file, dict[str, None]()
        with refusing(str(file), sqlite3.Error):
            self.database = _opened(file)
            self.database.execute("create table rows (row integer primary key, content text)")

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        flat = [{name: _plain(value) for name, value in flattened(row).items()} for row in rows]
        for row in flat:
            self.columns |= dict.fromkeys(row)
        self._insert((row["row"], row) for row in flat)

    def close(self) -> None:
        self._insert([(NAMES, [*self.columns])])
        with refusing(str(self.file), sqlite3.Error):
            self.database.commit()
            self.database.close()

    def _insert(self, rows: Iterable[tuple[int, Any]]) -> None:
        lines = ((row, json.dumps(content, ensure_ascii=False)) for row, content in rows)
        with refusing(str(self.file), sqlite3.Error):
            self.database.executemany("insert or ignore into rows values (?, ?)", lines)


def _opened(file: Path) -> sqlite3.Connection:
    # only one process writes to it, and network file systems may have no locks
    database = sqlite3.connect(f"{file.absolute().as_uri()}?nolock=1", uri=True)
    database.execute("pragma journal_mode=off")
    return database


def _write(files: Sequence[Path], path: Path) -> None:
    """Merges the rows of all processes, each row once."""
    with ExitStack() as opened, refusing(str(path), sqlite3.Error):
        databases = [opened.enter_context(closing(_opened(file))) for file in files]
        columns: dict[str, None] = {}
        for database in databases:
            [(names,)] = database.execute("select content from rows where row = ?", (NAMES,))
            columns |= dict.fromkeys(json.loads(names))
        query = "select row, content from rows where row >= 0 order by row"
        rows = merge(*(database.execute(query) for database in databases), key=itemgetter(0))
        once = (json.loads(next(same)[1]) for _, same in groupby(rows, key=itemgetter(0)))
        if columns:
            write_table(path, columns, ({k: _cell(v) for k, v in row.items()} for row in once))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.9g}")
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
