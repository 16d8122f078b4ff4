"""`metrics.csv`: metrics by step and by epoch, kept when a run is resumed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.files import write_table
from seqmodels.runs.folder import rows_of

SECONDS = 10.0  # between two writings, where only steps are logged


class MetricsFile(Logger, Callback):
    """Writes what is logged to `folder/metrics.csv`, one row per logged step. Epochs and steps
    count from 0, as everywhere in Lightning: the first epoch of 14 steps ends at step 13.

    Lightning's own CSVLogger deletes an existing file. This one continues it: a resumed training
    forgets what was logged after its checkpoint, and keeps the rest to the digit. To know where a
    training starts, it is a callback, too: give it to a trainer as both.
    """

    name = version = ""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder, "metrics.csv")
        self._names, rows = rows_of(self.path)
        self._rows = {int(row["step"]): row for row in rows}
        self._trainer: pl.Trainer | None = None
        self._saved_at = 0.0
        self._changed = self._finished = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trainer = trainer
        self._rows = {step: row for step, row in self._rows.items() if step < trainer.global_step}
        used = {name for row in self._rows.values() for name in row}
        self._names = [name for name in self._names if name in used]

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self._finished:  # tests after the training are in result.json
            return
        self._add(metrics, int(step or 0))
        if time.monotonic() - self._saved_at > SECONDS:
            self.save()

    def _add(self, metrics: Mapping[str, Any], step: int) -> None:
        if not metrics:
            return
        epoch = self._trainer.current_epoch if self._trainer else 0  # not every callback gives it
        row = self._rows.setdefault(step, {"epoch": str(epoch), "step": str(step)})
        row |= {name: str(value) for name, value in metrics.items()}
        self._names += [name for name in row if name not in self._names]
        self._changed = True

    @rank_zero_only
    def save(self) -> None:
        trainer = self._trainer
        if trainer and trainer.training and trainer._logger_connector._first_loop_iter is None:
            # Lightning logs an epoch's metrics after the checkpoint of its end: a run that is
            # killed between them would lack these
            ended = convert_tensors_to_scalars(trainer._logger_connector.metrics["log"])
            self._add(ended, trainer.global_step - 1)
        if not self._changed:  # a resume that is refused leaves the file as it was
            return
        write_table(self.path, self._names, (self._rows[step] for step in sorted(self._rows)))
        self._changed, self._saved_at = False, time.monotonic()

    def finalize(self, status: str = "success") -> None:
        self.save()
        self._finished = True
