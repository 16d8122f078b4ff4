"""Stop a trial of a search that is worse than others at the same point of their training."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.interruption import Pruned


class Pruning(Callback):
    """Reports each validation to Optuna, whose pruner decides whether the training goes on.

    Args:
        trial: an `optuna.Trial`.
        metric: what to report, such as `validation/loss`.

    Raises:
        Pruned: at the end of a training that the pruner has stopped.
    """

    def __init__(self, trial: Any, metric: str) -> None:
        self.trial, self.metric = trial, metric
        self._reason: str | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._every = trainer.val_check_batch  # the last validation comes as soon as it must

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            value = float(trainer.callback_metrics[self.metric])
            number = _number(trainer, self._every)
            self.trial.report(value, number)
            if self.trial.should_prune():
                trainer.should_stop = True
                self._reason = f"{self.metric} {value:.4g} after validation {number}"

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # only here, so that a signal has ended the whole search before
        if self._reason is not None:
            raise Pruned(self._reason)


def _number(trainer: pl.Trainer, every: int | float | None) -> int:
    """The number of this validation, from 1 on: also in a training that was resumed, and the same
    share of the data whatever the batch size."""
    if every is None or math.isinf(every):
        return trainer.current_epoch + 1
    return math.ceil((trainer.fit_loop.total_batch_idx + 1) / every)
