"""What a classifier and a tagger share: each target is one of some classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import UNSEEN_NAME, SequenceBatch
from seqmodels.engine.class_scores import class_scores, class_sums, score_rows
from seqmodels.engine.contract import Step
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import ClassOptions, ClassOutput, Output
from seqmodels.screen import figure_text

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
            known, made = targets >= 0, score.decision
            if not self.head.output.links_steps:  # else a step has no probability of its own
                made = self.head(score.states).float().softmax(dim=-1)
            measured = made[known], targets[known]
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
