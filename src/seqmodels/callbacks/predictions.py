"""What a test leaves in the run folder: each row, the scores of its parts, pictures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.engine.resume import from_every_process
from seqmodels.errors import UserError, one_line
from seqmodels.files import write_pictures, write_table
from seqmodels.plain_values import flattened

log = logging.getLogger(__name__)

LARGE = 1e6


class Predictions(Callback):
    """Writes `predictions.csv` of a test into the run folder: a line for each row in the order of
    the data, with where it stands in its file, its input, target, prediction and loss. Lists are
    written as JSON, and numbers with nine digits, so that a float32 is read as it was, and large
    ones, which are of 64 bits, with fifteen. And `scores.csv`, where a task has parts to score:
    each class or column.

    Args:
        folder: to write to, or to warn of, where nothing can be written there; None: the run
            folder, which needs them.

    Attributes:
        written: whether they were.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.written = folder, False

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.told = {}

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, *_: Any) -> None:
        if not outputs or "rows" not in outputs:  # of a task with a test step of its own
            return
        numbers, count, told = batch.rows, trainer.world_size, task.told
        if numbers is None:  # in the order of their batches, which processes share
            first = trainer.global_rank + count * len(told)
            numbers = range(first, first + count * len(batch), count)
        dataset: Any = getattr(trainer.test_dataloaders, "dataset", None)
        name: Any = getattr(dataset, "row_name", lambda row: {})
        target_as_read = getattr(dataset, "targets_as_read", None)
        for row, outcome in zip(map(int, numbers), outputs["rows"], strict=True):
            if target_as_read:  # with all its digits, of which standardised float32 loses some
                outcome = {**outcome, "target": target_as_read(row)}
            told[row] = {"row": 1 + row, **flattened({**name(row), **outcome})}

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        rows = {n: row for told in from_every_process(pl_module.told) for n, row in told.items()}
        parts = pl_module.score_parts(pl_module.sums["test"].of_all(pl_module.device))
        tables = {"predictions.csv": [rows[n] for n in sorted(rows)], "scores.csv": parts}
        if not trainer.is_global_zero:
            return
        try:
            for file, table in tables.items():
                self._write(self.folder or Path(trainer.default_root_dir), file, table)
            self.written = True
        except (OSError, UserError) as error:
            if self.folder is None:
                raise
            log.warning("the predictions are not written: %s", one_line(error))

    def _write(self, folder: Path, file: str, table: Sequence[Mapping[str, Any]]) -> None:
        if columns := dict.fromkeys(name for row in table for name in row):
            cells = ({k: _cell(_plain(v)) for k, v in row.items()} for row in table)
            folder.mkdir(parents=True, exist_ok=True)
            write_table(folder / file, columns, cells)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.told = None


class Pictures(Callback):
    """Saves what the task's `pictures` draws of the test split in `figures/` of the run folder."""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        sums = pl_module.sums["test"].of_all(pl_module.device)  # every process takes part
        if not trainer.is_global_zero:
            return
        dataset: Any = getattr(trainer.test_dataloaders, "dataset", None)
        folder = Path(trainer.default_root_dir, "figures")
        write_pictures(folder, pl_module.pictures(dataset, sums))


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        digits = 9 if abs(value) < LARGE else 15
        return None if math.isnan(value) else float(f"{value:.{digits}g}")
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value
