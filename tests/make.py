"""What many tests begin with: files, small tasks, batches that they can learn from, and runs. Each
builder has one meaning; what a single file of tests needs stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from seqmodels import compose, load_run, train
from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch
from seqmodels.engine import Task
from seqmodels.padding import valid_steps
from seqmodels.runs import Run
from tests.in_process import WITHOUT_LOCAL


def write_file(folder: Path, name: str, content: str | bytes) -> str:
    """Writes a file, exactly as it is given, and returns its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def build_task(
    task: type[Task],
    data: Mapping[str, Any],
    head: str | None = None,
    *,
    hidden_size: int = 4,
    encoder: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Builds a small task of these data, with the same weights every time, in evaluation mode.

    Args:
        head: None for the one that the task takes by itself.
    """
    if head is not None:
        options["head"] = head
    torch.manual_seed(0)
    return task(dict(data), {"hidden_size": hidden_size, **(encoder or {})}, **options).eval()


def batch_for(task: Task, lengths: Sequence[int], *, seed: int = 0) -> Any:
    """Random rows of these lengths that a task can learn from: tokens or features, with a target
    for each row or each step, as the task predicts. The targets of padding are unknown.
    """
    data, generator = task.hparams["data"], torch.Generator().manual_seed(seed)
    rows, steps = len(lengths), max(lengths)
    padding = ~valid_steps(lengths, steps)
    inputs = _inputs_for(data, rows, steps, generator)
    sizes = torch.tensor(lengths)
    if task.contract.kind.decoder:
        texts = torch.randint(2, data["num_targets"], (rows, steps), generator=generator)
        targets = SequenceBatch(texts, sizes, texts.masked_fill(padding, PADDING_TARGET))
        return PairBatch.of(SequenceBatch(inputs, sizes), targets, [("a",)] * rows)
    if task.contract.target == "forecast":
        width = data["horizon"] * len(data["values"])
        targets = torch.randn(rows, width, generator=generator)
        return SequenceBatch(inputs, sizes, targets, scale=scale_for(data, rows))
    if task.contract.target == "value":
        targets = torch.randn(rows, steps, len(data["values"]), generator=generator)
        targets[padding] = torch.nan
    else:
        num_classes = len(data["classes"]) if "classes" in data else data["num_inputs"]
        targets = torch.randint(num_classes, (rows, steps), generator=generator)
        targets[padding] = PADDING_TARGET
    if task.contract.per == "sequence":
        targets = targets[:, 0]
    return SequenceBatch(inputs, sizes, targets)


def _inputs_for(
    data: Mapping[str, Any], rows: int, steps: int, generator: torch.Generator
) -> Tensor:
    if data.get("inputs") == "features":
        return torch.randn(rows, steps, data["num_inputs"], generator=generator)
    tokens = torch.randint(2, data["num_inputs"], (rows, steps), generator=generator)
    num_characters = data.get("num_characters")
    if not num_characters:
        return tokens
    characters = torch.randint(num_characters, (rows, steps, 4), generator=generator)
    characters = characters.sort(dim=2, descending=True).values  # padding is at the end of a word
    return torch.cat([tokens.unsqueeze(2), characters], dim=2)


def scale_for(data: Mapping[str, Any], rows: int) -> Tensor:
    """The means, deviations and naive errors of rows that come from each series in turn."""
    values, series = len(data["values"]), len(data["series"])
    statistics = [
        [of_series[:values] for of_series in data[name]]
        for name in ("mean", "deviation", "naive_error")
    ]
    scale = torch.tensor(statistics, dtype=torch.float64)  # (3, series, values)
    return scale[:, torch.arange(rows) % series].transpose(0, 1)


def run_of_series(folder: Path, steps: pd.DataFrame, *words: str, **tables: Any) -> Run:
    """Trains a classifier of series for a few steps, and loads its run."""
    quick = ("trainer=cpu", "trainer.max_steps=3", "model.encoder.hidden_size=8", "baseline=false")
    words = (f"folder={folder}", "data=series", *quick, *WITHOUT_LOCAL, *words)
    train(compose(*words), data={"train": steps, **tables})
    return load_run(folder)
