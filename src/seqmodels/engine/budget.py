"""How long a training lasts: by steps, by epochs or by time, whichever ends first."""

from __future__ import annotations

from dataclasses import dataclass

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer

from seqmodels.errors import UserError

NO_END = (
    "needs the end of the training: set trainer.max_epochs, trainer.max_steps or trainer.max_time"
)
BY_TIME = 1000  # places of a plan that time ends


@dataclass(frozen=True)
class Budget:
    """The steps and the time that a training may take.

    Args:
        steps: of the optimiser; None if only time ends the training.
        seconds: None if only steps end it.
    """

    steps: int | None
    seconds: float | None = None

    @property
    def places(self) -> int:
        """Into how many places a plan divides the training: one per step if the steps are known."""
        return BY_TIME if self.steps is None else self.steps

    @property
    def plans(self) -> list[int]:
        """The places of the plan by steps, and of a shorter one by time where time may end it."""
        by_time = self.seconds is not None and self.places > BY_TIME
        return [self.places, BY_TIME] if by_time else [self.places]

    def place(self, steps: int, seconds: float) -> int:
        """The place of the plan, from 0 to `places`, after so many steps and seconds."""
        by_time = 0.0 if self.seconds is None else self.places * seconds / self.seconds
        return min(max(steps if self.steps is not None else 0, int(by_time)), self.places)


def find_budget(trainer: pl.Trainer, data: pl.LightningDataModule | None) -> Budget | None:
    """What `max_steps`, `max_epochs` and `max_time` of the trainer allow; None if it never ends.

    `trainer.estimated_stepping_batches` would make the training loader before a checkpoint is
    restored, which loses the loader's saved position (Lightning issue 20550).

    Args:
        data: None where the trainer was given loaders of its own.

    Raises:
        UserError: if there is no time to train.
    """
    ends = [trainer.max_steps] if trainer.max_steps >= 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        if data is None:
            ends.append(int(trainer.estimated_stepping_batches))
        else:
            batches = batches_per_epoch(trainer, data)
            ends.append(trainer.max_epochs * -(-batches // trainer.accumulate_grad_batches))
    timer = _timer(trainer)
    seconds = None if timer is None else _most_seconds(timer)
    if not ends and seconds is None:
        return None
    if seconds is not None and seconds <= 0:
        raise UserError("trainer.max_time is 0: give some time to train, such as 00:00:10:00")
    return Budget(min(ends, default=None), seconds)


def seconds_used(trainer: pl.Trainer) -> float:
    """The time of the training so far, before a resume too, as `max_time` counts it; equal in all
    processes. 0 without `max_time`."""
    timer = _timer(trainer)
    return 0.0 if timer is None else float(trainer.strategy.broadcast(timer.time_elapsed()))


def seconds_left(trainer: pl.Trainer) -> float | None:
    """What `max_time` leaves, as this process counts it; None without `max_time`."""
    timer = _timer(trainer)
    return None if timer is None else timer.time_remaining()


def batches_per_epoch(trainer: pl.Trainer, data: pl.LightningDataModule) -> int:
    """Of the training, on each process."""
    limit = trainer.overfit_batches or trainer.limit_train_batches  # type: ignore[attr-defined]
    return limited(len(data.train_dataloader()), limit)


def limited(batches: int, limit: int | float) -> int:
    """What a number or a share leaves of so many batches."""
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _most_seconds(timer: Timer) -> float | None:
    left = timer.time_remaining()
    return None if left is None else round(left + timer.time_elapsed(), 6)


def _timer(trainer: pl.Trainer) -> Timer | None:
    timers = [c for c in trainer.callbacks if isinstance(c, Timer)]  # type: ignore[attr-defined]
    return timers[0] if timers else None
