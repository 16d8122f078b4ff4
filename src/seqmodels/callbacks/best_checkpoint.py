"""`best.ckpt`: the best state by a metric of the validation."""

from __future__ import annotations

from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from seqmodels.arguments import Name
from seqmodels.callbacks.last_checkpoint import ends_training
from seqmodels.metrics import more_is_better


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
