"""One tag for every step of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, UNSEEN_NAME, UNSEEN_TARGET, SequenceBatch
from seqmodels.data.targets import mark_spans
from seqmodels.engine.class_task import ClassTask, probability_columns, score_rows, scores
from seqmodels.engine.contract import Contract
from seqmodels.engine.task import Described
from seqmodels.errors import UserError
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ClassOptions, Output, Score
from seqmodels.screen import figure_text
from seqmodels.tasks.tagging.crf import CRF
from seqmodels.tasks.tagging.spans import SpanCounter

SERIES_DRAWN = 3
# So many colours can be told apart.
MOST_COLOURS = 20
# What a step has in place of a tag of the training.
UNKNOWN = {
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


class Tagger(ClassTask):
    """Which of the tags in `data["classes"]` each step has. The loss is a mean over steps.

    Args:
        data, encoder, head, options: as `Task` documents them; `output` is of `TagOptions`.

    Raises:
        UserError: for a CRF with weights.
    """

    contract = Contract(per="step", target="tag")
    Options = TagOptions

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
        if mark_spans(self.classes):
            return ("accuracy", "precision", "recall", "f1")
        return ("accuracy", "macro_f1")

    def make_output(self, width: int, **options: Any) -> Output:
        if self.output.kind == "classes":
            return super().make_output(width, **options)
        if self.output.class_weights is not None:
            raise UserError(
                "a CRF scores all tags of a sequence together, so they can't have weights of their "
                "own: set model.output.class_weights=null, or model.output.kind=classes"
            )
        return CRF(width, len(self.classes), **options)

    def count(self, predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Returns what `scores` are made of, from the predicted and the true tags of a batch,
        `(B, T)`."""
        sums = super().count(predicted, targets)
        if self.spans is not None:
            sums["spans"] = self.spans(predicted, targets)
        return sums

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the share of right steps; for tags that mark spans, also how well these are
        found."""
        scores_of_tags = super().scores(sums)
        if self.spans is None:
            return scores_of_tags
        return {"accuracy": scores_of_tags["accuracy"], **scores(sums["spans"].sum(1))}

    def score_parts(self, sums: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Returns precision, recall, f1 and number of the spans of each type; without spans, of
        each tag."""
        if self.spans is None:
            return super().score_parts(sums)
        return score_rows(sums["spans"], self.spans.types, "type")

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """Returns the confusion matrix and, for series, their tags beside those predicted."""
        pictures = super().pictures(dataset, sums)
        if self.hparams["data"]["inputs"] == "features" and len(self.classes) <= MOST_COLOURS:
            batch = self.some_of(dataset, SERIES_DRAWN)
            predicted = self.network.head.decode(self.network.encode(batch)).cpu()
            targets = batch.targets.cpu()
            rows, names = [], []
            lengths = batch.lengths.tolist()
            for row, (length, number) in enumerate(zip(lengths, batch.rows.tolist(), strict=True)):
                rows.append((targets[row, :length], predicted[row, :length]))
                names.append(dataset.row_name(number).get("series", f"row {number + 1}"))
            pictures["tags.png"] = draw_tags(rows, names, self.classes)
        return pictures

    def targets_of(self, batch: SequenceBatch) -> list[list[str | None]]:
        assert batch.targets is not None
        names = {**UNKNOWN, **dict(enumerate(self.classes))}
        named_rows = []
        for row, length in zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True):
            named_rows.append([names[tag] for tag in row[:length]])
        return named_rows

    def outcomes(self, batch: SequenceBatch, score: Score) -> Described:
        """Adds the probability of each predicted tag, and of all, unless they are many; a CRF has
        none for a single tag."""
        outcomes = super().outcomes(batch, score)
        for outcome in outcomes:
            prediction = outcome["prediction"]
            tags = prediction["tags"]
            outcome["prediction"] = tags
            probabilities = prediction.get("probabilities")
            if probabilities is not None:
                outcome["probability"] = [probabilities[tag][step] for step, tag in enumerate(tags)]
                outcome |= probability_columns(probabilities)
        return outcomes

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """Returns `{"tags": [...], "probabilities": {tag: [...]}}` for each row: a tag per step,
        and the probability of each tag there; none if the head decides on all
        steps together, as a CRF does."""
        states = states or self.network.encode(batch)
        lengths = batch.lengths.tolist()
        tags_of_rows = self.network.head.decode(states).tolist()
        rows: list[dict[str, Any]] = []
        for tags, length in zip(tags_of_rows, lengths, strict=True):
            rows.append({"tags": [self.classes[tag] for tag in tags[:length]]})
        if self.network.head.output.links_steps:
            return rows
        probabilities = self.network.head(states).float().softmax(dim=-1).cpu()  # (B, T, C)
        for row, steps, length in zip(rows, probabilities, lengths, strict=True):
            by_class = steps[:length].T.tolist()
            row["probabilities"] = dict(zip(self.classes, by_class, strict=True))
        return rows


def draw_tags(rows: Sequence[Any], names: Sequence[str], tags: Sequence[str]) -> Figure:
    """Draws two bars for each row, with a colour for each tag: its true tags above those predicted.

    Args:
        rows: `(true, predicted)`, numbers of tags `(T,)` each; a step below 0 has none.
        names: the names of the rows.
    """
    colours = colormaps["tab10"] if len(tags) <= 10 else colormaps["tab20"]
    figure = Figure(figsize=(11, 1.3 * len(rows) + 0.8), layout="constrained")
    grid = figure.subplots(len(rows), 1, squeeze=False).flatten()
    for axes, bars, name in zip(grid, rows, names, strict=True):
        masked_bars = np.ma.masked_less(np.stack(bars), 0)
        limits = {"vmin": -0.5, "vmax": colours.N - 0.5}
        axes.imshow(masked_bars, colours, aspect="auto", origin="upper", **limits)
        axes.set_yticks([0, 1], ["true", "predicted"])
        axes.set_title(figure_text(name, most=50), fontsize="medium")
    grid[-1].set_xlabel("step")
    patches = [
        Patch(color=colours(number), label=figure_text(tag, most=20))
        for number, tag in enumerate(tags)
    ]
    figure.legend(handles=patches, loc="outside upper center", ncols=min(len(patches), 8))
    return figure
