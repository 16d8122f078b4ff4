"""What every task needs to be optimised and resumed, from plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import Head, build_head, find_head
from seqmodels.instantiate import instantiate
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.state import State

T = TypeVar("T")

TOTAL_STEPS = "total_steps"


class TrainingTask(pl.LightningModule):
    """A LightningModule with hyper-parameters `optimizer` and `scheduler`, resumed bit for bit.

    `hparams["optimizer"]` and `hparams["scheduler"]` are plain dicts with a `_target_`. The
    scheduler goes by step, and a value "total_steps" in it stands for the number of optimiser steps
    of the whole training.
    """

    every_step: ClassVar[bool]  # whether it needs a head that predicts at every step
    unit: ClassVar[str]  # what `seen` counts: `examples`, `tokens`
    curves: ClassVar[tuple[str, ...]]  # the metrics to draw, by epoch
    embedding: nn.Module
    encoder: RecurrentEncoder
    head: Head

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0  # in training, by this process
        self.allowed_targets: tuple[str, ...] = ()  # as in `instantiate`; never from a checkpoint
        self._total_steps: int | None = None
        self._resumed: dict[str, Any] | None = None

    @classmethod
    def check(cls, model: Mapping[str, Any]) -> None:
        """Whether encoder and head can be built as `model` says, before any data are read.

        Raises:
            UserError: naming the key and what to change.
        """
        with torch.device("meta"):  # which takes neither memory nor random numbers
            build_head(
                model["head"],
                build_encoder(
                    1, model["encoder"], find_head(model["head"], every_step=cls.every_step)
                ),
                2**31 - 1,
                options=model.get("head_options"),
                embedding=nn.Embedding(2**31 - 1, 1),
            )

    def embed(self, batch: SequenceBatch) -> Float[Tensor, "batch time embedding"]:
        """The encoder's inputs, `(B, T, E)`."""
        raise NotImplementedError(f"{type(self).__name__} must define embed")

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

    def on_train_batch_end(self, *_: Any) -> None:
        # otherwise Lightning ends there without a validation, and so without a checkpoint
        if self.trainer.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True

    def log_metrics(self, metrics: Mapping[str, Tensor], in_bar: str) -> None:
        """Of a whole epoch; one of them is in the progress bar.

        Raises:
            UserError: if the loss of a validation is not finite, before its weights are saved.
        """
        loss = metrics.get("validation/loss")
        if loss is not None and not bool(loss.isfinite()):
            raise UserError(
                f"validation/loss is {float(loss)} after {self.trainer.global_step} steps, so the "
                "training has diverged: lower model.optimizer.lr, or set trainer.gradient_clip_val"
            )
        for name, value in metrics.items():
            self.log(name, value, prog_bar=name == in_bar)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning refuses to clip for a fused optimiser in mixed precision, because that one
        # undoes the scaling of float16 gradients itself; but bfloat16 has no scaling
        precision = self.trainer.precision_plugin
        if isinstance(precision, MixedPrecision) and optimizer.defaults.get("fused"):
            if precision.scaler is not None:
                raise UserError(
                    "trainer.precision=16-mixed cannot clip the gradients of a fused optimizer: "
                    "set model.optimizer.fused=false, or trainer.precision=bf16-mixed"
                )
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(precision, optimizer, gradient_clip_val or 0.0, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    # Lightning saves no random state, and dropout draws from it

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        process: dict[str, Any] = {"cpu": torch.get_rng_state(), **self.process_state()}
        if self.device.type == "cuda":
            process["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint["resume"] = {
            "total_steps": self._total_steps,
            "processes": everyone(process),
        }

    def process_state(self) -> dict[str, Any]:
        """What else each process has of its own and needs to go on, on the CPU."""
        return {}

    def restore_process_state(self, state: dict[str, Any]) -> None:
        """Takes what `process_state` gave."""

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
        processes = self._resumed["processes"]
        if len(processes) != self.trainer.world_size:
            raise UserError(
                f"the checkpoint is of a training with {len(processes)} processes and this one has "
                f"{self.trainer.world_size}: keep trainer.devices as it was"
            )
        state = processes[self.trainer.global_rank]
        self.restore_process_state(state)
        torch.set_rng_state(state["cpu"])
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.device)
        self._resumed = None


def build_encoder(width: int, options: Mapping[str, Any], head: type[Head]) -> RecurrentEncoder:
    """The encoder for this head; `bidirectional` None means what the head needs.

    Raises:
        UserError: naming the key and what to change.
    """
    options = dict(options)
    if options.get("bidirectional") is None:
        options["bidirectional"] = head.requires_bidirectional or False
    try:
        return RecurrentEncoder(width, **options)
    except TypeError as error:  # a key that no encoder has
        raise UserError(f"model.encoder: {error}") from error
    except ValueError as error:
        raise UserError(f"model.{error}") from error


def drop_tokens(embedded: Tensor, share: float) -> Tensor:
    """Sets the embeddings `(B, T, E)` of a random share of the tokens to zero."""
    if not share:
        return embedded
    return embedded * (torch.rand_like(embedded[..., :1]) >= share)


def mean_loss() -> MeanMetric:
    """By default, the metric leaves nans out; in this one they stay what they are."""
    return MeanMetric(nan_strategy=math.nan)


def everyone(value: T) -> list[T]:
    """The value of each process, by rank."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


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
    return trainer.max_epochs * -(
        -batches_per_epoch(trainer, data) // trainer.accumulate_grad_batches
    )


def batches_per_epoch(trainer: pl.Trainer, data: pl.LightningDataModule) -> int:
    """Of the training, on each process."""
    batches = len(data.train_dataloader())
    limit = trainer.overfit_batches or trainer.limit_train_batches  # type: ignore[attr-defined]
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def as_model(task: TrainingTask) -> Callable[..., Any]:
    """A task as `audit` takes a model; a language model carries its state."""

    def classify(inputs: Tensor, lengths: Tensor) -> Tensor:
        return task(SequenceBatch(inputs, lengths))

    def predict_next(
        inputs: Tensor, lengths: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        states = task.encoder(task.embed(SequenceBatch(inputs, lengths)), lengths, state)
        return task.head(states), states.state

    return predict_next if task.every_step else classify
