"""One label for a whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from seqmodels.arguments import ArgumentsOf, Count, NonNegativeFraction
from seqmodels.batch import UNSEEN_NAME, SequenceBatch, with_unseen_as
from seqmodels.engine.class_scores import class_rows
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.fitting import check_weights
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import ClassOptions, ClassOutput
from seqmodels.nn.warps import Warp


class SequenceClassifier(Task):
    """Which of the classes in `data["classes"]` a sequence belongs to.

    Args:
        data, encoder, head, options: as `Task` documents them.
        output: arguments of `ClassOptions`.
        window: read longer sequences in windows of this many steps: in training one at random, with
            a random start each time; otherwise all of them, and the mean of what the head selects.
        crop: in training, cut up to this share of its steps from the two ends of each sequence,
            another part each time; for sequences whose class shows in any part of them.
        warp: in training, read each series at a random speed, which changes smoothly and differs
            from 1 by at most this share; see `Warp`.

    Raises:
        UserError: for other than one weight for each class, or a `warp` of tokens.
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
        output: Annotated[dict[str, Any], ArgumentsOf("seqmodels.nn.outputs.ClassOptions")]
        | None = None,
        window: Count | None = None,
        crop: NonNegativeFraction = 0.0,
        warp: NonNegativeFraction = 0.0,
        **options: Any,
    ) -> None:
        own: dict[str, Any] = {"output": output, "window": window, "crop": crop, "warp": warp}
        super().__init__(data, encoder, head, **own, **options)
        self.window, self.crop, self.warp = window, crop, Warp(warp, data) if warp else None

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of the logits."""
        return self.hparams["data"]["classes"]

    def make_output(self, width: int, **options: Any) -> ClassOutput:
        output = ClassOptions(**(self.hparams["output"] or {}))
        check_weights(output.class_weights, self.classes, "classes")
        return ClassOutput(
            width,
            len(self.classes),
            weights=output.class_weights,
            label_smoothing=output.label_smoothing,
            **options,
        )

    def step(self, batch: SequenceBatch) -> Step:
        assert batch.targets is not None
        if self.training:
            loss, predictions = self.loss_and_decision(batch)
            return Step(loss, len(batch), predictions, batch.targets)
        states = self.encode(batch)
        loss, predictions = self.loss_and_decision(batch, states)
        known, scored = batch.targets >= 0, None
        if self.measures_more:
            scored = self.head(states)[known].float().softmax(dim=-1), batch.targets[known]
        targets = with_unseen_as(len(self.classes), batch.targets)
        return Step(loss, known.sum(), predictions, targets, scored=scored)

    def metrics(self) -> dict[str, Metric]:
        count = len(self.classes) + 1  # all that training never saw are one class, always wrong
        return {
            "accuracy": MulticlassAccuracy(count, average="micro", validate_args=False),
            "macro_f1": MulticlassF1Score(count, average="macro", validate_args=False),
        }

    def score_parts(self, values: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Precision, recall, f1 and number of each class."""
        return class_rows(self.classes, values)

    def outcomes(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        states, names = self.encode(batch), [*self.classes, UNSEEN_NAME]
        made = self.head.decode(states)
        shares = self.head(states).float().softmax(dim=-1).gather(1, made.unsqueeze(1)).squeeze(1)
        assert batch.targets is not None
        columns = (with_unseen_as(len(self.classes), batch.targets), made, shares)
        return [
            {"target": names[target], "prediction": names[label], "probability": share}
            for target, label, share in zip(*(each.tolist() for each in columns), strict=True)
        ]

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """`{"label": ..., "probabilities": {class: probability}}` for each row."""
        rows = []
        for row in self(batch).softmax(dim=-1).tolist():
            probabilities = dict(zip(self.classes, row, strict=True))
            label = max(probabilities, key=probabilities.__getitem__)
            rows.append({"label": label, "probabilities": probabilities})
        return rows
