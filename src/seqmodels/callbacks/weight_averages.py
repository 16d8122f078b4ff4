"""An average of the weights over the training: it is validated, saved and tested."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seqmodels.arguments import PositiveFraction


class EMA(WeightAveraging):
    """An exponential moving average of the weights, after every step.

    It is shorter at first, so that it does not hold the weights that the training began with.

    Args:
        decay: the share that the average keeps at each step: 0.998 is about the last 500 steps.
    """

    def __init__(self, decay: PositiveFraction = 0.998) -> None:
        super().__init__(use_buffers=False)  # they are constants, such as the weights of classes
        self.decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # where the weights will be, after this hook
        super().setup(trainer, pl_module, stage)
        if (average := self._average_model) is not None:
            trainer.precision_plugin.convert_module(average)  # as it will convert the weights
            average.n_averaged = average.n_averaged.cpu()  # it is read at every step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step  # of the last update

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """PyTorch's own update would copy the count to the device at every step, and wait."""
        average: Any = self._average_model
        if trainer.global_step == self._step:  # the gradients accumulate
            return
        self._step = trainer.global_step
        count = int(average.n_averaged)
        kept = min(self.decay, (1 + count) / (10 + count)) if count else 0.0
        pairs = [*average.module.parameters()], [*pl_module.parameters()]
        get_ema_multi_avg_fn(kept)(*pairs, average.n_averaged)
        for own, other in zip(average.module.buffers(), pl_module.buffers(), strict=True):
            own.copy_(other)
        average.n_averaged += 1

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # else a validation after the training would exchange the best weights for the average
        self._average_model = None
