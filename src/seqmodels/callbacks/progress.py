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

# Without a terminal, no more seconds pass without a line.
MOST_SECONDS_WITHOUT_LINE = 60.0


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
        self.seconds = seconds
        self._in_lines = False  # whether it prints lines instead of a bar
        self._loss = dict[str, float]()  # the metric that the bar shows besides Lightning's
        self._updated_at = 0.0
        self._printed_at = time.monotonic()

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
            self._began_at = time.monotonic()
            self._share_at_start = self._share_done(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *batch: Any
    ) -> None:
        if self._is_due():
            line = f"{_place(trainer)}{self._rest(trainer)}: loss {float(outputs['loss']):.4f}"
            self._print(line)
        was_just_updated = time.monotonic() - self._updated_at < self.seconds
        if self.is_disabled or (was_just_updated and not trainer.is_last_batch):
            return
        self._loss = {"loss": float(outputs["loss"])}
        super().on_train_batch_end(trainer, pl_module, outputs, *batch)
        if self.progress:
            # Without a limit of epochs, Lightning shows `Epoch 0/-2`.
            for bar in self.progress.tasks:
                description = bar.description.replace("/-2", "  ")
                self.progress.update(bar.id, description=description)
        self._updated_at = time.monotonic()

    def _rest(self, trainer: pl.Trainer) -> str:
        """How many steps there are, and how many minutes are left: empty where nobody knows."""
        rest = ""
        if self._budget.steps:
            rest += f" of {self._budget.steps:,}"
        share_done = self._share_done(trainer)
        if share_done > self._share_at_start:
            seconds = time.monotonic() - self._began_at
            seconds_for_all = seconds / (share_done - self._share_at_start)
            minutes_left = round((1 - share_done) * seconds_for_all / 60)
            rest += f", at most {max(1, minutes_left)} min left"
        return rest

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self._in_lines and trainer.state.fn == "fit" and not trainer.sanity_checking:
            metrics = trainer.progress_bar_metrics.items()
            numbers = [f"{name} {show_with_unit(name, value)}" for name, value in metrics]
            self._print(f"{_place(trainer)}: {', '.join(numbers)}")

    def on_validation_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        super().on_validation_batch_end(trainer, *arguments)
        self._print_batch("validation", trainer.num_val_batches, arguments)

    def on_test_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        super().on_test_batch_end(trainer, *arguments)
        self._print_batch("test", trainer.num_test_batches, arguments)

    def _print_batch(
        self, split: str, counts: Sequence[int | float], arguments: Sequence[Any]
    ) -> None:
        """Says which batch this is, if a line is due.

        Args:
            counts: the number of batches of each loader.
            arguments: those of Lightning's hook behind the trainer.
        """
        if self._is_due():
            number = 1 + arguments[3]
            self._print(f"{split}: batch {number:,} of {sum(counts):,}")

    def _is_due(self) -> bool:
        return self._in_lines and time.monotonic() - self._printed_at >= MOST_SECONDS_WITHOUT_LINE

    def _print(self, line: str) -> None:
        Screen().print(line, soft_wrap=True)
        self._printed_at = time.monotonic()

    def _share_done(self, trainer: pl.Trainer) -> float:
        """How much of the training is done, from 0 to 1."""
        return self._budget.progress(trainer.global_step, seconds_used(trainer))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = {**self._loss, **trainer.progress_bar_metrics}
        return {name.rpartition("/")[2]: f"{value:.3f}" for name, value in metrics.items()}

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        # Lightning's two times and longer bar leave too little room for metrics on 80 columns.
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
        interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
        step = trainer.global_step
        if not interval or step % interval != 0:
            return
        if step == self._logged_at:  # Gradients accumulate: there was no step since.
            return
        self._logged_at = step
        sums = pl_module.sums
        recent_sums = sums["train"].since(sums[LOGGED])
        sums[LOGGED] = Sums(sums["train"].totals)

        values_by_name = pl_module.measured(recent_sums, trainer.train_dataloader)
        values = torch.stack([value.float() for value in values_by_name.values()]).tolist()
        metrics: dict[str, float] = {"epoch": trainer.current_epoch}
        for name, value in zip(values_by_name, values, strict=True):
            metrics[f"train/{name}_step"] = value
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step - 1)  # Lightning counts from 0.
