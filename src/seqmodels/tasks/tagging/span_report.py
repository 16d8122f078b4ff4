"""Precision, recall and f1 of spans, by the rules of conlleval, and a report of each type."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import lightning.pytorch as pl
import torch
from jaxtyping import Float, Int
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from seqmodels.batch import PADDING_TARGET, UNSEEN_TARGET
from seqmodels.engine.class_scores import score_rows, scores
from seqmodels.engine.contract import gather
from seqmodels.engine.metrics import show
from seqmodels.files import write_table
from seqmodels.tasks.tagging.tags import OUTSIDE, begins, parse, span_types

log = logging.getLogger(__name__)

UNSEEN_TYPE = "never seen in training"


class SpanCounts(Metric):
    """How many spans of each of K types are right, were predicted, and are there: `(3, K)` int64.

    A span is right if its type and both its ends are. In tags that break their scheme, spans are
    what conlleval takes for them (`tags.begins`). A step without a target (-100) is outside of all
    spans, predicted or true. Types that training never saw are one more type, the last one, which
    is never predicted and is left out where there is none.

    Args:
        tags: the names of the C tags.
    """

    full_state_update = False
    counts: Tensor
    type_of: Tensor  # (C + 3,): of each tag; K for none
    first: Tensor  # (C + 3, C + 3): whether a span begins with a tag (column) after another (row)

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self.types = [*span_types(tags), UNSEEN_TYPE]
        # after the tags: for steps without a target or with an unseen one, outside, inside, begun
        size, names = len(self.types), [*tags, OUTSIDE, f"I-{UNSEEN_TYPE}", f"B-{UNSEEN_TYPE}"]
        kinds = [self.types.index(kind) if (kind := parse(tag)[1]) else size for tag in names]
        first = [[begins(previous, tag) for tag in names] for previous in names]
        self.register_buffer("type_of", torch.tensor(kinds), persistent=False)
        self.register_buffer("first", torch.tensor(first), persistent=False)
        self.add_state("counts", torch.zeros(3, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Int[Tensor, " steps"], target: Int[Tensor, " steps"]) -> None:
        """`preds`, `target`: rows one after the other, with a -100 in `target` between them."""
        unknown, nothing = target == PADDING_TARGET, len(self.type_of) - 3
        found = self._spans(preds.masked_fill(unknown, nothing))
        target = target.masked_fill(unknown, UNSEEN_TARGET)
        there = self._spans(torch.where(target < 0, nothing + UNSEEN_TARGET - target, target))
        size = len(self.types)
        for count, spans in enumerate((found[torch.isin(found, there)], found, there)):
            self.counts[count] += torch.bincount(spans % size, minlength=size)

    def _spans(self, tags: Tensor) -> Tensor:
        """A number for each span; equal ones are of the same type and have the same ends."""
        nothing, size = len(self.type_of) - 3, len(self.types)
        tags = F.pad(tags, (1, 1), value=nothing)
        kinds, first = self.type_of[tags], self.first[tags[:-1], tags[1:]]
        last = (kinds[:-1] < size) & (first | (kinds[1:] == size))  # ends before this step
        starts, ends = first.nonzero().squeeze(1), last.nonzero().squeeze(1)
        return (starts * len(tags) + ends) * size + kinds[starts + 1]

    def compute(self) -> Int[Tensor, "3 types"]:
        return self.counts if self.counts[:, -1].any() else self.counts[:, :-1]


class SpanScore(SpanCounts):
    """One number for the spans of all types: `precision`, `recall` or `f1`; 0 where undefined."""

    def __init__(self, tags: Sequence[str], name: str) -> None:
        super().__init__(tags)
        self.name = name

    def compute(self) -> Float[Tensor, ""]:
        return scores(self.counts.sum(dim=1))[self.name]


class SpanReport(Callback):
    """Writes `spans.csv` of the test split into the run folder: precision, recall, f1 and number of
    the spans of each type, the most frequent type first. Of tags without spans it writes nothing.
    """

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = cast(Any, pl_module)
        steps = gather(task.steps["test"], task.contract.per)
        if not steps or task.scheme is None:
            return
        metric = SpanCounts(task.classes).to(task.device)
        metric.update(steps["preds"], steps["target"])
        counts = metric.compute().cpu()  # of all processes
        if not trainer.is_global_zero:
            return
        rows = score_rows(counts, metric.types[: counts.shape[1]], "type", "spans")
        file = Path(trainer.default_root_dir) / "spans.csv"
        write_table(file, rows[0], rows)
        names = ", ".join(f"{row['type']} {show('f1', row['f1'])}" for row in rows)
        log.info(f"f1 of spans, in %: {shorten(names, 70)} (all in {file})")
