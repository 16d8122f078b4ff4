"""A progress bar without device synchronisation."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar

from seqmodels.signatures.ranges import NonNegative


class LiveProgressBar(RichProgressBar):
    """Lightning's Rich bar, plus the loss, updated a few times per second.

    Lightning's own bar reads every metric at every step, and each read waits for the device.

    Args:
        seconds: the shortest time between two updates.
    """

    def __init__(self, seconds: NonNegative = 0.2) -> None:
        super().__init__(refresh_rate=10)
        self.seconds = seconds
        self._updated_at = 0.0
        self._loss: float | None = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if time.monotonic() - self._updated_at < self.seconds and not trainer.is_last_batch:
            return
        self._loss = float(outputs["loss"])
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._updated_at = time.monotonic()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics if self._loss is None else {"loss": self._loss, **metrics}
