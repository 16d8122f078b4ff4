"""Measures examples or tokens per second in each training epoch."""

from __future__ import annotations

import time
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.engine import Task


class Throughput(Callback):
    """Logs `train/tokens_per_second` (or `examples_per_second`) of each epoch, over all processes,
    without the time that validation takes."""

    def __init__(self) -> None:
        self._since = self._seconds = 0.0
        self._seen_before = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start(pl_module)  # an epoch that is resumed in the middle does not start again

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start(pl_module)

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since = now

    def on_validation_end(self, *_: Any) -> None:
        self._since = time.perf_counter()  # validation may take place inside an epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = cast(Task, pl_module)
        if not self._seconds:  # resumed at the end of the epoch
            return
        seen = (task.seen - self._seen_before) * trainer.world_size
        task.log(f"train/{task.contract.kind.unit}_per_second", seen / self._seconds)

    def _start(self, pl_module: pl.LightningModule) -> None:
        self._since, self._seconds = time.perf_counter(), 0.0
        self._seen_before = cast(Task, pl_module).seen
