"""Metrics of the training by step, without waiting for the device at each of them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels.engine.contract import Sums
from seqmodels.engine.task import LOGGED


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
