"""Small tasks with batches of targets that are all there, in part, or missing; and what a training
step makes of them in each of several processes."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch
from seqmodels.engine import Task
from seqmodels.tasks import TASKS
from tests.make import batch_for, build_task

ROWS, STEPS, HALF = 7, 5, 3  # of which the first process has HALF rows
LENGTHS = [5, 2, 4, 1, 5, 3, 4]
WEIGHTS = {"class_weights": [2.0, 0.0, 50.0]}
QUANTILES = {"quantiles": [0.1, 0.5, 0.9]}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "classes": ("SequenceClassifier", "last_hidden", {}),
    "weighted classes": ("SequenceClassifier", "max_pool", {"output": WEIGHTS}),
    "tags": ("Tagger", "every_step", {}),
    "weighted tags": ("Tagger", "every_step", {"output": WEIGHTS}),
    "a CRF": ("Tagger", "every_step", {"output": {"kind": "crf"}}),
    "values": ("Regressor", "mean_pool", {}),
    "quantiles": ("Regressor", "mean_pool", {"output": QUANTILES}),
    "values of steps": ("Regressor", "every_step", {"output": {"error": "huber"}}),
    "forecasts": ("Forecaster", "last_hidden", {"segment": 2}),
    "quantiles of forecasts": ("Forecaster", "last_hidden", {"output": QUANTILES}),
    "forecasts step by step": ("Forecaster", "every_step", {}),
    "a language model": ("LanguageModel", "softmax", {"output": {"label_smoothing": 0.1}}),
    "texts": ("Seq2Seq", "attention", {}),
}
BY_NAME = {task.__name__: task for task in TASKS}  # a project may have deleted one
NAMES = [name for name, (task, _, _) in CASES.items() if task in BY_NAME]


def task_of(name: str) -> Task:
    """A small one, the same each time."""
    kind, head, options = CASES[name]
    task = BY_NAME[kind]
    data = task.contract.kind.example
    return build_task(task, data, head, hidden_size=6, dropout=0.0, **options).train()


def partly_known(task: Task) -> SequenceBatch:
    """Rows of which some have no target, or none at some steps."""
    is_forecaster = task.contract.target == "forecast"
    batch = batch_for(task, [STEPS] * ROWS if is_forecaster else LENGTHS, seed=1)
    if task.contract.kind.decoder:
        return batch
    unknown = torch.nan if batch.targets.is_floating_point() else PADDING_TARGET
    batch.targets[5] = unknown
    if is_forecaster:
        batch.targets[2, 1] = unknown
    elif task.contract.per == "step":
        batch.targets[4, 2] = unknown
    return batch


def rows_of(batch: SequenceBatch, rows: slice) -> SequenceBatch:
    """A part of a batch."""
    scale = None if batch.scale is None else batch.scale[rows]
    targets = None if batch.targets is None else batch.targets[rows]
    if isinstance(batch, PairBatch):
        source = SequenceBatch(batch.inputs[rows], batch.lengths[rows])
        return PairBatch.of(source, rows_of(batch.target, rows))
    return SequenceBatch(batch.inputs[rows], batch.lengths[rows], targets, scale=scale)


def without_targets(batch: SequenceBatch, rows: slice) -> SequenceBatch:
    """With no target in these rows."""
    if isinstance(batch, PairBatch):
        return replace(batch, target=without_targets(batch.target, rows))
    assert batch.targets is not None
    targets = batch.targets.clone()
    targets[rows] = torch.nan if targets.is_floating_point() else PADDING_TARGET
    return replace(batch, targets=targets)


def batches_of(task: Task) -> dict[str, SequenceBatch]:
    """As it is, with no target in what the second process has, and with none at all."""
    batch = partly_known(task)
    half, every = slice(HALF, None), slice(None)
    return {"all": batch} | {
        text: without_targets(batch, rows) for text, rows in (("half", half), ("none", every))
    }


def step_of(task: Task, batch: SequenceBatch) -> list[Tensor]:
    """The loss that is learned, and the gradients."""
    task.zero_grad()
    loss = task.training_step(batch)
    loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in task.parameters()]
    return [loss.detach(), *gradients]


def run(folder: str, rank: int) -> None:
    """Of one of two processes: saves the means over both of what `step_of` gives."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    distributed.init_process_group(
        "gloo", rendezvous, timedelta(seconds=120), rank=rank, world_size=2
    )
    try:
        found = _means(slice(0, HALF) if rank == 0 else slice(HALF, None))
    finally:
        distributed.destroy_process_group()
    if rank == 0:
        torch.save(found, Path(folder, "found.pt"))


def _means(rows: slice) -> dict[tuple[str, str], list[Tensor]]:
    """Over both processes, of which this one has these rows of each batch."""
    found = {}
    for name in NAMES:
        task = task_of(name)
        for text, batch in batches_of(task).items():
            made = step_of(task, rows_of(batch, rows))
            for value in made:
                distributed.all_reduce(value)
            found[name, text] = [value / 2 for value in made]
    return found


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
