"""Write the scores of each part of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.engine.contract import gather
from seqmodels.files import write_table


class Scores(Callback):
    """Writes `scores.csv` of the test split into the run folder, where a task has parts to score:
    each class, or each column, series and step ahead."""

    name = "scores.csv"

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        values = gather(pl_module.steps["test"], pl_module.contract.per)
        rows = pl_module.score_parts(values) if values else []
        if rows and trainer.is_global_zero:
            columns = dict.fromkeys(name for row in rows for name in row)
            write_table(Path(trainer.default_root_dir) / self.name, columns, rows)
