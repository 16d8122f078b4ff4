"""How long a training lasts, by steps, by epochs or by time, and how much of it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer

from seqmodels.errors import UserError

ASK_EVERY = 20  # steps, after which several processes wait for each other to agree on the time


@dataclass(frozen=True)
class Budget:
    """The steps of the optimiser and the seconds that a training may take; None where that does not
    end it."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, steps: int, seconds: float) -> float:
        """How much of the training is done after so many steps and seconds, from 0 to 1: by the one
        that is further. 0 if nothing ends it."""
        ends = (steps, self.steps), (seconds, self.seconds)
        return min(max((done / end for done, end in ends if end), default=0.0), 1.0)


def find_budget(trainer: pl.Trainer, data: pl.LightningDataModule | None) -> Budget:
    """What `max_steps`, `max_epochs` and `max_time` of the trainer allow.

    `trainer.estimated_stepping_batches` would make the training loader before a checkpoint is
    restored, which loses the loader's saved position (Lightning issue 20550). `data` is None where
    the trainer was given loaders of its own."""
    ends = [trainer.max_steps] if trainer.max_steps >= 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        if data is None:
            ends.append(int(trainer.estimated_stepping_batches))
        else:
            batches = batches_per_epoch(trainer, data)
            ends.append(trainer.max_epochs * -(-batches // trainer.accumulate_grad_batches))
    if 0 in ends:
        limits = "trainer.max_epochs, trainer.max_steps and the limit of batches"
        raise UserError(f"no step is left to train: set {limits} to more than 0")
    timer, seconds = _timer(trainer), None
    if timer is not None and (left := timer.time_remaining()) is not None:
        seconds = round(left + timer.time_elapsed(), 6)
        if seconds <= 0:
            raise UserError("trainer.max_time is 0: give some time to train, such as 00:00:10:00")
    return Budget(min(ends, default=None), seconds)


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
    """Of the training, on each process."""
    limit = trainer.overfit_batches or trainer.limit_train_batches  # type: ignore[attr-defined]
    batches = len(data.train_dataloader())
    if data.trainer is None:  # before the training, the loader has those of all processes
        batches = -(-batches // trainer.world_size)
    return limited(batches, limit)


def limited(batches: int, limit: int | float) -> int:
    """What a number or a share leaves of so many batches."""
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _timer(trainer: pl.Trainer) -> Timer | None:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((each for each in callbacks if isinstance(each, Timer)), None)
