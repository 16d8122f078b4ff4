"""Optimiser, scheduler and gradient clipping, from plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.nn import Parameter
from torch.optim import Optimizer

from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate

TOTAL_STEPS = "total_steps"


def build_optimizer(
    parameters: Iterable[Parameter],
    optimizer: Mapping[str, Any],
    scheduler: Mapping[str, Any] | None,
    total_steps: int | None,
    allowed_targets: Iterable[str] = (),
) -> Any:
    """What `LightningModule.configure_optimizers` returns; the scheduler goes by step.

    Args:
        optimizer, scheduler: plain dicts with a `_target_`; a value "total_steps" in the scheduler
            stands for `total_steps`.

    Raises:
        UserError: naming the class and what is wrong with its arguments.
    """
    built = instantiate(optimizer, parameters, allowed_targets=allowed_targets)
    if scheduler is None:
        return built
    planned = {k: total_steps if v == TOTAL_STEPS else v for k, v in scheduler.items()}
    by_step = instantiate(planned, built, allowed_targets=allowed_targets)
    return {"optimizer": built, "lr_scheduler": {"scheduler": by_step, "interval": "step"}}


def count_steps(trainer: pl.Trainer, data: pl.LightningDataModule | None) -> int:
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
    batches = batches_per_epoch(trainer, data)
    return trainer.max_epochs * -(-batches // trainer.accumulate_grad_batches)


def batches_per_epoch(trainer: pl.Trainer, data: pl.LightningDataModule) -> int:
    """Of the training, on each process."""
    batches = len(data.train_dataloader())
    limit = trainer.overfit_batches or trainer.limit_train_batches  # type: ignore[attr-defined]
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def clip_gradients(
    task: pl.LightningModule, optimizer: Optimizer, value: float | None, algorithm: str | None
) -> None:
    """Clips for fused optimisers in bfloat16 too.

    Lightning refuses to clip for a fused optimiser in mixed precision, because that one undoes the
    scaling of float16 gradients itself; but bfloat16 has no scaling.
    """
    precision = task.trainer.precision_plugin
    if not (isinstance(precision, MixedPrecision) and optimizer.defaults.get("fused")):
        task.clip_gradients(optimizer, value, algorithm)
        return
    if precision.scaler is not None:
        raise UserError(
            "trainer.precision=16-mixed cannot clip the gradients of a fused optimizer: "
            "set model.optimizer.fused=false, or trainer.precision=bf16-mixed"
        )
    kind = GradClipAlgorithmType(algorithm or "norm")
    Precision.clip_gradients(precision, optimizer, value or 0.0, kind)
