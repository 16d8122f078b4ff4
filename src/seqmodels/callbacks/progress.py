"""What a training shows while it runs, without waiting for the device at each step: a progress bar,
or lines where there is no terminal; and its metrics by step, in the loggers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import rich
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.progress import ProgressColumn, TimeRemainingColumn

from seqmodels.arguments import NonNegative
from seqmodels.engine.contract import Sums
from seqmodels.engine.optimization import find_budget, seconds_used
from seqmodels.engine.task import LOGGED
from seqmodels.metrics import show_with_unit
from seqmodels.screen import Screen

MINUTE = 60.0  # without a line, at most


class LiveProgressBar(RichProgressBar):
    """Lightning's Rich bar, plus the loss, updated a few times per second: Lightning's own reads
    every metric at every step, and each read waits for the device.

    Without a terminal, such as in a log file, it prints a line after each validation instead,
    `epoch 3, step 1,200: validation/loss 0.4123`, and one where a minute has none:
    `epoch 3, step 1,200 of 20,000, at most 14 min left: loss 0.4123`.

    Args:
        seconds: the shortest time between two updates.
    """

    def __init__(self, seconds: NonNegative = 0.2) -> None:
        super().__init__(refresh_rate=10)
        self.seconds, self._in_lines = seconds, False
        self._loss, self._updated_at, self._printed_at = dict[str, float](), 0.0, time.monotonic()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        console = rich.get_console()
        if self.is_enabled and not (console.is_terminal or console.is_jupyter):
            self._in_lines = True
            self.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._in_lines:
            self._budget = find_budget(trainer, getattr(trainer, "datamodule", None))
            self._began_at, self._done_before = time.monotonic(), self._done(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *given: Any
    ) -> None:
        if self._is_due():
            steps, done = self._budget.steps, self._done(trainer)
            whole = f" of {steps:,}" if steps else ""
            if done > self._done_before:
                each = (time.monotonic() - self._began_at) / (done - self._done_before)
                whole += f", at most {max(1, round((1 - done) * each / 60))} min left"
            self._print(f"{_place(trainer)}{whole}: loss {float(outputs['loss']):.4f}")
        waits = time.monotonic() - self._updated_at < self.seconds and not trainer.is_last_batch
        if self.is_disabled or waits:
            return
        self._loss = {"loss": float(outputs["loss"])}
        super().on_train_batch_end(trainer, pl_module, outputs, *given)
        if self.progress:  # without a limit of epochs, Lightning shows `Epoch 0/-2`
            for bar in self.progress.tasks:
                self.progress.update(bar.id, description=bar.description.replace("/-2", "  "))
        self._updated_at = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self._in_lines and trainer.state.fn == "fit" and not trainer.sanity_checking:
            metrics = trainer.progress_bar_metrics.items()
            numbers = ", ".join(f"{name} {show_with_unit(name, value)}" for name, value in metrics)
            self._print(f"{_place(trainer)}: {numbers}")

    def on_validation_batch_end(self, trainer: pl.Trainer, *given: Any) -> None:
        super().on_validation_batch_end(trainer, *given)
        self._print_batch("validation", trainer.num_val_batches, given)

    def on_test_batch_end(self, trainer: pl.Trainer, *given: Any) -> None:
        super().on_test_batch_end(trainer, *given)
        self._print_batch("test", trainer.num_test_batches, given)

    def _print_batch(self, split: str, counts: Sequence[int | float], given: Sequence[Any]) -> None:
        if self._is_due():
            self._print(f"{split}: batch {1 + given[3]:,} of {sum(counts):,}")

    def _is_due(self) -> bool:
        return self._in_lines and time.monotonic() - self._printed_at >= MINUTE

    def _print(self, line: str) -> None:
        Screen().print(line, soft_wrap=True)
        self._printed_at = time.monotonic()

    def _done(self, trainer: pl.Trainer) -> float:
        return self._budget.progress(trainer.global_step, seconds_used(trainer))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = {**self._loss, **trainer.progress_bar_metrics}
        return {name.rpartition("/")[2]: f"{value:.3f}" for name, value in metrics.items()}

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        # Lightning's two times and longer bar leave too little room for metrics on 80 columns
        description, bar, batches, _, speed = super().configure_columns(trainer)
        bar.bar_width = 10
        return [description, bar, batches, TimeRemainingColumn(compact=True), speed]


def _place(trainer: pl.Trainer) -> str:
    return f"epoch {trainer.current_epoch}, step {trainer.global_step:,}"


class StepMetrics(Callback):
    """Logs the task's training metrics of the last `trainer.log_every_n_steps` steps, as
    `train/loss_step` and so on: over all their targets, in all processes.

    Until then nothing comes to the CPU; then it is one transfer. A resumed run logs the same,
    because the task saves its sums.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._logged_at = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        every, step = trainer.log_every_n_steps, trainer.global_step  # type: ignore[attr-defined]
        if not every or step % every or step == self._logged_at:  # the last: gradients accumulate
            return
        sums, self._logged_at = pl_module.sums, step
        recent = sums["train"].since(sums[LOGGED])
        sums[LOGGED] = Sums(sums["train"].totals)
        measured = pl_module.measured(recent, trainer.train_dataloader)
        values = torch.stack([value.float() for value in measured.values()]).tolist()
        names = (f"train/{name}_step" for name in measured)
        metrics = {"epoch": trainer.current_epoch, **dict(zip(names, values, strict=True))}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step - 1)  # counted from 0, as Lightning does
