"""One tag for every step of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from seqmodels.batch import PADDING_TARGET, UNSEEN_NAME, UNSEEN_TARGET, SequenceBatch
from seqmodels.engine.class_scores import (
    class_pictures,
    class_scores,
    class_sums,
    score_rows,
    scores,
)
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.fitting import check_weights
from seqmodels.engine.task import Task
from seqmodels.errors import UserError
from seqmodels.nn.outputs import ClassOptions, ClassOutput, Output
from seqmodels.tasks.tagging.crf import CRF
from seqmodels.tasks.tagging.spans import SpanCounter
from seqmodels.tasks.tagging.tags import mark_spans

UNKNOWN = {  # what a step has in place of a tag of the training
    PADDING_TARGET: None,
    UNSEEN_TARGET: UNSEEN_NAME,
    UNSEEN_TARGET - 1: f"I-{UNSEEN_NAME}",
    UNSEEN_TARGET - 2: f"B-{UNSEEN_NAME}",
}


@dataclass(frozen=True)
class TagOptions(ClassOptions):
    """How tags are learned and decided, besides what `ClassOptions` says, which is of `classes`.

    Args:
        kind: `classes` tags each step by itself, `crf` all steps of a sequence together.
    """

    kind: Literal["classes", "crf"] = "classes"


class Tagger(Task):
    """Which of the tags in `data["classes"]` each step has. The loss is a mean over steps.

    Args:
        data, encoder, head, options: as `Task` documents them; `output` is of `TagOptions`.

    Raises:
        UserError: for a CRF with weights.
    """

    contract = Contract(per="step", target="tag")
    Options = TagOptions
    curves: tuple[str, ...] = ("loss", "accuracy")
    bar = "accuracy"

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "every_step",
        **options: Any,
    ) -> None:
        super().__init__(data, encoder, head, **options)
        self.spans = SpanCounter(self.classes) if mark_spans(self.classes) else None
        if self.spans:
            self.curves = (*self.curves, "f1")

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        of_spans = ("precision", "recall", "f1") if mark_spans(self.classes) else ()
        return ("accuracy", *of_spans)

    @property
    def classes(self) -> list[str]:
        """The tags, in the order of the logits."""
        return self.hparams["data"]["classes"]

    def make_output(self, width: int, **options: Any) -> Output:
        tags, chosen = self.classes, self.output
        weights, crf = chosen.class_weights, chosen.kind == "crf"
        check_weights(weights, tags)
        if crf and weights is not None:
            raise UserError(
                "a CRF scores all tags of a sequence together, so they can't have weights of their "
                "own: set model.output.class_weights=null, or model.output.kind=classes"
            )
        if crf:
            return CRF(width, len(tags), **options)
        options = {"label_smoothing": chosen.label_smoothing, **options}
        return ClassOutput(width, len(tags), weights=weights, **options)

    def step(self, batch: SequenceBatch) -> Step:
        targets = batch.targets
        assert targets is not None
        states = None if self.training else self.encode(batch)
        loss, tags = self.loss_and_decision(batch, states)
        known, scored = targets >= 0, None
        if states is not None and self.measures_more:
            alone = not self.head.output.links_steps  # else a step has no probability of its own
            made = self.head(states)[known].float().softmax(dim=-1) if alone else tags[known]
            scored = made, targets[known]
        return Step(loss, known.sum(), self.count(tags, targets), scored)

    def count(self, made: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What `scores` are made of, from the tags `(B, T)` that a batch was given and has."""
        sums = class_sums(made, targets, len(self.classes), confused=self.split == "test")
        return sums if self.spans is None else {**sums, "spans": self.spans(made, targets)}

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The share of right steps; of tags that mark spans, also how well these are found."""
        accuracy = {"accuracy": class_scores(sums["classes"])["accuracy"]}
        return {**accuracy, **scores(sums["spans"].sum(1))} if self.spans else accuracy

    def score_parts(self, sums: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Precision, recall, f1 and number of the spans of each type; without spans, of each
        tag."""
        if self.spans is None:
            return score_rows(sums["classes"], [*self.classes, UNSEEN_NAME], "class")
        return score_rows(sums["spans"], self.spans.types, "type")

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """The confusion matrix."""
        return class_pictures(sums, self.classes)

    def targets_of(self, batch: SequenceBatch) -> list[list[str | None]]:
        assert batch.targets is not None
        named = {**UNKNOWN, **dict(enumerate(self.classes))}
        rows = zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True)
        return [[named[tag] for tag in row[:length]] for row, length in rows]

    def outcomes(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """With the probability of each tag, where it has one of its own."""
        rows = [{**row, "prediction": row["prediction"]["tags"]} for row in super().outcomes(batch)]
        if not self.head.output.links_steps:
            shares = self.head(self.encode(batch)).float().softmax(dim=-1).amax(dim=-1).tolist()
            for row, of_steps in zip(rows, shares, strict=True):
                row["probability"] = of_steps[: len(row["target"])]
        return rows

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """`{"tags": [...]}` for each row, a tag per step."""
        tags = self.head.decode(self.encode(batch)).tolist()
        rows = zip(tags, batch.lengths.tolist(), strict=True)
        return [{"tags": [self.classes[tag] for tag in row[:length]]} for row, length in rows]
