"""Stop a training that no longer gets better."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from torch import Tensor

from seqmodels.arguments import Name, Natural, Passed
from seqmodels.engine.metrics import more_is_better
from seqmodels.errors import UserError, choices

log = logging.getLogger(__name__)

NOT_STOPPED = EarlyStoppingReason.NOT_STOPPED


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

    def __init__(
        self,
        monitor: Name,
        patience: Natural,
        **options: Annotated[Any, Passed("mode")],
    ) -> None:
        mode = "max" if more_is_better(monitor) else "min"
        super().__init__(monitor, patience=patience, mode=mode, **options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            trainer.should_stop = self.wait_count >= self.patience
            if trainer.should_stop:
                log.warning(
                    f"{self.wait_count} validations brought no better {self.monitor}, so early "
                    f"stopping trains nothing more (patience {self.patience})"
                )
        elif self.stopping_reason is not NOT_STOPPED:
            trainer.should_stop = True
        if not trainer.should_stop:
            self.stopping_reason = NOT_STOPPED

    def _validate_condition_metric(self, logs: dict[str, Tensor]) -> bool:
        if self.monitor not in logs:
            near = choices(self.monitor, logs)
            raise UserError(f"callbacks.early_stopping.monitor={self.monitor}: {near}")
        return True
