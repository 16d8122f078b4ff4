"""Lightning's Trainer with its known faults repaired, and metrics by step."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Annotated, Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.plugins import Precision
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from seqmodels.arguments import Count
from seqmodels.batch import SequenceBatch
from seqmodels.callbacks.checkpoints import ends_training
from seqmodels.callbacks.progress import StepMetrics
from seqmodels.engine.optimization import batches_per_epoch, limited
from seqmodels.errors import UserError, refusing
from seqmodels.machine import find_device
from seqmodels.runs.checkpoint import CheckpointFiles

LEAST_INTERVAL = 100  # batches from one validation to the next
# Between two validations, so many batches are trained for each batch of the validation, which costs
# about a third of one.
BATCHES_PER_VALIDATION = 2


# Strategies whose processes begin within this one, which cannot hand them what is built here.
WITHIN_THE_PROCESS = ("spawn", "fork", "notebook")
# Options for which Lightning imports a library that may not be installed, such as torch_xla.
NEEDY = ("accelerator", "strategy", "precision")
USUAL = (None, "auto", "32-true")  # With these values, they need nothing.
DEVICES = ("cpu", "gpu", "cuda", "mps")


def _duration(value: Any) -> Any:
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    if is_text and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", str(value).strip()):
        raise PydanticCustomError(
            "duration", "write days, hours, minutes and seconds, as 00:00:10:00 for ten minutes"
        )
    return value


HOOKS_OF_A_STEP = (
    *("on_train_batch_start", "on_train_batch_end"),
    *("on_validation_batch_start", "on_validation_batch_end"),
    *("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"),
)


Duration = Annotated[str | timedelta | dict[str, int] | None, BeforeValidator(_duration)]
ValidationInterval = Count | Annotated[float, Field(gt=0, le=1)] | Literal["auto"] | None


class Trainer(pl.Trainer):
    """`lightning.pytorch.Trainer` with the same arguments, which

    - resumes a finished epoch as a finished one, if there are `max_steps` (Lightning issue 19617);
    - ends every training with a validation, and so with a checkpoint;
    - logs metrics every `log_every_n_steps` steps without waiting for the device at the others;
    - writes checkpoints whole or not at all: Lightning's own writing ignores a PermissionError, and
      is not atomic where the folder for temporary files is on another disk;
    - converts batches for `precision=64-true` and the like, where Lightning refuses frozen ones;
    - refuses `precision=16-true`, in which Adam's second moments vanish;
    - takes `float32_matmul_precision`, of `torch.set_float32_matmul_precision`;
    - takes `val_check_interval=auto`: a validation every 100 batches, or more rarely, so that large
      validation splits take a small part of the training, too;
    - leaves signals alone: Lightning's SIGTERM ends with exit status 0, and at each step its
      processes wait for their devices to ask each other for it;
    - calls only those hooks of callbacks at each step that they define: of a small model's step,
      Lightning takes a tenth to call the empty ones.
    """

    def __init__(
        self,
        *,
        callbacks: list[Callback] | None = None,
        plugins: list[Any] | None = None,
        val_check_interval: ValidationInterval = 1.0,
        check_val_every_n_epoch: Count | None = 1,
        max_time: Duration = None,
        float32_matmul_precision: Literal["highest", "high", "medium"] = "highest",
        **options: Any,
    ) -> None:
        if options.get("precision") == "16-true":
            raise UserError(
                "trainer.precision=16-true: Adam's second moments vanish in float16, so the model "
                "would learn something else: use 16-mixed, bf16-mixed or bf16-true"
            )
        strategy = str(options.get("strategy"))
        if any(name in strategy for name in WITHIN_THE_PROCESS):
            raise UserError(
                f"trainer.strategy={strategy} starts processes within this one, which cannot take "
                "over what is built here: use trainer.strategy=ddp"
            )
        torch.set_float32_matmul_precision(float32_matmul_precision)
        is_by_size = val_check_interval == "auto"
        if is_by_size:
            # Batches are counted over epochs. `plan_validation` knows the size, and sets more.
            val_check_interval = LEAST_INTERVAL
            check_val_every_n_epoch = None
        if options.get("accelerator") in DEVICES:
            find_device(options["accelerator"], "trainer.accelerator")
        needy = [f"trainer.{key}={options[key]}" for key in NEEDY if options.get(key) not in USUAL]
        with refusing(f"{', '.join(needy)}: this machine lacks what that needs", ImportError):
            super().__init__(
                callbacks=[StepMetrics(), *(callbacks or [])],
                plugins=[*(plugins or []), CheckpointFiles()],
                val_check_interval=val_check_interval,
                check_val_every_n_epoch=check_val_every_n_epoch,
                max_time=max_time,
                **options,
            )
        # It comes after the timer of `max_time`, which Lightning adds, and before the checkpoints.
        all_callbacks: Any = self.callbacks  # type: ignore[attr-defined]
        position = len(all_callbacks)
        for number, callback in enumerate(all_callbacks):
            if isinstance(callback, Checkpoint):
                position = number
                break
        all_callbacks.insert(position, _EndWithValidation())
        self.validates_by_size = is_by_size and not self.fast_dev_run  # type: ignore[attr-defined]
        precision: Any = self.strategy.precision_plugin
        # The method of `Precision` itself does nothing.
        if type(precision).convert_input is not Precision.convert_input:
            precision.convert_input = partial(_converted, precision.convert_input)
        # Lightning asks for this only where to resume, which is the fault of its issue 19617.
        _replace(self.fit_loop, "_iteration_based_training", lambda: False)
        # No setting turns off what Lightning does with SIGTERM.
        _replace(getattr(self, "_signal_connector", None), "register_signal_handlers", lambda: None)
        _replace(self.fit_loop.epoch_loop, "_broadcast_sigterm_tensor", lambda: None)

    def fit(self, *arguments: Any, **options: Any) -> None:
        with _without_empty_hooks(self.callbacks):  # type: ignore[attr-defined]
            super().fit(*arguments, **options)


@contextmanager
def _without_empty_hooks(callbacks: Iterable[Callback]) -> Iterator[None]:
    """Within: a hook of each step that a callback doesn't define is None, which Lightning skips.
    The others are called as ever, in the order of the callbacks."""
    emptied = list[tuple[Callback, str]]()
    for callback, name in product(callbacks, HOOKS_OF_A_STEP):
        hook = getattr(callback, name)
        if getattr(hook, "__func__", None) is getattr(Callback, name):
            setattr(callback, name, None)
            emptied.append((callback, name))
    try:
        yield
    finally:
        for callback, name in emptied:
            # A callback that has got such a hook meanwhile keeps it.
            if vars(callback).get(name, callback) is None:
                delattr(callback, name)


def _replace(owner: object, name: str, function: Callable[[], Any]) -> None:
    """Replaces a method of Lightning's that is not public, if this release has it."""
    if not hasattr(owner, name):
        raise UserError(f"lightning {pl.__version__} has no {name} to replace: install 2.6.6")
    setattr(owner, name, function)


def _converted(convert: Callable[[Any], Any], batch: Any) -> Any:
    """The batch in the trainer's precision."""
    if isinstance(batch, SequenceBatch):
        # Targets keep their digits: losses and scores are never in half precision.
        return batch.map(convert, "inputs")
    return convert(batch)


class _EndWithValidation(Callback):
    """Validates the last step of a training, whatever the interval of its validations, and lets a
    longer training go on from there, also within an epoch."""

    def __init__(self) -> None:
        # The trainer's interval, while it validates at each batch; else None.
        self._interval: tuple[Any, Any] | None = None
        # The state of the loops, once a training has ended within an epoch.
        self._loops: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        # The checkpoint was saved in a validation, which a resume must not do again. Lightning asks
        # the interval whether there was one, and the interval knows of none at the end.
        if trainer.fit_loop.epoch_loop.restarted_on_last:
            self._validate_now(trainer)
            if ends_training(trainer):  # it stays where early stopping has ended it
                self._keep_loops(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if ends_training(trainer):
            self._validate_now(trainer)
            self._keep_loops(trainer)
        elif self._interval is not None:
            self._restore_interval(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        is_training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if is_training and ends_training(trainer):  # early stopping may just have said so
            self._keep_loops(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._loops is not None:
            checkpoint["loops"]["fit_loop"] = self._loops

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._restore_interval(trainer)

    def _validate_now(self, trainer: pl.Trainer) -> None:
        if self._interval is None:
            self._interval = trainer.val_check_batch, trainer.check_val_every_n_epoch
        trainer.val_check_batch = 1
        if trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1

    def _restore_interval(self, trainer: pl.Trainer) -> None:
        if self._interval is not None:
            trainer.val_check_batch, trainer.check_val_every_n_epoch = self._interval
            self._interval = None

    def _keep_loops(self, trainer: pl.Trainer) -> None:
        # At its end, Lightning counts an epoch as a whole one, and a longer training would leave
        # out its other batches.
        if not trainer.is_last_batch:
            self._loops = trainer.fit_loop.state_dict()


def plan_validation(trainer: Trainer, data: pl.LightningDataModule) -> None:
    """Plans validations, after which checkpoints are saved and the best is chosen."""
    if trainer.validates_by_size:
        batches = limited(len(data.val_dataloader()), trainer.limit_val_batches)
        trainer.val_check_interval = max(LEAST_INTERVAL, BATCHES_PER_VALIDATION * batches)
    interval = trainer.val_check_interval
    is_within_epoch = trainer.check_val_every_n_epoch is not None
    if is_within_epoch and isinstance(interval, int):
        batches = batches_per_epoch(trainer, data)
        if interval > batches:
            raise UserError(
                f"trainer.val_check_interval={interval} is more than the {batches} batches of an "
                "epoch: set trainer.check_val_every_n_epoch=null to count them across epochs"
            )


def quieten_lightning() -> None:
    # These hints help if you configure Lightning by hand, which configs/ has already done.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for hint in (
        "does not have many workers",
        "smaller than the logging interval",
        "LeafSpec",
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed",
        "It is recommended to use .*sync_dist",  # torchmetrics already synchronises processes.
    ):
        warnings.filterwarnings("ignore", f".*{hint}")
