"""One label for a whole sequence."""

from __future__ import annotations

from typing import Any

from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from seqmodels.arguments import NonNegative
from seqmodels.batch import SequenceBatch, with_unseen_as
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.fitting import check_weights
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import Classes


class SequenceClassifier(Task):
    """Which of the classes in `data["classes"]` a sequence belongs to.

    Args:
        data, encoder, head, options: as `Task` documents them.
        class_weights: one weight per class, in the order of `data["classes"]`; None: all equal.

    Raises:
        UserError: naming the key and what to change.
    """

    contract = Contract(per="sequence", target="class")
    curves = ("loss", "accuracy")
    bar = "accuracy"

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "last_hidden",
        *,
        class_weights: list[NonNegative] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data, encoder, head, class_weights=class_weights, **options)

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of the logits."""
        return self.hparams["data"]["classes"]

    def make_output(self, width: int, **options: Any) -> Classes:
        weights = self.hparams["class_weights"]
        check_weights(weights, self.classes, "classes")
        return Classes(
            width,
            len(self.classes),
            weights=weights,
            label_smoothing=self.hparams["label_smoothing"],
            **options,
        )

    def step(self, batch: SequenceBatch) -> Step:
        assert batch.targets is not None
        loss, predictions = self.loss_and_decision(batch)
        if self.training:
            return Step(loss, len(batch), predictions, batch.targets)
        targets = with_unseen_as(len(self.classes), batch.targets)
        return Step(loss, (batch.targets >= 0).sum(), predictions, targets)

    def metrics(self) -> dict[str, Metric]:
        count = len(self.classes) + 1  # all that training never saw are one class, always wrong
        return {
            "accuracy": MulticlassAccuracy(count, average="micro", validate_args=False),
            "macro_f1": MulticlassF1Score(count, average="macro", validate_args=False),
        }

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """`{"label": ..., "probabilities": {class: probability}}` for each row."""
        rows = []
        for row in self(batch).softmax(dim=-1).tolist():
            probabilities = dict(zip(self.classes, row, strict=True))
            label = max(probabilities, key=probabilities.__getitem__)
            rows.append({"label": label, "probabilities": probabilities})
        return rows
