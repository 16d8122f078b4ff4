"""A progress bar, or lines where there is no terminal; no device synchronisation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import rich
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import ProgressColumn, TimeRemainingColumn

from seqmodels.arguments import NonNegative
from seqmodels.engine.budget import find_budget, seconds_left
from seqmodels.screen import Screen, duration

SECONDS = 20.0  # from one line to the next, without a terminal


class LiveProgressBar(RichProgressBar):
    """Lightning's Rich bar, plus the loss, updated a few times per second: Lightning's own reads
    every metric at every step, and each read waits for the device.

    Without a terminal, such as in a log file, it prints a line every 20 seconds
    instead: `epoch 3, step 1,200 of 20,000, 410 steps/s, about 12 min left`; `at most 12 min left`
    where early stopping may end the training before.

    Args:
        seconds: the shortest time between two updates.
    """

    def __init__(self, seconds: NonNegative = 0.2) -> None:
        super().__init__(refresh_rate=10)
        self.seconds, self._in_lines = seconds, False
        self._loss, self._updated_at = dict[str, float](), 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        console = rich.get_console()
        if self.is_enabled and not (console.is_terminal or console.is_jupyter):
            self._in_lines, self._said_at = True, time.monotonic()
            self.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._began, self._first = time.monotonic(), trainer.global_step
        if self._in_lines:
            self._budget = find_budget(trainer, trainer.datamodule)  # type: ignore[attr-defined]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *given: Any
    ) -> None:
        self._say(lambda: self._steps(trainer))
        waits = time.monotonic() - self._updated_at < self.seconds and not trainer.is_last_batch
        if self.is_disabled or waits:
            return
        self._loss = {"loss": float(outputs["loss"])}
        super().on_train_batch_end(trainer, pl_module, outputs, *given)
        self._updated_at = time.monotonic()

    # the others of what these two are given: module, outputs, batch, batch_idx

    def on_validation_batch_end(self, trainer: pl.Trainer, *others: Any) -> None:
        super().on_validation_batch_end(trainer, *others)
        count = sum(trainer.num_val_batches)
        self._say(lambda: f"validation, batch {others[3] + 1:,} of {count:,}")

    def on_test_batch_end(self, trainer: pl.Trainer, *others: Any) -> None:
        super().on_test_batch_end(trainer, *others)
        count = sum(trainer.num_test_batches)
        self._say(lambda: f"test, batch {others[3] + 1:,} of {count:,}")

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = {**self._loss, **trainer.progress_bar_metrics}
        return {name.rpartition("/")[2]: f"{value:.3f}" for name, value in metrics.items()}

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        # Lightning's two times and longer bar leave too little room for metrics on 80 columns
        description, bar, batches, _, speed = super().configure_columns(trainer)
        bar.bar_width = 10
        return [description, bar, batches, TimeRemainingColumn(compact=True), speed]

    def _get_train_description(self, current_epoch: int) -> str:
        # without a limit of epochs, Lightning shows `Epoch 0/-2`
        return super()._get_train_description(current_epoch).replace("/-2", "  ")

    def _say(self, line: Callable[[], str]) -> None:
        if self._in_lines and time.monotonic() - self._said_at >= SECONDS:
            self._said_at = time.monotonic()
            Screen().print(line(), soft_wrap=True)

    def _steps(self, trainer: pl.Trainer) -> str:
        done, left = trainer.global_step, seconds_left(trainer)
        speed = (done - self._first) / (time.monotonic() - self._began)  # validations included
        ends, total = [] if left is None else [left], ""
        if self._budget.steps is not None:
            total = f" of {self._budget.steps:,}"
            ends += [(self._budget.steps - done) / speed] if speed else []
        about = "at most" if trainer.early_stopping_callbacks else "about"
        end = f", {about} {duration(min(ends))} left" if ends else ""
        rate = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
        return f"epoch {trainer.current_epoch}, step {done:,}{total}, {rate} steps/s{end}"
