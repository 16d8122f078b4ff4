"""Optimiser, learning rate and gradient clipping, from plain values."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from seqmodels.arguments import NonNegative, NonNegativeFraction
from seqmodels.errors import UserError
from seqmodels.instantiate import TOTAL_STEPS, allowed_class, instantiate

# After so many steps, several processes wait for each other to agree on the time.
ASK_EVERY = 20


@dataclass(frozen=True)
class Budget:
    """The steps of the optimiser and the seconds that a training may take; None where that does not
    end it."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, steps: int, seconds: float) -> float:
        """How much of the training is done after so many steps and seconds, from 0 to 1: by the one
        that is further. 0 if nothing ends it."""
        done = 0.0
        if self.steps:
            done = max(done, steps / self.steps)
        if self.seconds:
            done = max(done, seconds / self.seconds)
        return min(done, 1.0)


def find_budget(trainer: pl.Trainer, data: pl.LightningDataModule | None) -> Budget:
    """What `max_steps`, `max_epochs` and `max_time` of the trainer allow.

    `trainer.estimated_stepping_batches` would make the training loader before a checkpoint is
    restored, which loses the loader's saved position (Lightning issue 20550). `data` is None where
    the trainer was given loaders of its own."""
    step_limits = []
    if trainer.max_steps >= 0:
        step_limits.append(trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        if data is None:
            step_limits.append(int(trainer.estimated_stepping_batches))
        else:
            batches = batches_per_epoch(trainer, data)
            steps_per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
            step_limits.append(trainer.max_epochs * steps_per_epoch)
    if 0 in step_limits:
        raise UserError(
            "no step is left to train: set trainer.max_epochs, trainer.max_steps and the limit of "
            "batches to more than 0"
        )
    return Budget(min(step_limits, default=None), seconds_allowed(trainer))


def seconds_allowed(trainer: pl.Trainer) -> float | None:
    """What `max_time` of the trainer allows; None without it."""
    timer = _timer(trainer)
    if timer is None:
        return None
    seconds_left = timer.time_remaining()
    if seconds_left is None:
        return None
    seconds = round(seconds_left + timer.time_elapsed(), 6)
    if seconds <= 0:
        raise UserError("trainer.max_time is 0: give some time to train, such as 00:00:10:00")
    return seconds


def seconds_used(trainer: pl.Trainer) -> float:
    """The time of the training so far, before a resume too, as `max_time` counts it; equal in all
    processes. 0 without `max_time`."""
    timer: Any = _timer(trainer)
    if timer is None:
        return 0.0
    if trainer.world_size == 1:
        return float(timer.time_elapsed())
    if trainer.global_step % ASK_EVERY == 0 or not hasattr(timer, "agreed"):
        timer.agreed = float(trainer.strategy.broadcast(timer.time_elapsed()))
    return float(timer.agreed)


def batches_per_epoch(trainer: pl.Trainer, data: pl.LightningDataModule) -> int:
    """How many batches each process trains on in an epoch."""
    limit = trainer.overfit_batches or trainer.limit_train_batches  # type: ignore[attr-defined]
    batches = len(data.train_dataloader())
    if data.trainer is None:
        # Before the training, the loader has the batches of all processes.
        batches = math.ceil(batches / trainer.world_size)
    return limited(batches, limit)


def limited(batches: int, limit: int | float) -> int:
    """What a number or a share leaves of so many batches."""
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _timer(trainer: pl.Trainer) -> Timer | None:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer):
            return callback
    return None


class Shape:
    """A learning rate as a function of how much of the training is done, by steps or by time."""

    def at(self, done: float) -> float:
        """The share of the optimiser's own rate, from 0 to 1; `done` goes from 0 to 1, too."""
        raise NotImplementedError


@dataclass(frozen=True)
class OneCycle(Shape):
    """Up along half a cosine, and down along another to almost 0 at the end (Smith and Topin 2018,
    https://arxiv.org/abs/1708.07120). As PyTorch's `OneCycleLR`, but for the momentum, which stays.

    Args:
        rise: the share of the training in which it rises; 0: it only falls.
        start, end: of the highest rate, what it begins and ends with.
    """

    rise: NonNegativeFraction = 0.3
    start: NonNegative = 0.04
    end: NonNegative = 4e-6

    def at(self, done: float) -> float:
        if done < self.rise:
            return self.start + (1 - self.start) * half_cosine(1 - done / self.rise)
        return self.end + (1 - self.end) * half_cosine((done - self.rise) / (1 - self.rise))


class Shaped(LambdaLR):
    """Has a rate follow a `Shape`, without a state: a longer training follows of itself."""

    def __init__(self, optimizer: Optimizer, shape: Shape, done: Callable[[], float]) -> None:
        super().__init__(optimizer, lambda _: shape.at(done()))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """There is nothing to load."""


def half_cosine(share: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * share)) / 2


def build_optimizer(
    parameters: Iterable[Parameter],
    optimizer: Mapping[str, Any] | None,
    scheduler: Mapping[str, Any] | None,
    trainer: pl.Trainer,
    data: pl.LightningDataModule | None,
    allowed_targets: Iterable[str] = (),
) -> Any:
    """What `configure_optimizers` returns for a training of this data. Schedulers go by step, but
    `ReduceLROnPlateau` by validation.

    Args:
        optimizer, scheduler: plain dicts with a `_target_`. The scheduler is a `Shape`, or any of
            PyTorch's, for which a value "total_steps" stands for the steps of the training.
    """
    if not optimizer:
        raise UserError("model.optimizer is null: choose one, such as optimizer=adamw")
    built_optimizer = instantiate(
        optimizer,
        key="model.optimizer",
        params=[*parameters],
        allowed_targets=allowed_targets,
    )
    budget = find_budget(trainer, data)
    if scheduler is None:
        return built_optimizer

    is_shape = issubclass(allowed_class(scheduler, allowed_targets), Shape)
    follows_steps = is_shape or TOTAL_STEPS in scheduler.values()
    follows_time = is_shape and budget.seconds is not None
    if follows_steps and budget.steps is None and not follows_time:
        raise UserError(
            "model.scheduler needs the end of the training: set trainer.max_epochs or "
            "trainer.max_steps (for one_cycle and cosine, trainer.max_time does, too), or "
            "scheduler=none"
        )
    arguments = dict(scheduler)
    for name, value in scheduler.items():
        if value == TOTAL_STEPS:
            arguments[name] = budget.steps
    given = {} if is_shape else {"optimizer": built_optimizer}
    built_scheduler = instantiate(
        arguments, key="model.scheduler", **given, allowed_targets=allowed_targets
    )
    if is_shape:

        def done() -> float:
            return budget.progress(trainer.global_step, seconds_used(trainer))

        built_scheduler = Shaped(built_optimizer, built_scheduler, done)
    entry: dict[str, Any] = {"scheduler": built_scheduler, "interval": "step"}
    if isinstance(built_scheduler, ReduceLROnPlateau):
        # The task has it step after each validation, so Lightning must not.
        entry |= {"monitor": "validation/loss", "interval": "epoch", "frequency": sys.maxsize}
    return {"optimizer": built_optimizer, "lr_scheduler": entry}


def step_plateaus(trainer: pl.Trainer, loss: Tensor) -> None:
    """Has a `ReduceLROnPlateau` read the loss of a validation. Lightning can't after each one,
    where they are counted across epochs."""
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau:
            config.scheduler.step(float(loss))  # type: ignore[arg-type]


def clip_gradients(
    task: pl.LightningModule,
    optimizer: Optimizer,
    gradient_clip_val: float | None = None,
    gradient_clip_algorithm: str | None = None,
) -> None:
    """Clips for fused optimisers in bfloat16 too: Lightning refuses, because in mixed precision
    they undo the scaling of float16 gradients themselves; but bfloat16 has no scaling."""
    precision = task.trainer.precision_plugin
    if not (isinstance(precision, MixedPrecision) and optimizer.defaults.get("fused")):
        task.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        return
    if precision.scaler is not None:
        raise UserError(
            "trainer.precision=16-mixed cannot clip for a fused optimizer: set "
            "model.optimizer.fused=false, or trainer.precision=bf16-mixed"
        )
    algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
    Precision.clip_gradients(precision, optimizer, gradient_clip_val or 0.0, algorithm)
