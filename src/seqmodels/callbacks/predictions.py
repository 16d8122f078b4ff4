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

# Nine digits tell a float32 from any other. Numbers from here on are of 64 bits, and have fifteen.
LARGE_NUMBER = 1e6


class Predictions(Callback):
    """Writes `predictions.csv` of a test into the run folder: a line for each row in the order of
    the data, with where it stands in its file, its input, target, prediction and loss. Lists are
    written as JSON, and numbers with nine digits, so that a float32 is read as it was, and large
    ones, which are of 64 bits, with fifteen. And `scores.csv`, where a task has parts to score:
    each class or column.

    Args:
        folder: where to write them, or to warn that nothing can be written; None: the run folder,
            which needs them, so that a failure is an error.

    Attributes:
        written: whether the predictions were written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.written = False

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.told = {}

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, *_: Any) -> None:
        if not outputs or "rows" not in outputs:  # The task has a test step of its own.
            return
        numbers = batch.rows
        if numbers is None:
            # Rows have the order of their batches, of which each process takes every n-th row.
            processes = trainer.world_size
            first = trainer.global_rank + processes * len(task.told)
            numbers = range(first, first + processes * len(batch), processes)
        dataset: Any = getattr(trainer.test_dataloaders, "dataset", None)
        name: Any = getattr(dataset, "row_name", lambda row: {})
        target_as_read = getattr(dataset, "targets_as_read", None)
        for row, outcome in zip(map(int, numbers), outputs["rows"], strict=True):
            if target_as_read:  # Standardised float32 loses some of its digits.
                outcome = {**outcome, "target": target_as_read(row)}
            task.told[row] = {"row": 1 + row, **flattened({**name(row), **outcome})}

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        outcomes = dict[int, Mapping[str, Any]]()
        for outcomes_of_process in from_every_process(pl_module.told):
            outcomes |= outcomes_of_process
        sums = pl_module.sums["test"].of_all(pl_module.device)
        scores = pl_module.score_parts(sums)
        if not trainer.is_global_zero:
            return
        folder = self.folder or Path(trainer.default_root_dir)
        try:
            _write(folder, "predictions.csv", [outcomes[row] for row in sorted(outcomes)])
            _write(folder, "scores.csv", scores)
            self.written = True
        except (OSError, UserError) as error:
            if self.folder is None:
                raise
            log.warning("the predictions are not written: %s", one_line(error))

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.told = None


class Pictures(Callback):
    """Saves what the task's `pictures` draws of the test split in `figures/` of the run folder."""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        sums = pl_module.sums["test"].of_all(pl_module.device)  # Every process takes part.
        if not trainer.is_global_zero:
            return
        dataset: Any = getattr(trainer.test_dataloaders, "dataset", None)
        folder = Path(trainer.default_root_dir, "figures")
        write_pictures(folder, pl_module.pictures(dataset, sums))


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table with the columns of all its rows; none, if it has no columns."""
    columns = dict.fromkeys(column for row in rows for column in row)
    if not columns:
        return
    cells = ({column: _cell(value) for column, value in row.items()} for row in rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / name, columns, cells)


def _cell(value: Any) -> Any:
    """A value of a table: lists as JSON, numbers with as many digits as they have."""
    value = _rounded(value)
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return value


def _rounded(value: Any) -> Any:
    """Rounds floats, also those in lists; nan is None."""
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return None
    digits = 9 if abs(value) < LARGE_NUMBER else 15
    return float(f"{value:.{digits}g}")
