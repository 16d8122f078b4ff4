"""The states that a training keeps: `last.ckpt`, the newest, even if its metrics are worse or it is
interrupted; and `best.ckpt`, the best by a metric of the validation."""

from __future__ import annotations

import math
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor, distributed

from seqmodels.arguments import Name, NonNegative
from seqmodels.files import written_whole
from seqmodels.interruption import Interrupted, handling_signals
from seqmodels.metrics import more_is_better


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt` after every validation, after every few minutes, after every epoch unless
    validations are counted across epochs, and at the end of the training.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 save it too, at the end of the step or validation that they
    meet in any process, and end the training there with `Interrupted`. A second Ctrl-C ends it at
    once.

    An exception leaves the last saved checkpoint.

    Args:
        dirpath: the folder to save it in.
        minutes: how often to save it between validations; null for never.

    Attributes:
        step: the step whose state is saved; None before anything is saved.
    """

    def __init__(self, dirpath: Name, minutes: NonNegative | None = 5.0) -> None:
        super().__init__()
        self.path = Path(dirpath) / "last.ckpt"
        self.minutes = minutes
        self.step: int | None = None
        self._saved_at = 0.0
        self._received = 0
        self._processes: Any = None  # the group to agree in
        self._handling = ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()
        if trainer.ckpt_path is not None and Path(trainer.ckpt_path).name == self.path.name:
            self.step = trainer.global_step
        if trainer.world_size > 1:  # on the CPU, so that no step waits for its device
            self._processes = distributed.new_group(backend="gloo")
        self._handling.enter_context(handling_signals(self._note))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # before a validation, which Lightning would skip when it resumes; checkpoints hold no
        # gradients
        if validation_follows(trainer, batch_idx) or accumulates(trainer):
            return
        self._end(self._save_if(self._is_time(), trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trained = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not trained or accumulates(trainer) or ends_epoch(trainer):
            return
        # The last state waits for the end of its epoch, whose metrics it needs: a training that is
        # resumed where it ends logs nothing more.
        if not ends_training(trainer):
            self._end(self._save_if(True, trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        by_epoch = ends_epoch(trainer) or trainer.check_val_every_n_epoch is not None
        self._save_if(by_epoch or ends_training(trainer) or self._is_time(), trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end(self._agree()[0])  # only now: the metrics of an epoch are logged after its end

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._handling.close()
        if trainer.is_global_zero:  # also where a signal ends the run: its resume may train nothing
            self.path.with_name("previous.ckpt").unlink(missing_ok=True)
        self._end(self._agree()[0])

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A training that is resumed at its end has had none of the hooks above. If its last.ckpt
        # was damaged, or not there yet, its state is that of the other checkpoint.
        resumed = Path(trainer.ckpt_path) if trainer.ckpt_path else self.path
        if self.step is None and trainer.is_global_zero and resumed.name != self.path.name:
            with written_whole(self.path) as file:
                file.write(resumed.read_bytes())

    def on_exception(self, *_: Any) -> None:
        self._handling.close()

    def _is_time(self) -> bool:
        passed = time.monotonic() - self._saved_at
        return self.minutes is not None and passed >= 60 * self.minutes

    def _save_if(self, due: bool, trainer: pl.Trainer) -> int:
        """Saves the state if that is due in any process, or any has received a signal, and it isn't
        saved yet. Returns the signal, or 0."""
        signum, agreed = self._agree(due)
        if (signum or agreed) and self.step != trainer.global_step:
            self._save(trainer)
        return signum

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for logger in trainer.loggers:  # a run resumed from here does not log it again
            logger.save()
        trainer.save_checkpoint(self.path)
        self.step, self._saved_at = trainer.global_step, time.monotonic()

    def _agree(self, due: bool = False) -> tuple[int, bool]:
        """The signal that any process has received, or 0; whether a checkpoint is due in any."""
        if self._processes is None:
            return self._received, due
        noted = torch.tensor([self._received, due])
        distributed.all_reduce(noted, distributed.ReduceOp.MAX, self._processes)
        signum, agreed = noted.tolist()
        return signum, bool(agreed)

    def _end(self, signum: int) -> None:
        if signum:
            raise Interrupted(signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._received == signal.SIGINT:
            raise Interrupted(signum)
        self._received = signum


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` of the one best state, for run folders that may be moved.

    Lightning forgets which checkpoint was the best one when its folder has another path, and then
    replaces it with a worse one.

    Of two states that are equally good, as many are by the accuracy on a small split, it keeps the
    one with the smaller loss.

    Attributes:
        validation: the metrics of the validation right before the best state was saved; None if
            this training has saved none, or validates nothing.

    Args:
        dirpath: the folder to save it in.
        monitor: a metric, such as `validation/accuracy`; None saves the last state.
        mode: `min` or `max`; None: what is better by this metric.

    Raises:
        UserError: for a metric that `METRICS` lacks, without a `mode`.
    """

    def __init__(
        self,
        dirpath: Name,
        monitor: Name | None = "validation/loss",
        mode: Literal["min", "max"] | None = None,
    ) -> None:
        mode = mode or ("max" if monitor and more_is_better(monitor) else "min")
        super().__init__(dirpath, "best", monitor, mode=mode, enable_version_counter=False)
        self.validation: dict[str, float] | None = None
        self._loss: Tensor | None = None  # of the best state

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        loss, before = trainer.callback_metrics.get("validation/loss"), self._loss
        saves = super().check_monitor_top_k(trainer, current)
        if not saves and current is not None and loss is not None and before is not None:
            saves = bool(current == self.best_model_score) and bool(loss < before)
        if saves:
            self._loss = loss
        return saves

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # a resumed state was judged by its validation before it was saved; it has no metric now
        self._last_global_step_saved = trainer.global_step

    # The state at the end of the training waits for the end of its epoch, as `last.ckpt` does.

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not ends_training(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if ends_training(trainer):
            super().on_validation_end(trainer, pl_module)
        super().on_train_epoch_end(trainer, pl_module)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        for logger in trainer.loggers:  # a run that is killed now is resumed from this checkpoint
            logger.save()
        super()._save_checkpoint(trainer, filepath)
        found = trainer.callback_metrics.items()
        self.validation = {k: float(v) for k, v in found if k.startswith("validation/")} or None

    # no path: the folder may lie elsewhere now, and a checkpoint doesn't say which file to replace

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.best_model_score, "loss": self._loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        score, self._loss = state_dict["score"], state_dict["loss"]
        if score is None and self.monitor is not None:  # nothing was validated yet
            return
        path = self.best_model_path = self.kth_best_model_path = self.format_checkpoint_name({})
        if score is not None:
            self.best_model_score, self.best_k_models = score, {path: score}


def accumulates(trainer: pl.Trainer) -> bool:
    """Whether the gradients of this batch are added to the next batch's."""
    ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    last = trainer.is_last_batch or ready == trainer.num_training_batches
    return ready % trainer.accumulate_grad_batches != 0 and not last


def ends_epoch(trainer: pl.Trainer) -> bool:
    """Whether validation takes place at the end of each epoch only, or not at all: then Lightning
    saves the best checkpoint after the epoch instead of after the validation."""
    by_epoch = trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0
    return by_epoch or not sum(trainer.num_val_batches)


def ends_training(trainer: pl.Trainer) -> bool:
    """Whether the training ends with this batch: by its epochs, by its steps, or because a callback
    has stopped it and it has trained for `min_epochs` and `min_steps`."""
    epochs, steps = trainer.current_epoch, trainer.global_step  # that are finished
    if trainer.is_last_batch:
        epochs += 1
        if epochs == trainer.max_epochs:
            return True
    if steps == trainer.max_steps:
        return True
    may_stop = epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0)
    return trainer.should_stop and may_stop


def validation_follows(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a validation, or the end of the epoch, comes right after this batch."""
    interval, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    none = epochs is not None and (trainer.current_epoch + 1) % epochs  # in this epoch
    if trainer.is_last_batch or interval is None or math.isinf(interval) or none:
        return trainer.is_last_batch
    number = batch_idx if epochs is not None else trainer.fit_loop.total_batch_idx
    return (number + 1) % int(interval) == 0
