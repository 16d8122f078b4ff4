"""What a classifier and a tagger share: each target is one of some classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int, Shaped
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, UNSEEN_NAME, SequenceBatch
from seqmodels.engine.contract import Step
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import ClassOptions, ClassOutput, Output
from seqmodels.screen import figure_text

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


MOST_COLUMNS = 100  # of `predictions.csv`, for probabilities


class ClassTask(Task):
    """A task whose targets are of `data["classes"]`."""

    Options = ClassOptions
    measures: Sequence[str] = ("accuracy", "macro_f1")
    curves: tuple[str, ...] = ("loss", "accuracy")
    bar = "accuracy"

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of the logits."""
        return self.hparams["data"]["classes"]

    def make_output(self, width: int, **options: Any) -> Output:
        weights = self.output.weights_of(self.hparams["data"])
        options = {"label_smoothing": self.output.label_smoothing, **options}
        return ClassOutput(width, len(self.classes), weights=weights, **options)

    def step(self, batch: SequenceBatch) -> Step:
        score, targets, measured = self.score(batch), batch.targets, None
        assert targets is not None and score.states is not None
        if self.measures_more:
            head = self.network.head
            is_known = targets >= 0
            predicted = score.decision
            if not head.output.links_steps:  # else a step has no probability of its own
                predicted = head(score.states).float().softmax(dim=-1)
            measured = predicted[is_known], targets[is_known]
        return Step(score, self.count(score.decision, targets), measured)

    def count(self, made: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What `scores` are made of, from the classes `(B,)` or `(B, T)` that a batch was given and
        has."""
        return class_sums(made, targets, len(self.classes), confused=self.split == "test")

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return class_scores(sums["classes"])  # all that training never saw are one class

    def score_parts(self, sums: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Precision, recall, f1 and number of each class."""
        return score_rows(sums["classes"], [*self.classes, UNSEEN_NAME], "class")

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """`confusion_matrix.png`, if there are few classes: how often each true class (row) was
        taken for each class (column); its colour is the share of the true class."""
        if "confusion" not in sums:
            return {}
        counts = sums["confusion"].cpu()
        names = [figure_text(name, most=40) for name in (*self.classes, UNSEEN_NAME)]
        if not counts[-1].any():  # training saw all of them
            counts, names = counts[:-1, :-1], names[:-1]
        shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        side = min(max(4.0, 0.45 * len(names) + 2), 20)
        figure = Figure(figsize=(side + 1, side), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix, test split")
        for row, column in counts.nonzero().tolist() if len(names) <= 30 else ():
            number = str(int(counts[row, column]))
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, number, ha="center", va="center", color=colour)
        return {"confusion_matrix.png": figure}


def probability_columns(probabilities: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `predictions.csv` for the probabilities of classes, by their names; none where
    the classes are many."""
    if len(probabilities) > MOST_COLUMNS:
        return {}
    return {f"probability.{name}": value for name, value in probabilities.items()}
