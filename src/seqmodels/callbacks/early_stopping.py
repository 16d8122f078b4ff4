"""Stop a training that no longer gets better."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from seqmodels.arguments import Name, Natural
from seqmodels.errors import refusing
from seqmodels.metrics import more_is_better

log = logging.getLogger(__name__)


class EarlyStopping(LightningEarlyStopping):
    """Lightning's `EarlyStopping` that knows which direction of a metric is better, and resumes: a
    training that it has stopped stays stopped, unless `patience` is larger now.

    Args:
        monitor: a metric, such as `validation/accuracy`.
        patience: how many validations in a row may bring no better value.
        options: more arguments of `lightning.pytorch.callbacks.EarlyStopping`.

    Raises:
        UserError: for a metric that `METRICS` lacks; after the first validation, for one that this
            task lacks.
    """

    def __init__(self, monitor: Name, patience: Natural, **options: Any) -> None:
        mode = "max" if more_is_better(monitor) else "min"
        super().__init__(monitor, patience=patience, mode=mode, **options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        was_impatient = self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED
        if was_impatient and self.wait_count < self.patience:  # The patience is larger now.
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        elif self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            log.warning(f"early stopping trains nothing more: {self.stopping_reason_message}")
            trainer.should_stop = True

    # These two raise an error for a metric that is not there.

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with refusing("callbacks.early_stopping", RuntimeError):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with refusing("callbacks.early_stopping", RuntimeError):
            super().on_train_epoch_end(trainer, pl_module)
