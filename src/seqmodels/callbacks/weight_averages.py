"""Averages of the weights over the training: they are validated, saved and tested."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seqmodels.arguments import PositiveFraction, checked


class _Average(WeightAveraging):
    """Lightning's `WeightAveraging`, that

    - validates and saves the weights as they are until the average has begun, and not the initial
      ones in its place;
    - leaves the weights of the best checkpoint alone when they are validated after the training;
    - does not wait for the device at every step;
    - keeps the average where the weights are: Lightning makes it before they are moved to a GPU.
    """

    def __init__(self, average: Any) -> None:
        # buffers are constants here, such as the weights of classes
        super().__init__(use_buffers=False, multi_avg_fn=average)

    @property
    def has_begun(self) -> bool:
        return self._average_model is not None and bool(self._average_model.n_averaged > 0)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:  # read at every step
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and self.has_begun:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and self.has_begun:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.has_begun:
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if not self.has_begun:
            checkpoint["state_dict"] = checkpoint["current_model_state"]


class EMA(_Average):
    """An exponential moving average of the weights, after every step.

    It is shorter at first, so that it does not hold the weights that the training began with.

    Args:
        decay: the share that the average keeps at each step: 0.998 is about the last 500 steps.
    """

    @checked("callbacks.ema")
    def __init__(self, decay: PositiveFraction = 0.998) -> None:
        self.decay = decay
        super().__init__(self._average)

    def _average(self, averages: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
        decay = min(self.decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(decay)(averages, weights, count)
