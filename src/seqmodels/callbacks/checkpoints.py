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
        self._processes: Any = None  # the group of all processes, in which they agree
        self._handling = ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()
        if trainer.ckpt_path is not None and Path(trainer.ckpt_path).name == self.path.name:
            self.step = trainer.global_step
        if trainer.world_size > 1:
            # This group sends numbers by the CPU, so that no step waits for its device.
            self._processes = distributed.new_group(backend="gloo")
        self._handling.enter_context(handling_signals(self._note))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A state before a validation is not saved, because Lightning would skip the validation when
        # it resumes; nor is one between two steps of gradients, because checkpoints hold none.
        if validation_follows(trainer, batch_idx) or accumulates(trainer):
            return
        self._end(self._save_if(self._is_time(), trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        is_training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not is_training or accumulates(trainer) or ends_epoch(trainer):
            return
        # The last state waits for the end of its epoch, whose metrics it needs: a training that is
        # resumed where it ends logs nothing more.
        if not ends_training(trainer):
            self._end(self._save_if(True, trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        saves_each_epoch = ends_epoch(trainer) or trainer.check_val_every_n_epoch is not None
        self._save_if(saves_each_epoch or ends_training(trainer) or self._is_time(), trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A signal ends the training only now: the metrics of an epoch are logged after its end.
        signum, _ = self._agree()
        self._end(signum)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._handling.close()
        if trainer.is_global_zero:
            # This comes before a signal ends the run: its resume may train nothing.
            self.path.with_name("previous.ckpt").unlink(missing_ok=True)
        signum, _ = self._agree()
        self._end(signum)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A training that is resumed at its end has had none of the hooks above. If its last.ckpt
        # was damaged, or not there yet, its state is that of the other checkpoint.
        if self.step is not None or not trainer.is_global_zero or not trainer.ckpt_path:
            return
        resumed_path = Path(trainer.ckpt_path)
        if resumed_path.name != self.path.name:
            with written_whole(self.path) as file:
                file.write(resumed_path.read_bytes())

    def on_exception(self, *_: Any) -> None:
        self._handling.close()

    def _is_time(self) -> bool:
        """Whether the last state was saved too many minutes ago."""
        seconds = time.monotonic() - self._saved_at
        return self.minutes is not None and seconds >= 60 * self.minutes

    def _save_if(self, is_due: bool, trainer: pl.Trainer) -> int:
        """Saves the state if that is due in any process, or any has received a signal, and it isn't
        saved yet. Returns the signal, or 0."""
        signum, is_due_in_any = self._agree(is_due)
        if (signum or is_due_in_any) and self.step != trainer.global_step:
            self._save(trainer)
        return signum

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # A run that is resumed from this state does not log again what was logged before.
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.path)
        self.step = trainer.global_step
        self._saved_at = time.monotonic()

    def _agree(self, is_due: bool = False) -> tuple[int, bool]:
        """The signal that any process has received, or 0; whether a checkpoint is due in any."""
        if self._processes is None:
            return self._received, is_due
        # What this process has; after the reduction, the largest of all.
        largest = torch.tensor([self._received, is_due])
        distributed.all_reduce(largest, distributed.ReduceOp.MAX, self._processes)
        signum, is_due_in_any = largest.tolist()
        return signum, bool(is_due_in_any)

    def _end(self, signum: int) -> None:
        """Ends the training if a signal was received; 0 is none."""
        if signum:
            raise Interrupted(signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        """Keeps a signal for the end of the step; a second Ctrl-C ends the training at once."""
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
        if mode is None:
            mode = "max" if monitor and more_is_better(monitor) else "min"
        super().__init__(dirpath, "best", monitor, mode=mode, enable_version_counter=False)
        self.validation: dict[str, float] | None = None
        self._loss: Tensor | None = None  # the validation loss of the best state

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether the state is saved: its metric is better than the best one's, or as good with a
        smaller loss."""
        loss = trainer.callback_metrics.get("validation/loss")
        is_better = super().check_monitor_top_k(trainer, current)
        if not is_better and current is not None and loss is not None and self._loss is not None:
            is_equal = bool(current == self.best_model_score)
            is_better = is_equal and bool(loss < self._loss)
        if is_better:
            self._loss = loss
        return is_better

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # A resumed state was judged by its validation before it was saved; it has no metric now.
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
        # A run that is killed now is resumed from this checkpoint.
        for logger in trainer.loggers:
            logger.save()
        super()._save_checkpoint(trainer, filepath)
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("validation/")
        }
        self.validation = metrics or None

    # A checkpoint keeps no path: the folder may lie elsewhere when it is resumed.

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.best_model_score, "loss": self._loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        score = state_dict["score"]
        self._loss = state_dict["loss"]
        if score is None and self.monitor is not None:  # Nothing was validated yet.
            return
        path = self.format_checkpoint_name({})
        self.best_model_path = path
        self.kth_best_model_path = path
        if score is not None:
            self.best_model_score = score
            self.best_k_models = {path: score}


def accumulates(trainer: pl.Trainer) -> bool:
    """Whether the gradients of this batch are added to the next batch's."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready  # This one counts.
    is_last = trainer.is_last_batch or batches == trainer.num_training_batches
    return batches % trainer.accumulate_grad_batches != 0 and not is_last


def ends_epoch(trainer: pl.Trainer) -> bool:
    """Whether validation takes place at the end of each epoch only, or not at all: then Lightning
    saves the best checkpoint after the epoch instead of after the validation."""
    if sum(trainer.num_val_batches) == 0:
        return True
    return trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0


def ends_training(trainer: pl.Trainer) -> bool:
    """Whether the training ends with this batch: by its epochs, by its steps, or because a callback
    has stopped it and it has trained for `min_epochs` and `min_steps`."""
    epochs = trainer.current_epoch  # how many are finished
    steps = trainer.global_step
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
    if trainer.is_last_batch:
        return True
    interval = trainer.val_check_batch
    if interval is None or math.isinf(interval):
        return False
    epochs = trainer.check_val_every_n_epoch
    if epochs is None:  # Batches are counted across epochs.
        return (trainer.fit_loop.total_batch_idx + 1) % int(interval) == 0
    has_validation = (trainer.current_epoch + 1) % epochs == 0
    return has_validation and (batch_idx + 1) % int(interval) == 0
