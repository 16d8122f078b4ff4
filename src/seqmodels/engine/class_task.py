"""What a classifier and a tagger share: each target is one of some classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int, Shaped
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET, UNSEEN_NAME, SequenceBatch
from seqmodels.engine.contract import Step
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import ClassOptions, ClassOutput, Output
from seqmodels.screen import figure_text

# A confusion matrix of more classes is one that nobody can read.
MOST_CONFUSED = 200
# With more classes, `predictions.csv` has no column for each of their probabilities.
MOST_COLUMNS = 100
# A temperature is no larger, and its inverse, too.
MOST_TEMPERATURE = 20.0


def class_sums(
    predicted: Int[Tensor, "*rows"],
    targets: Int[Tensor, "*rows"],
    num_classes: int,
    *,
    with_confusion: bool = False,
) -> dict[str, Tensor]:
    """Counts how many of each of C classes are right, were predicted, and are there: `classes`,
    `(3, C + 1)` int64. All that training never saw are the last one. Nothing waits for the device.

    Args:
        predicted, targets: class numbers below `num_classes`, C; a target of -100 does not count.
        with_confusion: also count `confusion`, `(C + 1, C + 1)`: how often each true class (row)
            was taken for each class (column); not of more than 200 classes.
    """
    unseen_class = num_classes
    not_counted = num_classes + 1  # a column that is cut off at the end
    predicted = predicted.flatten()
    targets = targets.flatten()
    is_known = targets != PADDING_TARGET
    true_classes = targets.where(targets >= 0, unseen_class).where(is_known, not_counted)
    predicted_classes = predicted.where(is_known, not_counted)
    right_classes = true_classes.where(predicted_classes == true_classes, not_counted)

    counted = torch.stack([right_classes, predicted_classes, true_classes])  # (3, rows)
    counts = counted.new_zeros(3, num_classes + 2)
    counts.scatter_add_(1, counted, torch.ones_like(counted))
    sums = {"classes": counts[:, :-1]}
    if with_confusion and num_classes <= MOST_CONFUSED:
        pairs = true_classes * (num_classes + 2) + predicted_classes
        pair_counts = pairs.new_zeros((num_classes + 2) ** 2)
        pair_counts.scatter_add_(0, pairs, torch.ones_like(pairs))
        sums["confusion"] = pair_counts.view(num_classes + 2, -1)[:-1, :-1]
    return sums


def class_scores(counts: Int[Tensor, "3 classes"]) -> dict[str, Tensor]:
    """Returns `accuracy`, and `macro_f1`: the mean f1 of the classes that are there or were
    predicted."""
    right, predicted, true = counts
    is_there = predicted + true > 0
    f1 = scores(counts)["f1"][is_there]
    return {"accuracy": right.sum() / true.sum(), "macro_f1": f1.mean()}


def scores(counts: Shaped[Tensor, "3 ..."]) -> dict[str, Tensor]:
    """Returns precision, recall and f1 from how many of something are right, were predicted, and
    are there; 0 where undefined."""
    if not counts.is_floating_point():
        counts = counts.float()
    right, predicted, true = counts
    return {
        "precision": right / predicted.clamp(min=1),
        "recall": right / true.clamp(min=1),
        "f1": 2 * right / (predicted + true).clamp(min=1),
    }


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Returns what to divide logits `(N, C)` by for the smallest cross-entropy of classes `(N,)`
    (Guo et al. 2017, https://arxiv.org/abs/1706.04599): a number between 1/20 and 20."""
    from scipy.optimize import minimize_scalar  # slow to import

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(exact / math.exp(log_temperature), targets))

    bounds = (-math.log(MOST_TEMPERATURE), math.log(MOST_TEMPERATURE))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def chosen_temperature(logits: Tensor, targets: Tensor) -> float:
    """Returns what `fit_temperature` does if these rows support it: between the bounds, and with a
    gain above its standard error over the rows. Otherwise 1: of rows without a mistake, the
    likelihood rises up to the bound, where wrong rows would be as sure."""
    exact = logits.double()

    def costs(temperature: float) -> Tensor:
        return F.cross_entropy(exact / temperature, targets, reduction="none")

    temperature = fit_temperature(logits, targets)
    least_costs = costs(temperature)
    bounds = (1 / MOST_TEMPERATURE, MOST_TEMPERATURE)
    is_inside = all(costs(bound).mean() > least_costs.mean() for bound in bounds)
    gains = costs(1.0) - least_costs
    # Of a single row it is nan, and nothing is above nan.
    standard_error = (gains.var(correction=0) / (len(gains) - 1)).sqrt()
    return temperature if is_inside and gains.mean() > standard_error else 1.0


def score_rows(
    counts: Shaped[Tensor, "3 kinds"], names: Sequence[str], title: str
) -> list[dict[str, Any]]:
    """Returns a row for each class or type, with its name, its scores and how many are there; the
    most frequent first. What training never saw, the last one, is left out where there is none.

    Args:
        counts: of each how many are right, were predicted, and are there.
        title: the column of the names.
    """
    score_columns = {**scores(counts.cpu().double()), "count": counts[2]}
    rows: list[dict[str, Any]] = [{title: name} for name in names]
    for column, values in score_columns.items():
        for row, value in zip(rows, values.tolist(), strict=False):
            row[column] = value
    if rows and not rows[-1]["count"]:
        rows.pop()
    return sorted(rows, key=lambda row: -row["count"])


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

    @property
    def temperature(self) -> float | None:
        """What the validation split chose to divide the logits by; None if it chose nothing."""
        output = self.network.head.output
        if not isinstance(output, ClassOutput) or output.temperature == 1.0:
            return None
        return output.temperature

    def make_output(self, width: int, **options: Any) -> Output:
        weights = self.output.weights_of(self.hparams["data"])
        options = {"label_smoothing": self.output.label_smoothing, **options}
        return ClassOutput(width, len(self.classes), weights=weights, **options)

    def step(self, batch: SequenceBatch) -> Step:
        score = self.score(batch)
        targets = batch.targets
        measured = None
        assert targets is not None and score.states is not None
        if self.measures_more:
            head = self.network.head
            is_known = targets >= 0
            predicted = score.decision
            # Where a decision links steps, a step has no probability of its own.
            if not head.output.links_steps:
                logits = head.output.calibrated(head(score.states))
                predicted = logits.float().softmax(dim=-1)
            measured = predicted[is_known], targets[is_known]
        return Step(score, self.count(score.decision, targets), measured)

    def count(self, predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Returns what `scores` are made of, from the predicted and the true classes of a batch,
        `(B,)` or `(B, T)`."""
        with_confusion = self.split == "test"
        return class_sums(predicted, targets, len(self.classes), with_confusion=with_confusion)

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
        if not counts[-1].any():  # Training saw all of them.
            counts = counts[:-1, :-1]
            names.pop()
        return {"confusion_matrix.png": draw_confusion(counts, names)}


def draw_confusion(counts: Int[Tensor, "classes classes"], names: Sequence[str]) -> Figure:
    """Draws how often each true class (row) was taken for each class (column)."""
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(max(4.0, 0.45 * len(names) + 2), 20)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    longest_name = max(map(len, names))
    axes.set_xticks(range(len(names)), names, rotation=90 if longest_name > 3 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix, test split")
    if len(names) > 30:  # There is no room for numbers.
        return figure
    for row, column in counts.nonzero().tolist():
        number = str(int(counts[row, column]))
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, number, ha="center", va="center", color=colour)
    return figure


def probability_columns(probabilities: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `predictions.csv` for the probabilities of classes, by their names; none where
    the classes are many."""
    if len(probabilities) > MOST_COLUMNS:
        return {}
    return {f"probability.{name}": value for name, value in probabilities.items()}
