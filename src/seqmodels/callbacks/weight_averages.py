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
        # Buffers are constants, such as the weights of classes.
        super().__init__(use_buffers=False)
        self.decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # The weights are not there yet, but will be after this hook, in this precision.
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        average = self._average_model
        if average is not None:
            trainer.precision_plugin.convert_module(average)
            average.n_averaged = average.n_averaged.cpu()  # It is read at every step.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step  # the step of the last update

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """PyTorch's own update would copy the count to the device at every step, and wait."""
        average: Any = self._average_model
        if trainer.global_step == self._step:  # The gradients accumulate.
            return
        self._step = trainer.global_step
        count = int(average.n_averaged)
        share_kept = 0.0
        if count:
            share_kept = min(self.decay, (1 + count) / (10 + count))
        update = get_ema_multi_avg_fn(share_kept)
        averaged_weights = list(average.module.parameters())
        update(averaged_weights, list(pl_module.parameters()), average.n_averaged)

        buffers = zip(average.module.buffers(), pl_module.buffers(), strict=True)
        for averaged_buffer, buffer in buffers:
            averaged_buffer.copy_(buffer)
        average.n_averaged += 1

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # A validation after the training would exchange the best weights for the average.
        self._average_model = None
