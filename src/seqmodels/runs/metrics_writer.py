"""Write `metrics.csv`: metrics by step and by epoch, kept when a run is resumed."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.files import write_text
from seqmodels.loggers.base import RunLogger
from seqmodels.runs.metrics_file import read_rows

SECONDS = 10.0  # between two writings of the whole file, where only steps are logged


class MetricsFile(RunLogger):
    """Writes what is logged to `folder/metrics.csv`, one row per step at which something is. Epochs
    count from 0, as everywhere in Lightning: on the progress bar, in figures, in every logger.

    Steps count from 0 too: the first epoch of 14 steps ends at step 13. Lightning's own CSVLogger
    deletes an existing file. This one continues it: a resumed training forgets what was logged
    after its checkpoint.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.path = self.folder / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}
        self._trainer: pl.Trainer | None = None
        self._first_step: int | None = None  # of a training that has logged nothing yet
        self._saved_at = 0.0
        self._changed = self._finished = False
        for row in read_rows(self.path):  # as they are, so that a resume changes no digit of them
            self.rows[int(row["step"])] = row

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def log_dir(self) -> str:
        return str(self.folder)

    def starts(self, trainer: pl.Trainer) -> None:
        self._trainer, self._first_step = trainer, trainer.global_step

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self._finished:  # tests after the training are in result.json
            return
        if self._first_step is not None:
            self.rows = {at: row for at, row in self.rows.items() if at < self._first_step}
            self._first_step = None
        step = int(step or 0)
        row = self.rows.setdefault(step, {"epoch": None, "step": step})
        row.update(metrics)
        if row.get("epoch") is None and self._trainer is not None:  # not every callback gives it
            row["epoch"] = self._trainer.current_epoch
        self._changed = True
        if time.monotonic() - self._saved_at > SECONDS:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        if not self._changed:
            return
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        file = io.StringIO()
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(self.rows[step] for step in sorted(self.rows))
        write_text(self.path, file.getvalue())
        self._changed, self._saved_at = False, time.monotonic()

    def finalize(self, status: str = "success") -> None:
        self.save()
        self._finished = True
