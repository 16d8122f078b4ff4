"""Write what a test predicted for each row, and the scores of its parts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.engine.resume import from_every_process
from seqmodels.files import write_table
from seqmodels.plain_values import flattened


class Predictions(Callback):
    """Writes `predictions.csv` of the test split into the run folder: a line for each row in the
    order of the data, with its input, target, prediction and loss. Lists are written as JSON, and
    numbers with nine digits, so that a float32 is read as it was. And `scores.csv`, where a task
    has parts to score: each class or column.

    Args:
        split: that is tested; of another than `test`, the files are named after it.
    """

    def __init__(self, split: str = "test") -> None:
        self.files = file_of("predictions.csv", split), file_of("scores.csv", split)

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.told = {}

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if not outputs or "rows" not in outputs:  # of a task with a test step of its own
            return
        numbers, count, told = batch.rows, trainer.world_size, pl_module.told
        if numbers is None:  # in the order of their batches, which processes share
            first = trainer.global_rank + count * len(told)
            numbers = range(first, first + count * len(batch), count)
        dataset: Any = getattr(trainer.test_dataloaders, "dataset", None)
        name: Any = getattr(dataset, "row_name", lambda row: {})
        for row, outcome in zip(map(int, numbers), outputs["rows"], strict=True):
            told[row] = {"row": row, **flattened({**name(row), **outcome})}

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        rows: dict[int, Mapping[str, Any]] = {}
        for some in from_every_process(pl_module.told):
            rows |= some
        parts = pl_module.score_parts(pl_module.sums["test"].of_all(pl_module.device))
        if trainer.is_global_zero:
            for name, table in zip(
                self.files, ([rows[row] for row in sorted(rows)], parts), strict=True
            ):
                _write(Path(trainer.default_root_dir) / name, table)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.told = None


def file_of(name: str, split: str) -> str:
    """`scores.csv` of the test split, `scores_validation.csv` of another."""
    stem, _, suffix = name.rpartition(".")
    return name if split == "test" else f"{stem}_{split}.{suffix}"


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if columns := dict.fromkeys(name for row in rows for name in row):
        write_table(file, columns, ({k: _cell(_plain(v)) for k, v in row.items()} for row in rows))


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.9g}")
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value
