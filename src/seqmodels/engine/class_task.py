"""What a classifier and a tagger share: each target is one of some classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from seqmodels.batch import UNSEEN_NAME, SequenceBatch
from seqmodels.engine.class_scores import (
    class_pictures,
    class_scores,
    class_sums,
    score_rows,
)
from seqmodels.engine.contract import Step
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import ClassOptions, ClassOutput, Output


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
        """The confusion matrix."""
        return class_pictures(sums, self.classes)
