"""One number or several, for a whole sequence or for each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.batch import SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Described, Task
from seqmodels.engine.value_scores import (
    QUANTILE_SCORES,
    VALUE_SCORES,
    column_rows,
    known_values,
    named_values,
    value_scores,
    value_sums,
)
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.values import ValueOptions, ValueOutput


class Regressor(Task):
    """The values in `data["values"]` of a sequence or, if the head reads every step, of each step.

    Values are learned standardised by the training split; predictions and scores are in their own
    units. A missing value, nan, counts neither in the loss nor in the scores.

    Args:
        given, options: as `Task` documents them; `output` is of `ValueOptions`: the error to learn
            by, or quantiles to predict.
        window: for one prediction for each sequence: read longer ones in windows of this many
            steps, as `SequenceClassifier` does.

    Raises:
        UserError: for a `window` with a head that reads every step.
    """

    contract = Contract(per="sequence", target="value")
    Options = ValueOptions
    curves = ("loss", "rmse")
    bar = "rmse"

    def __init__(self, *given: Any, window: Count | None = None, **options: Any) -> None:
        super().__init__(*given, window=window, **options)
        if window and self.contract.per == "step":
            raise UserError(
                f"model.window is {window}, but this model predicts at every step: set it to null"
            )
        self.window = window

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        return replace(cls.contract, per=find_head(head).per)

    @property
    def names(self) -> list[str]:
        """Of the values, in the order of the predictions."""
        return self.hparams["data"]["values"]

    def make_output(self, width: int, **options: Any) -> ValueOutput:
        data = self.hparams["data"]
        scale = {"mean": data["mean"], "deviation": data["deviation"]}
        return self.output.build(width, len(self.names), **scale, **options)

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        return QUANTILE_SCORES if self.output.quantiles else VALUE_SCORES

    def step(self, batch: SequenceBatch) -> Step:
        score, targets, levels = self.score(batch), self._targets(batch), self.output.quantiles
        made = score.decision
        measured = known_values(made, targets, levels) if self.measures_more else None
        return Step(score, self.count(made, targets), measured)

    def count(self, made: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What `scores` are made of, from what was predicted of a batch, `(B, [T], K)`, or
        `(B, [T], K, Q)` with quantiles, and its targets, nan where there is none."""
        return {"values": value_sums(made, targets, self.output.quantiles, self._values.mean)}

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return value_scores(sums["values"])

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """`{name: value}` for each row; with quantiles, `{name: {"0.1": value, ...}}`. At every
        step, a list of a value for each step of the row in place of a value."""
        levels, logits = self.output.level_names, self.head(states or self.encode(batch))
        made = cast(Any, self._values).quantiles(logits) if levels else self._values.restore(logits)
        return self._plain(made, batch, levels)

    def score_parts(self, sums: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Of each column, if there are several."""
        return column_rows(self.names, sums["values"], value_scores)

    def targets_of(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        return self._plain(self._targets(batch), batch)

    def _plain(
        self, values: Tensor, batch: SequenceBatch, levels: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        # (B, [T], K), or with levels (B, [T], K, Q)
        steps, rows = self.contract.per == "step", zip(values.cpu(), batch.lengths, strict=True)
        made = (row[:length].movedim(0, -1) if steps else row for row, length in rows)
        return [named_values(row.tolist(), self.names, levels) for row in made]  # (K, [Q], [T])

    def _targets(self, batch: SequenceBatch) -> Tensor:
        # in their own units, (B, [T], K)
        assert batch.targets is not None
        targets = batch.targets.unsqueeze(1) if batch.targets.dim() == 1 else batch.targets
        return self._values.restore(targets)

    @property
    def _values(self) -> ValueOutput:
        return cast(ValueOutput, self.head.output)
