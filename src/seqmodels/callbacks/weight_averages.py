"""An average of the weights over the training: it is validated, saved and tested."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seqmodels.arguments import PositiveFraction


class EMA(WeightAveraging):
    """An exponential moving average of the weights, after every step.

    It is shorter at first, so that it does not hold the weights that the training began with.

    Args:
        decay: the share that the average keeps at each step: 0.998 is about the last 500 steps.
    """

    def __init__(self, decay: PositiveFraction = 0.998) -> None:
        def average(averages: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
            kept = min(decay, (1 + int(count)) / (10 + int(count)))
            get_ema_multi_avg_fn(kept)(averages, weights, count)

        # buffers are constants here, such as the weights of classes
        super().__init__(use_buffers=False, multi_avg_fn=average)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # where the weights will be, after this hook
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:  # it is read at every step: do not wait for a device
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # else a validation after the training would exchange the best weights for the average
        self._average_model = None
