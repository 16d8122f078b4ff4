"""What a model for each step is worth while a series arrives, if it reads later steps, too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, SequenceBatch
from seqmodels.data import DataModule, SequenceDataModule
from seqmodels.engine import Task
from seqmodels.engine.contract import Sums
from seqmodels.errors import UserError, listed
from seqmodels.metrics import show_with_unit

# How much of the test split is read: series, beginnings of each, and steps of all these beginnings,
# which take a few seconds.
MOST_SERIES = 20
MOST_BEGINNINGS = 50
MOST_STEPS = 200_000


def looks_ahead(task: Task, data: DataModule) -> str:
    """Says that each step of a series is predicted from later ones, too, and which keys change
    that; empty if it isn't, or if rows are texts, which are there as a whole."""
    contract = task.contract
    if contract.per != "step" or contract.causal or data.spec.get("inputs") != "features":
        return ""
    keys = []
    if task.network.encoder.bidirectional:
        keys.append("model.encoder.bidirectional=false")
    if task.network.convolutions is not None:
        keys.append("model.embedding.convolutions=null")
    if task.network.head.output.links_steps:
        keys.append("model.output.kind=classes")
    sentences = []
    if keys:
        sentences.append(
            "each step is predicted from later steps, too: to predict while a series arrives, set "
            + listed(keys)
        )
    reason_of_data = data.reads_whole_rows()
    if reason_of_data:
        sentences.append(reason_of_data)
    return "; ".join(sentences)


def at_newest_step(task: Task, data: DataModule) -> str:
    """The test's metric where each step is predicted from the steps up to it alone, beside that of
    the same steps in whole rows; empty for a model that does not look ahead."""
    if not looks_ahead(task, data) or not isinstance(data, SequenceDataModule):
        return ""
    sums_at_newest, sums_of_whole = Sums(), Sums()
    num_steps = 0
    rows = _spread(len(data.datasets["test"]), MOST_SERIES).tolist()
    task.eval()
    with torch.no_grad():
        for row in rows:
            for beginnings, whole_row in _batches(data, row, MOST_STEPS // len(rows)):
                sums_at_newest.add(task.step(task.ready(beginnings)))
                sums_of_whole.add(task.step(task.ready(whole_row)))
                num_steps += len(beginnings)
    if not num_steps:
        return ""
    name = f"test/{task.contract.kind.metric}"
    score_at_newest = _score(task, sums_at_newest)
    score_of_whole = _score(task, sums_of_whole)
    return (
        f"At the newest step of what has arrived ({len(rows)} test series, {num_steps:,} steps): "
        f"{name} {score_at_newest}, where whole series give {score_of_whole} at the same steps."
    )


def _score(task: Task, sums: Sums) -> str:
    """The metric that the task is compared by, from the sums of its steps."""
    metric = task.contract.kind.metric
    score = float(task.scores(sums.totals)[metric])
    return show_with_unit(f"test/{metric}", score)


def _batches(
    data: SequenceDataModule, row: int, most_steps: int
) -> Iterator[tuple[SequenceBatch, SequenceBatch]]:
    """Pairs of two batches from a row of the test split: beginnings of it, each with its last
    target alone; and the whole row alone, with the targets of the same steps."""
    raw = data.examples["test"].inputs[row]
    dataset = data.datasets["test"]
    targets = dataset.targets[row]  # (T,) or (T, K)
    # On average, a beginning is half as long as the row.
    beginnings_that_fit = max(1, 2 * most_steps // len(targets))
    most_beginnings = min(MOST_BEGINNINGS, beginnings_that_fit)
    all_lengths = 1 + _spread(len(targets), most_beginnings)
    num_batches = math.ceil(len(all_lengths) / data.batch_size)
    for chunk in np.array_split(all_lengths, num_batches):
        beginnings = []
        lengths = []
        for length in chunk.tolist():
            # Nobody can predict from a beginning that the encoding refuses, such as one without any
            # value to interpolate from.
            with suppress(UserError):
                beginning = data.beginning(raw, length)
                data.batch_of([beginning])
                beginnings.append(beginning)
                lengths.append(length)
        if not lengths:
            continue
        last_steps = torch.tensor(lengths) - 1  # (N,)
        last_targets = targets[last_steps]  # (N,) or (N, K)

        targets_of_beginnings = _no_targets(targets, (len(lengths), max(lengths)))
        targets_of_beginnings[torch.arange(len(lengths)), last_steps] = last_targets
        batch_of_beginnings = replace(data.batch_of(beginnings), targets=targets_of_beginnings)

        targets_of_row = _no_targets(targets, (1, len(targets)))
        targets_of_row[0, last_steps] = last_targets
        batch_of_row = dataset.__getitems__([row])
        whole_row = replace(batch_of_row, targets=targets_of_row, weights=None)
        yield batch_of_beginnings, whole_row


def _no_targets(targets: Tensor, shape: tuple[int, int]) -> Tensor:
    """Targets `(N, T)` or `(N, T, K)` like these, of which each is missing."""
    missing = math.nan if targets.is_floating_point() else PADDING_TARGET
    return targets.new_full((*shape, *targets.shape[1:]), missing)


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spread, with the last one."""
    numbers = np.linspace(count - 1, 0, min(count, most))
    return np.unique(numbers.round().astype(int))
