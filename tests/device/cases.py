"""Small tasks and batches for tests on an accelerator."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.engine import Task
from seqmodels.heads import HEADS
from seqmodels.tasks import TASKS
from tests.device.pretended import Seen
from tests.make import batch_for
from tests.networks import fits

BY_NAME = {task.__name__: task for task in TASKS}
PAIRS = [(task, head) for task in TASKS for head in HEADS if fits(head, task)]


def of_tasks(cases: list[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    """Those whose task, the first of each, is there: a project may have deleted its folder."""
    return [case for case in cases if case[0] in BY_NAME]


def two_layer_task(task: type[Task], head: str, encoder: Mapping[str, Any], **options: Any) -> Task:
    """A small one, of two layers, without dropout unless you set it."""
    data = {**task.contract.kind.example, "longest": 4, **options.pop("data", {})}
    still = {"dropout": 0.0, "embedding": {"dropout": 0.0, **options.pop("embedding", {})}}
    return task(data, {"hidden_size": 16, "num_layers": 2, **encoder}, head, **(still | options))


def small_batch(task: Task, *, ragged: bool = True) -> SequenceBatch:
    """Rows of different lengths, where the task has them, with targets."""
    same = not ragged or task.contract.stateful or task.contract.target == "forecast"
    return batch_for(task, [5, 5, 5] if same else [5, 3, 2])


@contextmanager
def without_waits(device: torch.device) -> Iterator[None]:
    """Fails if the host waits for the device within."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return
    before = Seen.waits.copy()
    yield
    assert not (waits := Seen.waits - before), f"the host waits: {dict(waits)}"


def train_step(task: Task, batch: SequenceBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and the gradients of a step, on the CPU. Fails if the host waits in between."""
    batch = batch.pin_memory() if task.device.type != "cpu" else batch  # as the loader does
    with without_waits(task.device):
        batch = batch.to(task.device)
        task.zero_grad()
        loss = task.training_step(batch)
        loss.backward()
    gradients = {n: p.grad.cpu().clone() for n, p in task.named_parameters() if p.grad is not None}
    return loss.detach().cpu(), gradients


def compare_with_cpu(
    task: Task, batch: SequenceBatch, device: torch.device, *, random: bool = False
) -> None:
    """Fails if a training step on the device waits for it, or if loss and gradients, or the scores
    of a validation step, differ from the CPU's; with `random` numbers, only if it waits."""
    found = []
    for each in (torch.device("cpu"), device):
        there = copy.deepcopy(task).to(each).train()
        if each.type == "cuda":  # the first call initialises libraries, and may wait
            there.training_step(batch.to(each))
            there.sums.clear()
        torch.manual_seed(0)
        loss, gradients = train_step(there, batch)
        assert there.device.type == each.type
        measured = {}
        if not there.contract.kind.decoder:  # whose validation needs more than an example has
            with torch.no_grad():
                there.eval().validation_step(batch.to(each))
            measured = {k: v.cpu() for k, v in there.measured(there.sums["validation"]).items()}
        found.append({"loss": loss, **gradients, **({} if random else measured)})
    expected, made = found
    assert made.keys() == expected.keys()
    # on a GPU, TF32 has 10 bits
    tolerance = 1e-2 if device.type == "cuda" else 1e-4
    for name, value in ({} if random else expected).items():
        scale = float(value.abs().max().nan_to_num(1.0))
        torch.testing.assert_close(
            made[name], value, rtol=tolerance, atol=tolerance * scale, equal_nan=True, msg=name
        )


class StepWaits(Callback):
    """Counts what the host waits for from the first batch of an epoch to its last, without the
    validations."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.before: Counter[str] | None = None

    def on_train_epoch_start(self, *_: Any) -> None:
        self.before = Seen.waits.copy()

    def on_train_batch_start(self, *_: Any) -> None:
        self.before = self.before or Seen.waits.copy()  # after a validation

    def on_train_epoch_end(self, *_: Any) -> None:
        if self.before is not None:
            self.found += Seen.waits - self.before
        self.before = None

    on_validation_start = on_train_epoch_end
