"""A learning rate in proportion to the length of the window."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from seqmodels.batch import SequenceBatch


class WindowLearningRate(Callback):
    """Scales the learning rate of a step by the window's length over the usual one, so that short
    windows do not count for more (AWD-LSTM, https://arxiv.org/abs/1708.02182)."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._usual = pl_module.hparams["data"]["window"]
        self._scale = 1.0
        # around the step itself: what a scheduler reads and sets is the unscaled rate
        self._handles = [
            handle
            for optimizer in trainer.optimizers
            for handle in (
                optimizer.register_step_pre_hook(self._scaled),
                optimizer.register_step_post_hook(self._restored),
            )
        ]

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: SequenceBatch,
        batch_idx: int,
    ) -> None:
        self._scale = batch.inputs.shape[1] / self._usual

    def on_train_end(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _scaled(self, optimizer: Optimizer, *_: Any) -> None:
        self._rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * self._scale

    def _restored(self, optimizer: Optimizer, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate
