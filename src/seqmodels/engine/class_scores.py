"""Precision, recall and f1 of each class, from counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torchmetrics.classification import MulticlassStatScores

from seqmodels.batch import PADDING_TARGET, UNSEEN_NAME, with_unseen_as


def scores(counts: Shaped[Tensor, "3 ..."]) -> dict[str, Tensor]:
    """Precision, recall and f1 from how many of something are right, were predicted, and are there;
    0 where undefined."""
    right, found, there = counts if counts.is_floating_point() else counts.float()
    parts = {
        "precision": (right, found),
        "recall": (right, there),
        "f1": (2 * right, found + there),
    }
    return {name: part / whole.clamp(min=1) for name, (part, whole) in parts.items()}


def score_rows(
    counts: Shaped[Tensor, "3 kinds"], names: Sequence[str], kind: str, number: str = "count"
) -> list[dict[str, Any]]:
    """A row for each kind, with its name and how many are there; the most frequent first."""
    columns = {name: values.tolist() for name, values in scores(counts.double()).items()}
    there = counts[2].tolist()
    rows = [
        {kind: name, **{k: round(v[place], 9) for k, v in columns.items()}, number: there[place]}
        for place, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: -row[number])


def class_rows(classes: Sequence[str], values: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The scores of each class in what `gather` gives, of all processes; those that training never
    saw are one more, if there are some."""
    size = len(classes)
    metric = MulticlassStatScores(
        size + 1, average=None, ignore_index=PADDING_TARGET, validate_args=False
    ).to(values["preds"].device)
    metric.update(values["preds"], with_unseen_as(size, values["target"]))
    right, wrong, _, _, there = metric.compute().cpu().T
    rows = score_rows(torch.stack([right, right + wrong, there]), [*classes, UNSEEN_NAME], "class")
    return [row for row in rows if row["count"] or row["class"] != UNSEEN_NAME]
