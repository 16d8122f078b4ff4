"""Show which tensor a model reads, before and after training, and refuse to train a wrong one."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels.audit import audit
from seqmodels.batch import PairBatch, SequenceBatch
from seqmodels.dataflow.diagram import draw, to_svg
from seqmodels.dataflow.steps import pictures_of_steps
from seqmodels.dataflow.table import tensor_table
from seqmodels.dataflow.tracing import MOST_TOKENS, few_tokens, trace
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.files import write_pictures, write_text
from seqmodels.mistakes import MISTAKES
from seqmodels.screen import Screen

log = logging.getLogger(__name__)

DRAWN_STEPS = 5  # The picture has room for no more.
# Rows are traced up to here, and those with a prediction at every step up to a quarter of it: more
# steps take seconds.
MOST_STEPS = 2048
# A row that is traced has at most so many numbers, its steps times its features.
MOST_NUMBERS = 400_000
# Our tests audit the modules of these packages thoroughly.
TESTED_PACKAGES = {"seqmodels", "torch"}


class Dataflow(Callback):
    """Before the first step: traces a real batch, audits the model, prints the table of tensors and
    draws `dataflow.svg`; after the last step, draws it again. After a test: draws which steps of
    some rows count for their predictions.

    Args:
        refuse: whether an error found by the audit stops the training or is only a warning.

    Raises:
        UserError: when the training starts, for a model that leaks or loses a direction, or a
            head that reads other tensors than it declares.
    """

    def __init__(self, refuse: bool = True) -> None:
        self.refuse = refuse
        # The batch that is drawn, if possible one of the validation.
        self._batch: SequenceBatch | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = cast(Task, pl_module)
        batch = _first_batch(trainer.fit_loop, task)
        assert batch is not None
        traced = trace(task.network, few_steps(batch, steps_to_trace(task, batch)))
        self._audit(task, batch)
        if not trainer.is_global_zero:
            return
        Screen().print(tensor_table(task, traced, batch))
        validation_batch = _first_batch(trainer.fit_loop.epoch_loop.val_loop, task)
        self._batch = few_steps(validation_batch or batch)
        _draw(task, self._batch, trainer)

    def _audit(self, task: Task, batch: SequenceBatch) -> None:
        """Audits the network on a batch; a finding is an error or a warning, with its cure."""
        inputs = batch.inputs
        kind = "per_step" if task.contract.per == "step" else "sequence"
        options: dict[str, Any] = {
            "causal": task.contract.causal,
            "thorough": not only_ours(task),
        }
        vocabulary: Any = nullcontext()  # how much of it is audited: at first all
        if isinstance(batch, PairBatch):
            kind = "seq2seq"
            options["target_inputs"] = batch.target.inputs
        elif not inputs.is_floating_point():
            inputs = inputs % MOST_TOKENS
            vocabulary = few_tokens(task.network.head.output, task.network.embedding)
        with vocabulary:
            result = audit(task.network, inputs, batch.lengths, kind, **options)

        for finding in result.findings:
            message = (
                f"model.head={task.network.head.name}: {finding.name}: {finding.evidence}; "
                f"{MISTAKES[finding.name].cure}"
            )
            if finding.severity == "error" and self.refuse:
                raise UserError(f"{message}; set callbacks.dataflow.refuse=false to train anyway")
            log.warning(message)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._batch is not None:
            _draw(cast(Task, pl_module), self._batch, trainer)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            dataset = getattr(trainer.test_dataloaders, "dataset", None)
            pictures = pictures_of_steps(cast(Task, pl_module), dataset)
            write_pictures(Path(trainer.default_root_dir, "figures"), pictures)


def only_ours(task: Task) -> bool:
    """Whether PyTorch and this package, whose tests are thorough, define all modules of a task."""
    packages = {type(module).__module__.partition(".")[0] for module in task.modules()}
    return packages <= TESTED_PACKAGES


def _first_batch(loop: Any, task: Task) -> SequenceBatch | None:
    """The first batch of a loop's data, on the task's device; None for a loop without data."""
    # We make a new loader, because the one of the training may be in the middle of an epoch. Before
    # the training starts, Lightning has no public name for the loaders that `fit` was given.
    if not loop._data_source.is_defined():
        return None
    loader = loop._data_source.dataloader()
    if isinstance(loader, list | tuple):
        loader = loader[0]
    batch = next(iter(loader))
    return task.ready(batch)


def _draw(task: Task, batch: SequenceBatch, trainer: pl.Trainer) -> None:
    """Draws the second row of a batch, which has padding, in `dataflow.svg` of the run folder."""
    # After a training, Lightning has moved the task to the CPU, so the batch follows it.
    traced = trace(task.network, task.ready(batch))
    picture = to_svg(draw(task, traced, row=1))
    write_text(Path(trainer.default_root_dir, "dataflow.svg"), picture)


def steps_to_trace(task: Task, batch: SequenceBatch) -> int:
    """The steps up to which the rows of a batch are traced."""
    most_steps = MOST_STEPS
    if task.contract.per == "step":
        most_steps = MOST_STEPS // 4
    if task.network.window:
        most_steps = task.network.window
    if not batch.inputs.is_floating_point():
        return most_steps
    steps_that_fit = MOST_NUMBERS // batch.inputs.shape[2]
    return min(most_steps, max(steps_that_fit, DRAWN_STEPS))


def few_steps(batch: SequenceBatch, most: int = DRAWN_STEPS) -> SequenceBatch:
    """Two rows, cut to so many steps, the second with a step of padding; of a pair, both sides."""
    first = int(batch.lengths.argmax())
    second = 1 if first == 0 else 0
    if len(batch) == 1:
        second = first

    def cut(side: SequenceBatch) -> SequenceBatch:
        time = min(int(side.lengths[first]), most)
        length = max(min(int(side.lengths[second]), time - 1), 1)
        inputs = side.inputs[[first, second], :time].clone()
        inputs[1, length:] = 0
        return SequenceBatch(inputs, torch.tensor([time, length]))

    if isinstance(batch, PairBatch):
        return PairBatch.of(cut(batch), cut(batch.target))
    return cut(batch)
