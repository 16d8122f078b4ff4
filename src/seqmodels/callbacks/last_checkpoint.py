"""`last.ckpt`: the newest state of a training, whatever its metrics, and whatever ends it."""

from __future__ import annotations

import math
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from seqmodels.signatures.ranges import Name, NonNegative

# Slurm sends its warning (`--signal=USR1@90`) some seconds before it ends a job
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Interrupted(BaseException):
    """A signal ended the training, after its state was saved.

    Args:
        signum: of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt` after every validation and every few minutes.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 save it too, at the end of the step or validation that they
    meet, and end the training there with `Interrupted`. A second Ctrl-C ends it at once.

    Args:
        dirpath: the folder to save it in.
        minutes: how often to save it between validations; null for never.
    """

    def __init__(self, dirpath: Name, minutes: NonNegative | None = 5.0) -> None:
        super().__init__()
        self.path = Path(dirpath) / "last.ckpt"
        self.minutes = minutes
        self._saved_at = 0.0
        self._received: int | None = None
        self._handlers: dict[int, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # after Lightning has set its own, which end with exit status 0; Python allows handlers in
        # the main thread only
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if validation_follows(trainer, batch_idx):
            return  # resumed from between the two, Lightning would skip the validation
        if self._received is not None or self._is_due(trainer):
            self._save(trainer)
            self._end_if_asked()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not ends_epoch(trainer):
            self._save(trainer)
            self._end_if_asked()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if ends_epoch(trainer):  # after the best checkpoint, which is saved here too
            self._save(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_if_asked()  # only now, because the metrics of an epoch are logged after its end

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore_handlers()
        self._end_if_asked()
        if trainer.is_global_zero:
            self.path.with_name("previous.ckpt").unlink(missing_ok=True)

    def on_exception(self, *_: Any) -> None:
        self._restore_handlers()

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()

    def _end_if_asked(self) -> None:
        if self._received is not None:
            raise Interrupted(self._received)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if self.minutes is None:
            return False
        due = time.monotonic() - self._saved_at >= 60 * self.minutes
        if trainer.world_size > 1:  # all processes save together; asking them at every step is slow
            return trainer.global_step % 50 == 0 and trainer.strategy.reduce_boolean_decision(due)
        return due

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._received == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signum

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def ends_epoch(trainer: pl.Trainer) -> bool:
    """Whether validation takes place at the end of each epoch only, or not at all: then Lightning
    saves the best checkpoint after the epoch instead of after the validation."""
    if not sum(trainer.num_val_batches):
        return True
    return trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0


def validation_follows(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a validation, or the end of the epoch, comes right after this batch."""
    interval = trainer.val_check_batch
    if trainer.is_last_batch or interval is None or math.isinf(interval):
        return trainer.is_last_batch
    by_epoch = trainer.check_val_every_n_epoch is not None
    number = batch_idx if by_epoch else trainer.fit_loop.total_batch_idx
    return (number + 1) % int(interval) == 0
