"""Accuracy, and precision, recall and f1 of each class, from counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from seqmodels.batch import PADDING_TARGET

MOST_CONFUSED = 200  # classes, of a confusion matrix that anybody can read


def class_sums(
    made: Int[Tensor, "*rows"], targets: Int[Tensor, "*rows"], size: int, *, confused: bool = False
) -> dict[str, Tensor]:
    """How many of each of C classes are right, were predicted, and are there: `classes`,
    `(3, C + 1)` int64. All that training never saw are the last one. Nothing waits for the device.

    Args:
        made, targets: class numbers below `size`, C; a target of -100 does not count.
        confused: with `confusion`, `(C + 1, C + 1)`: how often each true class (row) was taken for
            each class (column); not of more than 200 classes.
    """
    made, targets, none = made.flatten(), targets.flatten(), size + 1  # where to count what doesn't
    known = targets != PADDING_TARGET
    there = targets.where(targets >= 0, size).where(known, none)
    made = made.where(known, none)
    kinds = torch.stack([there.where(made == there, none), made, there])
    counts = kinds.new_zeros(3, size + 2)
    sums = {"classes": counts.scatter_add_(1, kinds, torch.ones_like(kinds))[:, :-1]}
    if confused and size <= MOST_CONFUSED:
        pairs = there * (size + 2) + made
        counts = pairs.new_zeros((size + 2) ** 2).scatter_add_(0, pairs, torch.ones_like(pairs))
        sums["confusion"] = counts.view(size + 2, -1)[:-1, :-1]
    return sums


def class_scores(counts: Int[Tensor, "3 classes"]) -> dict[str, Tensor]:
    """`accuracy`, and `macro_f1`: the mean f1 of the classes that are there or were predicted."""
    right, found, there = counts
    f1 = scores(counts)["f1"][(found + there) > 0]
    return {"accuracy": right.sum() / there.sum(), "macro_f1": f1.mean()}


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
    counts: Shaped[Tensor, "3 kinds"], names: Sequence[str], kind: str
) -> list[dict[str, Any]]:
    """A row for each kind, with its name, its scores and how many are there; the most frequent
    first. What training never saw, the last one, is left out where there is none."""
    found = {**scores(counts.cpu().double()), "count": counts[2]}
    columns = {name: values.tolist() for name, values in found.items()}
    rows = [{kind: n, **{k: v[at] for k, v in columns.items()}} for at, n in enumerate(names)]
    shown = [row for row in rows if row["count"] or row is not rows[-1]]
    return sorted(shown, key=lambda row: -row["count"])
