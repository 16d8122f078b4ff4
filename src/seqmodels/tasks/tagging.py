"""One tag for every step of a sequence."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from seqmodels.batch import PADDING_TARGET, SequenceBatch
from seqmodels.nn.outputs import Classes, Output
from seqmodels.signatures.ranges import NonNegative
from seqmodels.tasks.base import Task
from seqmodels.tasks.contract import Contract, Step
from seqmodels.tasks.fitting import check_weights


class Tagger(Task):
    """Which of the tags in `data["classes"]` each step has; the loss is a mean over steps.

    Args:
        data, encoder, head, options: as `Task` documents them.
        class_weights: one weight per tag, in the order of `data["classes"]`; None: all equal.

    Raises:
        UserError: naming the key and what to change.
    """

    contract = Contract(per="step", target="tag")
    curves = ("loss", "accuracy")
    bar = "accuracy"

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "every_step",
        *,
        class_weights: list[NonNegative] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data, encoder, head, class_weights=class_weights, **options)

    @property
    def classes(self) -> list[str]:
        """The tags, in the order of the logits."""
        return self.hparams["data"]["classes"]

    def make_output(self, width: int, **options: Any) -> Output:
        weights = self.hparams["class_weights"]
        check_weights(weights, self.classes, "tags")
        smoothing = self.hparams["label_smoothing"]
        return Classes(
            width, len(self.classes), weights=weights, label_smoothing=smoothing, **options
        )

    def step(self, batch: SequenceBatch) -> Step:
        assert batch.targets is not None
        loss, tags = self.loss_and_decision(batch)
        return Step(loss, batch.known_steps, _ended(tags), _ended(batch.targets))

    def metrics(self) -> dict[str, Metric]:
        count, ignored = len(self.classes), PADDING_TARGET
        return {
            "accuracy": MulticlassAccuracy(
                count, average="micro", ignore_index=ignored, validate_args=False
            )
        }

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """`{"tags": [...]}` for each row, a tag per step."""
        rows = self.head.decode(self.encode(batch)).tolist()
        lengths = batch.lengths.tolist()
        return [
            {"tags": [self.classes[tag] for tag in row[:length]]}
            for row, length in zip(rows, lengths, strict=True)
        ]


def _ended(rows: Tensor) -> Tensor:
    """`(B, T) -> (B, T + 1)`: a step of padding after every row, because metrics get the rows of
    all batches one after the other."""
    return F.pad(rows, (0, 1), value=PADDING_TARGET)
