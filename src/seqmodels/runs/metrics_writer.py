"""Write `metrics.csv`: metrics by step and by epoch, kept when a run is resumed."""

from __future__ import annotations

import csv
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.errors import UserError
from seqmodels.loggers import RunLogger
from seqmodels.runs.metrics_file import read_names, read_rows

SECONDS = 10.0  # between two writings, where only steps are logged

Row = Mapping[str, Any]


class MetricsFile(RunLogger):
    """Writes what is logged to `folder/metrics.csv`, one row per logged step. Epochs count from 0,
    as everywhere in Lightning: on the progress bar, in figures, in every logger.

    Steps count from 0 too: the first epoch of 14 steps ends at step 13. Lightning's own CSVLogger
    deletes an existing file. This one continues it: a resumed training forgets what was logged
    after its checkpoint.

    Rows are appended. Only the newest is replaced, as long as more is logged at its step. A new
    column, or a row that comes late, has the whole file copied, row by row: no more than what is
    not written yet is in memory.
    """

    name = version = ""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.path = self.folder / "metrics.csv"
        self._trainer: pl.Trainer | None = None
        self._names: list[str] = []  # of all columns
        self._names_in_file: list[str] = []
        self._rows: dict[int, dict[str, Any]] = {}  # the newest, and those that are not written yet
        self._end = 0  # of the file without the newest row
        self._last = -1  # step before that
        self._first_step: int | float | None = math.inf  # of a training that has logged nothing yet
        self._saved_at = 0.0
        self._changed = self._finished = False
        for _ in read_rows(self.path):  # so that a broken file is an error now
            pass

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
            self._continue(self._first_step)
            self._first_step = None
        step = int(step or 0)
        row = self._rows.setdefault(step, {"epoch": None, "step": step})
        row.update(metrics)
        self._names += [name for name in row if name not in self._names]
        if row.get("epoch") is None and self._trainer is not None:  # not every callback gives it
            row["epoch"] = self._trainer.current_epoch
        self._changed = True
        if time.monotonic() - self._saved_at > SECONDS:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        if not self._changed:
            return
        rows = [self._rows[step] for step in sorted(self._rows)]
        if self._names != self._names_in_file or min(self._rows) <= self._last:
            self._copy(merge(read_rows(self.path), rows, key=_step))
        else:
            with self._replacing(self._end) as file:
                self._write(file, rows)
        self._changed, self._saved_at = False, time.monotonic()

    def _continue(self, first_step: int | float) -> None:
        """Keeps the rows before this step, as they are, so that a resume changes no digit."""

        def kept() -> Iterator[Row]:
            return (row for row in read_rows(self.path) if _step(row) < first_step)

        used = {name for row in kept() for name in row}
        self._names = [name for name in read_names(self.path) if name in used]
        if self._names:
            self._copy(kept())
        else:
            self.path.unlink(missing_ok=True)

    def _copy(self, rows: Iterable[Row]) -> None:
        with self._replacing(0) as file:
            csv.writer(file).writerow(self._names)
            self._last, self._names_in_file = -1, [*self._names]
            self._write(file, rows)

    @contextmanager
    def _replacing(self, end: int) -> Iterator[TextIO]:
        """A file with the first `end` bytes of this one, which takes its place once it is written:
        a kill must not take the newest row, which no training writes again after its checkpoint."""
        partial = self.path.with_name(f".{self.path.name}")
        try:
            partial.unlink(missing_ok=True)  # of a process that was killed
            if end:
                shutil.copyfile(self.path, partial)
                os.truncate(partial, end)
            with partial.open("a" if end else "x", newline="") as file:
                yield file
            partial.replace(self.path)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from error

    def _write(self, file: TextIO, rows: Iterable[Row]) -> None:
        """Writes rows in the order of their steps; of several for a step, the last value counts."""
        writer, before, last, start = csv.DictWriter(file, self._names), -1, self._last, file.tell()
        values: dict[str, Any] = {}
        for step, parts in groupby(rows, _step):
            before, last, values = last, step, {}
            if step in self._rows:  # where the newest row starts, as only those in memory can be
                start = file.tell()
            for part in parts:
                values |= {**part, "epoch": values.get("epoch") or part["epoch"]}
            writer.writerow(values)
        if last in self._rows:
            self._rows, self._end, self._last = {last: values}, start, before
        else:
            self._rows, self._end, self._last = {}, file.tell(), last

    def finalize(self, status: str = "success") -> None:
        self.save()
        self._finished = True


def _step(row: Row) -> int:
    return int(row["step"])
