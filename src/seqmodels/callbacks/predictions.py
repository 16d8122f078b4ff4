"""Write what a test predicted for each row."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback

from seqmodels.errors import refusing
from seqmodels.files import write_table
from seqmodels.plain_values import flattened


class Predictions(Callback):
    """Writes `predictions.csv` of the test split into the run folder: a line for each row in the
    order of the data, with its input, target, prediction and loss. Lists are written as JSON, and
    numbers with nine digits, so that a float32 is read as it was.

    However many rows there are, what they hold lies on disk until it is sorted, not in memory.
    """

    name = "predictions.csv"

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.tells_rows = True
        folder = Path(trainer.default_root_dir)
        self.files = [folder / f".{self.name}.{rank}" for rank in range(trainer.world_size)]
        self.file, self.seen = self.files[trainer.global_rank], 0
        self.file.unlink(missing_ok=True)  # of a test that was killed
        write_rows(self.file, [])

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
        told = ({"row": row, **name(row), **outcome, "loss": loss} for row, outcome, loss in rows)
        write_rows(self.file, told)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.tells_rows = False
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            merge_rows(self.files, Path(trainer.default_root_dir) / self.name)
            self._clear()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        pl_module.tells_rows = False
        self._clear()

    def _clear(self) -> None:
        for file in getattr(self, "files", ()):
            file.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds a line for each row, with its number as `row`."""
    with refusing(str(path), OSError), path.open("ab") as file:
        for row in rows:
            content = {name: _plain(value) for name, value in flattened(row).items()}
            file.write(json.dumps(content).encode() + b"\n")


def merge_rows(paths: Sequence[Path], table: Path) -> None:
    """Writes the rows of all processes as one table: sorted by their numbers, each once."""
    columns, found = dict[str, None](), array("q")  # of each row: number, file, place in the file
    with ExitStack() as opened, refusing(str(table), OSError):
        files = [opened.enter_context(path.open("rb")) for path in paths]
        for file, lines in enumerate(files):
            place = 0
            for line in lines:
                row = json.loads(line)
                columns.update(dict.fromkeys(row))
                found.extend((row["row"], file, place))
                place += len(line)
        places = np.array(found, np.int64).reshape(-1, 3)
        _, first = np.unique(places[:, 0], return_index=True)

        def rows() -> Iterator[dict[str, Any]]:
            for _, file, place in places[first]:
                files[file].seek(place)
                row = json.loads(files[file].readline())
                yield {name: _cell(value) for name, value in row.items()}

        if columns:
            write_table(table, columns, rows())


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.9g}")
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
