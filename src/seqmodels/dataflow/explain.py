"""Explain a model without training it: a table, and a picture."""

from __future__ import annotations

from pathlib import Path

import torch

from seqmodels.batch import PairBatch, SequenceBatch
from seqmodels.dataflow.diagram import draw, to_svg
from seqmodels.dataflow.table import tensor_table
from seqmodels.dataflow.tracing import trace
from seqmodels.engine import Task
from seqmodels.files import write_text
from seqmodels.screen import Screen

TIME = 5  # steps of the first row
LENGTH = 4  # steps of the second one
TARGET_STEPS = 4


def explain(task: Task, folder: str | Path) -> None:
    """Prints the table of tensors of a model, and writes its picture, `dataflow.svg`, to a folder.

    Raises:
        UserError: if its head reads other tensors than it declares.
    """
    traced = trace(task.network, example_batch(task, LENGTH))
    console = Screen()
    console.print(tensor_table(task, traced))
    path = Path(folder, "dataflow.svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing = draw(task, traced, row=1)
    write_text(path, to_svg(drawing))
    console.print(f"{path}", soft_wrap=True)


def example_batch(task: Task, *lengths: int) -> SequenceBatch:
    """A row of `TIME` steps, and one row of each length, which begin with the same inputs; for a
    decoder, with a target of `TARGET_STEPS` steps each."""
    generator = torch.Generator().manual_seed(0)
    data = task.hparams["data"]
    if data.get("inputs") == "features":
        inputs = torch.randn(2, TIME, data["num_inputs"], generator=generator)
    else:
        inputs = torch.randint(data["num_inputs"], (2, TIME), generator=generator)
    rows = [0] + [1] * len(lengths)
    source = SequenceBatch(inputs[rows], torch.tensor([TIME, *lengths]))
    if not task.contract.kind.decoder:
        return source
    target = torch.randint(1, data["num_targets"], (1, TARGET_STEPS), generator=generator)
    target[:, 0] = data["start"]
    target_lengths = torch.full((len(rows),), TARGET_STEPS)
    targets = SequenceBatch(target.expand(len(rows), -1), target_lengths)
    return PairBatch.of(source, targets)
