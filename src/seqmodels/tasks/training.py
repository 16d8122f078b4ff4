"""What every task needs to be optimised and resumed, from plain values."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate

TOTAL_STEPS = "total_steps"


class TrainingTask(pl.LightningModule):
    """A LightningModule with hyper-parameters `optimizer` and `scheduler`, resumed bit for bit.

    `hparams["optimizer"]` and `hparams["scheduler"]` are plain dicts with a `_target_`. The
    scheduler goes by step, and a value "total_steps" in it stands for the number of optimiser steps
    of the whole training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.allowed_targets: tuple[str, ...] = ()  # as in `instantiate`; never from a checkpoint
        self._total_steps: int | None = None
        self._resumed: dict[str, Any] | None = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return self.build_optimizers(self.trainer, self.trainer.datamodule)  # type: ignore[attr-defined]

    def build_optimizers(
        self, trainer: pl.Trainer, data: pl.LightningDataModule | None
    ) -> OptimizerLRScheduler:
        """Optimiser and scheduler for such a training.

        Raises:
            UserError: naming the class and what is wrong with its arguments.
        """
        allowed, config = self.allowed_targets, self.hparams["scheduler"]
        optimizer = instantiate(
            self.hparams["optimizer"], self.parameters(), allowed_targets=allowed
        )
        if config is None:
            return optimizer
        if TOTAL_STEPS in config.values():
            self._total_steps = total_steps(trainer, data)
            config = {k: self._total_steps if v == TOTAL_STEPS else v for k, v in config.items()}
        scheduler = instantiate(config, optimizer, allowed_targets=allowed)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    # Lightning saves no random state, and dropout draws from it

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["resume"] = {"total_steps": self._total_steps, "cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            checkpoint["resume"]["cuda"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint.get("resume")

    def on_train_start(self) -> None:
        if self._resumed is None:
            return
        planned = self._resumed["total_steps"]
        if planned is not None and self._total_steps not in (None, planned):
            raise UserError(
                f"the checkpoint's scheduler was planned for {planned} steps and this training has "
                f"{self._total_steps}: keep trainer.max_epochs and the batch size as they were, or "
                "set model.scheduler=null"
            )
        torch.set_rng_state(self._resumed["cpu"])
        if self.device.type == "cuda" and "cuda" in self._resumed:
            torch.cuda.set_rng_state(self._resumed["cuda"], self.device)
        self._resumed = None


def total_steps(trainer: pl.Trainer, data: pl.LightningDataModule | None) -> int:
    """The number of optimiser steps of the whole training.

    `trainer.estimated_stepping_batches` would make the training loader before a checkpoint is
    restored, which loses the loader's saved position (Lightning issue 20550).

    Args:
        data: None where the trainer was given loaders of its own.

    Raises:
        UserError: if the training has no end.
    """
    if trainer.max_steps >= 0:
        return trainer.max_steps
    if trainer.max_epochs is None or trainer.max_epochs < 0:
        raise UserError(
            "model.scheduler needs the number of steps: set trainer.max_epochs or "
            "trainer.max_steps, or model.scheduler=null"
        )
    if data is None:
        return int(trainer.estimated_stepping_batches)
    batches = len(data.train_dataloader())
    limit = trainer.overfit_batches or trainer.limit_train_batches  # type: ignore[attr-defined]
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return trainer.max_epochs * -(-batches // trainer.accumulate_grad_batches)
