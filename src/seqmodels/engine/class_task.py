"""What a classifier and a tagger share: each target is one of some classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.engine.class_scores import class_pictures, class_sums
from seqmodels.engine.contract import Step
from seqmodels.engine.task import Task


class ClassTask(Task):
    """A task whose targets are of `data["classes"]`."""

    curves: tuple[str, ...] = ("loss", "accuracy")
    bar = "accuracy"

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of the logits."""
        return self.hparams["data"]["classes"]

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

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """The confusion matrix."""
        return class_pictures(sums, self.classes)
