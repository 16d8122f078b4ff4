"""A look at the device of a run: does it compute what the CPU computes?"""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels.errors import UserError, unusable
from seqmodels.kernels.first_look import first_look, seconds_on_cpu
from seqmodels.kernels.precision import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, TF32, Precision

log = logging.getLogger(__name__)
# The CPU may take no longer than this for a batch.
MOST_SECONDS = 2.0


class DeviceLook(Callback):
    """Compares the first batch of a training, and the largest one of its first epoch, with the CPU,
    in evaluation. If rounding doesn't explain the difference, it logs a line that names
    `seqmodels device`; if the comparison itself fails, such as for lack of memory, the line says
    why. The run goes on after both.

    It does nothing on a CPU, nor where the CPU would take more than two seconds. Weights, modes and
    random numbers stay as they are, so that a training is the same with or without it.
    """

    def __init__(self) -> None:
        self._first_size = 0
        self._largest_size = 0
        self._largest: Any = None  # the batch, until the first epoch ends

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._first_size = 0
        self._largest_size = 0
        self._largest = None
        vars(self).pop("on_train_batch_start", None)
        if trainer.strategy.root_device.type == "cpu":
            self._end()

    def _end(self) -> None:
        """Leaves later steps alone: Lightning skips a hook that is None."""
        self._largest = None
        self.on_train_batch_start = None  # type: ignore[method-assign, assignment]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        size = batch.inputs.shape[0] * batch.inputs.shape[1]
        if not self._first_size:
            self._first_size = size
            self._look(trainer, pl_module, batch, "first")
        elif size > max(self._first_size, self._largest_size):
            self._largest_size = size
            self._largest = batch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._largest is not None:
            self._look(trainer, pl_module, self._largest, "largest")
        self._end()

    def _look(self, trainer: pl.Trainer, task: Any, batch: Any, which: str) -> None:
        device = trainer.strategy.root_device
        what_fails = f"the {which} batch could not be compared with the CPU on {device}"
        try:
            # A training must not end by what only looks at it.
            with unusable(what_fails):
                self._compare(trainer, task, batch, which)
        except UserError as error:
            log.warning(f"{error}: run seqmodels device")
            self._end()

    def _compare(self, trainer: pl.Trainer, task: Any, batch: Any, which: str) -> None:
        if seconds_on_cpu(task.network, batch) > MOST_SECONDS:
            return
        device = trainer.strategy.root_device
        precision = _precision(trainer, device)
        context = trainer.precision_plugin.forward_context
        difference, bound = first_look(task.network, batch, precision, device, context)
        if not difference <= bound:
            log.warning(
                f"on {device}, the {which} batch differs from the CPU by {difference:.1g}, of "
                f"which {precision.name} explains {bound:.1g}: run seqmodels device"
            )


def _precision(trainer: pl.Trainer, device: torch.device) -> Precision:
    name = str(trainer.precision)
    if name.startswith("bf16"):
        return BFLOAT16
    if name.startswith("16"):
        return FLOAT16
    if name.startswith("64"):
        return FLOAT64
    allows_tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return TF32 if device.type == "cuda" and allows_tf32 else FLOAT32
