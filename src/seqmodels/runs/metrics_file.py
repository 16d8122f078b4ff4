"""`metrics.csv`: metrics by step and by epoch, kept when a run is resumed."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.errors import UserError
from seqmodels.files import write_table
from seqmodels.runs.folder import rows_of

SECONDS = 10.0  # between two writings, where only steps are logged


class MetricsFile(Logger, Callback):
    """Writes what is logged to `folder/metrics.csv`, one row per logged step. Epochs and steps
    count from 0, as everywhere in Lightning: the first epoch of 14 steps ends at step 13.

    Lightning's own CSVLogger deletes an existing file. This one continues it: a resumed training
    forgets what was logged after its checkpoint, and keeps the rest to the digit. To know where a
    training starts, it is a callback, too: give it to a trainer as both.

    A row is added to the end of the file, so that a kill loses no other. The file is written whole
    where it begins or resumes, and for a new column or an earlier row.
    """

    name = version = ""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder, "metrics.csv")
        self._names, rows = rows_of(self.path)
        self._rows = {int(row["step"]): row for row in rows}
        self._trainer: pl.Trainer | None = None
        self._saved_at = 0.0
        self._changed_steps = set[int]()  # since it was saved
        self._finished = False
        # The step of the last row in the file; None where the file must be written whole.
        self._last_step: int | None = None
        self._size = 0  # of the file, in bytes
        self._last_line = b""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trainer = trainer
        self._rows = {step: row for step, row in self._rows.items() if step < trainer.global_step}
        used = {name for row in self._rows.values() for name in row}
        self._names = [name for name in self._names if name in used]
        self._last_step = None

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
        row_before = self._rows.get(step, {"epoch": str(epoch), "step": str(step)})
        row = row_before | {name: str(value) for name, value in metrics.items()}
        # Lightning logs an epoch again after `save` has: its line stays, and no kill loses it.
        if self._rows.get(step) == row:
            return
        self._rows[step] = row
        self._changed_steps.add(step)
        new_names = [name for name in row if name not in self._names]
        if new_names:
            self._names += new_names
            self._last_step = None

    @rank_zero_only
    def save(self) -> None:
        trainer = self._trainer
        if trainer and trainer.training and trainer._logger_connector._first_loop_iter is None:
            # Lightning logs an epoch's metrics after the checkpoint of its end: a run that is
            # killed between them would lack these
            ended = convert_tensors_to_scalars(trainer._logger_connector.metrics["log"])
            self._add(ended, trainer.global_step - 1)
        if not self._changed_steps:  # a resume that is refused leaves the file as it was
            return
        steps = sorted(self._changed_steps)
        size_now = self.path.stat().st_size if self.path.is_file() else None
        can_add = self._last_step is not None and steps[0] >= self._last_step
        if can_add and size_now == self._size:
            self._add_lines(steps)
            self._last_step = steps[-1]
        else:
            write_table(self.path, self._names, (self._rows[step] for step in sorted(self._rows)))
            self._last_step = max(self._rows)
        self._last_line = self._line(self._last_step)
        self._size = self.path.stat().st_size
        self._changed_steps.clear()
        self._saved_at = time.monotonic()

    def _add_lines(self, steps: list[int]) -> None:
        """Adds the rows of these steps to the end of the file. The first may replace the last
        one."""
        end = self._size
        if steps[0] == self._last_step:
            end -= len(self._last_line)
        lines = [self._line(step) for step in steps]
        try:
            with self.path.open("r+b") as file:
                # What is cut off first cannot be mixed with what replaces it.
                file.truncate(end)
                file.seek(end)
                file.write(b"".join(lines))
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from error

    def _line(self, step: int) -> bytes:
        """A row of the file."""
        text = io.StringIO(newline="")
        csv.DictWriter(text, self._names, lineterminator="\n").writerow(self._rows[step])
        return text.getvalue().encode()

    def finalize(self, status: str = "success") -> None:
        self.save()
        self._finished = True
