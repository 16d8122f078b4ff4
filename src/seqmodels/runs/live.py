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

MOST_SERIES = 20  # of the test split
MOST_BEGINNINGS = 50  # of a series
MOST_STEPS = 200_000  # of all these beginnings, which take a few seconds


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
    if of_data := data.reads_whole_rows():
        sentences.append(of_data)
    return "; ".join(sentences)


def at_newest_step(task: Task, data: DataModule) -> str:
    """The test's metric where each step is predicted from the steps up to it alone, beside that of
    the same steps in whole rows; empty for a model that does not look ahead."""
    if not looks_ahead(task, data) or not isinstance(data, SequenceDataModule):
        return ""
    newest, whole, count = Sums(), Sums(), 0
    rows = _spread(len(data.datasets["test"]), MOST_SERIES).tolist()
    task.eval()
    with torch.no_grad():
        for row in rows:
            for beginnings, same_steps in _batches(data, row, MOST_STEPS // len(rows)):
                newest.add(task.step(task.ready(beginnings)))
                whole.add(task.step(task.ready(same_steps)))
                count += len(beginnings)
    if not count:
        return ""
    metric = task.contract.kind.metric
    live, read_whole = (
        show_with_unit(f"test/{metric}", float(task.scores(sums.totals)[metric]))
        for sums in (newest, whole)
    )
    return (
        f"At the newest step of what has arrived ({len(rows)} test series, {count:,} steps): "
        f"test/{metric} {live}, where whole series give {read_whole} at the same steps."
    )


def _batches(
    data: SequenceDataModule, row: int, most_steps: int
) -> Iterator[tuple[SequenceBatch, SequenceBatch]]:
    """Beginnings of a row of the test split, each with its last target alone; and as a batch of one
    the whole row, with the targets of the same steps."""
    raw, dataset = data.examples["test"].inputs[row], data.datasets["test"]
    targets = dataset.targets[row]  # (T,) or (T, K)
    beginnings_that_fit = max(1, 2 * most_steps // len(targets))  # of half its length on average
    ends = 1 + _spread(len(targets), min(MOST_BEGINNINGS, beginnings_that_fit))
    for chunk in np.array_split(ends, math.ceil(len(ends) / data.batch_size)):
        lengths = []
        for length in chunk.tolist():
            # Nobody can predict from a beginning that the encoding refuses, such as one without any
            # value to interpolate from.
            with suppress(UserError):
                data.batch_of([data.beginning(raw, length)])
                lengths.append(length)
        if not lengths:
            continue
        batch = data.batch_of([data.beginning(raw, length) for length in lengths])
        steps = torch.tensor(lengths) - 1
        last_alone = _no_targets(targets, (len(lengths), max(lengths)))
        last_alone[torch.arange(len(lengths)), steps] = targets[steps]
        same_steps = _no_targets(targets, (1, len(targets)))
        same_steps[0, steps] = targets[steps]
        whole = dataset.__getitems__([row])
        yield replace(batch, targets=last_alone), replace(whole, targets=same_steps, weights=None)


def _no_targets(targets: Tensor, shape: tuple[int, int]) -> Tensor:
    missing = math.nan if targets.is_floating_point() else PADDING_TARGET
    return targets.new_full((*shape, *targets.shape[1:]), missing)


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of the numbers below `count`, evenly spread, with the last one."""
    return np.unique(np.linspace(count - 1, 0, min(count, most)).round().astype(int))
