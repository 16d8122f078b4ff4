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

DRAWN_STEPS = 5  # in dataflow.svg
MOST_STEPS = 512  # to trace of long rows with a prediction at every step: thousands take seconds
OURS = {"seqmodels", "torch"}


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
        self._batch: SequenceBatch | None = None  # to draw, from the validation split

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = cast(Task, pl_module)
        batch = _first_batch(trainer.fit_loop, task)
        assert batch is not None
        most = MOST_STEPS if task.contract.per == "step" else batch.inputs.shape[1]
        seen = trace(task.network, few_steps(batch, task.network.window or most))
        self._audit(task, batch)
        if not trainer.is_global_zero:
            return
        Screen().print(tensor_table(task, seen, batch))
        held_out = _first_batch(trainer.fit_loop.epoch_loop.val_loop, task) or batch
        self._batch = few_steps(held_out)
        _draw(task, self._batch, trainer)

    def _audit(self, task: Task, batch: SequenceBatch) -> None:
        kind, inputs = "per_step" if task.contract.per == "step" else "sequence", batch.inputs
        how: dict[str, Any] = {"causal": task.contract.causal, "thorough": not only_ours(task)}
        narrow: Any = nullcontext()
        if isinstance(batch, PairBatch):
            kind, how["target_inputs"] = "seq2seq", batch.target.inputs
        elif not inputs.is_floating_point():
            inputs = inputs % MOST_TOKENS
            narrow = few_tokens(task.network.head.output, task.network.embedding)
        with narrow:
            result = audit(task.network, inputs, batch.lengths, kind, **how)
        for finding in result.findings:
            what = f"{finding.name}: {finding.evidence}; {MISTAKES[finding.name].cure}"
            found = f"model.head={task.network.head.name}: {what}"
            if finding.severity == "error" and self.refuse:
                raise UserError(f"{found}; set callbacks.dataflow.refuse=false to train anyway")
            log.warning(found)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._batch is not None:
            _draw(cast(Task, pl_module), self._batch, trainer)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            dataset = getattr(trainer.test_dataloaders, "dataset", None)
            pictures = pictures_of_steps(cast(Task, pl_module), dataset)
            write_pictures(Path(trainer.default_root_dir, "figures"), pictures)


def only_ours(task: Task) -> bool:
    """Whether PyTorch and this package, whose tests are thorough, define all parts of a model."""
    return {type(part).__module__.partition(".")[0] for part in task.modules()} <= OURS


def _first_batch(loop: Any, task: Task) -> SequenceBatch | None:
    # from a new loader, because the one of the training may be in the middle of an epoch; before
    # the training starts, Lightning has no public name for the loaders that `fit` was given
    if not loop._data_source.is_defined():
        return None
    loaders = loop._data_source.dataloader()
    return task.ready(next(iter(loaders[0] if isinstance(loaders, list | tuple) else loaders)))


def _draw(task: Task, batch: SequenceBatch, trainer: pl.Trainer) -> None:
    # after a training, Lightning has moved the task to the CPU
    picture = to_svg(draw(task, trace(task.network, task.ready(batch)), row=1))
    write_text(Path(trainer.default_root_dir, "dataflow.svg"), picture)


def few_steps(batch: SequenceBatch, most: int = DRAWN_STEPS) -> SequenceBatch:
    """Two rows, cut to so many steps, the second with a step of padding; of a pair, both sides."""
    first = int(batch.lengths.argmax())
    second = next((row for row in range(len(batch)) if row != first), first)

    def cut(side: SequenceBatch) -> SequenceBatch:
        time = min(int(side.lengths[first]), most)
        length = max(min(int(side.lengths[second]), time - 1), 1)
        inputs = side.inputs[[first, second], :time].clone()
        inputs[1, length:] = 0
        return SequenceBatch(inputs, torch.tensor([time, length]))

    if isinstance(batch, PairBatch):
        return PairBatch.of(cut(batch), cut(batch.target))
    return cut(batch)
