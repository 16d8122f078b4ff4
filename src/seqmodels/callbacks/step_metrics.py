"""Metrics of the training by step, without waiting for the device at each of them."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seqmodels.engine import Task
from seqmodels.engine.contract import Step, gather, join
from seqmodels.engine.resume import from_every_process
from seqmodels.loggers import RunLogger


class StepMetrics(Callback):
    """Logs the task's training metrics of the last `trainer.log_every_n_steps` steps, as
    `train/loss_step` and so on: means over all their targets, in all processes.

    Until then, losses and predictions stay on the device; then their metrics come to the CPU in one
    transfer. What is not logged yet is saved in the checkpoint, so a resumed run logs the same.
    """

    def __init__(self) -> None:
        self._steps: list[Step] = []  # since the last log
        self._earlier: list[dict[str, Tensor]] = []  # those before a resume, by process
        self._logged_at = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._logged_at = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.starts(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        every, step = trainer.log_every_n_steps, trainer.global_step  # type: ignore[attr-defined]
        if not every:
            return
        task = cast(Task, pl_module)
        self._steps.append(task.steps["train"][-1])
        if self._earlier and not task.restored:
            self._so_far(task)  # steps of a checkpoint that these do not fit are an error now
        if step % every or step == self._logged_at:  # a batch whose gradients are accumulated
            return
        self._logged_at = step
        measured = task.measure_steps(self._so_far(task))
        self._steps, self._earlier = [], []
        values = torch.stack([value.float() for value in measured.values()]).tolist()
        metrics = {"epoch": trainer.current_epoch, **dict(zip(measured, values, strict=True))}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step - 1)  # counted from 0, as Lightning does

    def _so_far(self, task: Task) -> dict[str, Tensor]:
        earlier = self._earlier[task.global_rank] if self._earlier else {}
        return join(earlier, gather(self._steps, task.contract.per))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        values = self._so_far(cast(Task, pl_module))
        here = {name: value.cpu() for name, value in values.items()}
        checkpoint["step_metrics"] = from_every_process(here)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._earlier = checkpoint.get("step_metrics", [])  # absent if the callback is new
