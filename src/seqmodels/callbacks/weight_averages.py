"""Averages of the weights over the training: they are validated, saved and tested."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from seqmodels.arguments import Count, NonNegativeFraction, PositiveFraction, checked
from seqmodels.engine.budget import find_budget, seconds_used
from seqmodels.errors import UserError


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


class SWA(_Average):
    """Stochastic weight averaging (https://arxiv.org/abs/1803.05407): the mean of the weights after
    each step of the last part of the training.

    Lightning's `StochasticWeightAveraging` neither validates nor saves its average, so the best
    checkpoint is never an average.

    Args:
        start: the share of the training, by steps or time, before the average begins.
        patience: begin it earlier, after a validation whose loss is above one that is more than so
            many validations older (NT-ASGD of AWD-LSTM, https://arxiv.org/abs/1708.02182, with 5).
    """

    @checked("callbacks.swa")
    def __init__(self, start: NonNegativeFraction = 0.75, patience: Count | None = None) -> None:
        super().__init__(get_swa_multi_avg_fn())
        self.start, self.patience = start, patience
        self.losses: list[float] = []  # of the validations

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        budget = find_budget(trainer, trainer.datamodule)  # type: ignore[attr-defined]
        if budget.is_endless:
            raise UserError("callbacks.swa needs the end of the training")
        self._budget, self._seconds = budget, lambda: seconds_used(trainer)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        if self.has_begun or self._stalls():
            return True
        return self._budget.progress(step_idx, self._seconds()) >= self.start

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.losses.append(float(trainer.callback_metrics["validation/loss"]))

    def _stalls(self) -> bool:
        older = self.losses[: -1 - self.patience] if self.patience else []
        return bool(older) and self.losses[-1] > min(older)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.losses = state_dict["losses"]
