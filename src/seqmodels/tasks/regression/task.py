"""One number or several, for a whole sequence or for each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

from torch import Tensor
from torchmetrics import Metric

from seqmodels.arguments import ArgumentsOf, Count, NonNegativeFraction
from seqmodels.batch import SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Task
from seqmodels.engine.value_scores import known_values, named_values, value_scores
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.nn.outputs import Output
from seqmodels.nn.values import Quantiles, Standardised, ValueOptions, ValueOutput
from seqmodels.nn.warps import Warp


class Regressor(Task):
    """The values in `data["values"]` of a sequence or, if the head reads every step, of each step.

    Values are learned standardised by the training split; predictions and scores are in their own
    units. A missing value, nan, counts neither in the loss nor in the scores.

    Args:
        data, encoder, head, options: as `Task` documents them.
        output: arguments of `ValueOptions`: the error to learn by, or quantiles to predict.
        window: for one prediction for each sequence: read longer ones in windows of this many
            steps, as `SequenceClassifier` does.
        crop, warp: for one prediction for each sequence: as `SequenceClassifier` has them.

    Raises:
        UserError: for a `window`, `crop` or `warp` with a head that reads every step, or for a
            `warp` of tokens.
    """

    contract = Contract(per="sequence", target="value")
    curves = ("loss", "rmse")
    bar = "rmse"

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "last_hidden",
        *,
        output: Annotated[dict[str, Any], ArgumentsOf("seqmodels.nn.values.ValueOptions")]
        | None = None,
        window: Count | None = None,
        crop: NonNegativeFraction = 0.0,
        warp: NonNegativeFraction = 0.0,
        **options: Any,
    ) -> None:
        own: dict[str, Any] = {"window": window, "crop": crop, "warp": warp}
        self.check({"head": head, **own})
        super().__init__(data, encoder, head, output=output, **own, **options)
        self.window, self.crop, self.warp = window, crop, Warp(warp, data) if warp else None

    @classmethod
    def check(cls, model: Mapping[str, Any]) -> Callable[..., Output]:
        for key, off in (("window", "null"), ("crop", "0"), ("warp", "0")):
            value = model.get(key)
            if value and cls.contract_for(model["head"]).per == "step":
                raise UserError(
                    f"model.{key} is {value}, but this model predicts at every step: set it to "
                    f"{off}"
                )
        return super().check(model)

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        return replace(cls.contract, per=find_head(head).per)

    @property
    def names(self) -> list[str]:
        """Of the values, in the order of the predictions."""
        return self.hparams["data"]["values"]

    @property
    def output(self) -> ValueOptions:
        return ValueOptions(**(self.hparams["output"] or {}))

    def make_output(self, width: int, **options: Any) -> ValueOutput | Quantiles:
        data = self.hparams["data"]
        scale = {"mean": data["mean"], "deviation": data["deviation"]}
        return self.output.build(width, len(self.names), **scale, **options)

    def step(self, batch: SequenceBatch) -> Step:
        loss, predictions = self.loss_and_decision(batch)
        targets = self._targets(batch)
        known = (~targets.isnan()).sum()
        scored = None
        if self.measures_more:
            scored = known_values(predictions, targets, self.output.quantiles)
        return Step(loss, known, predictions, targets, scored=scored)

    def metrics(self) -> dict[str, Metric]:
        return value_scores(self.output.quantiles)

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """`{name: value}` for each row; with quantiles, `{name: {"0.1": value, ...}}`. At every
        step, a list of a value for each step of the row in place of a value."""
        levels, logits = self.output.level_names, self(batch)
        made = cast(Any, self._values).quantiles(logits) if levels else self._values.restore(logits)
        return self._plain(made, batch, levels)

    def score_parts(self, values: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Of each column, if there are several."""
        if len(self.names) == 1:
            return []
        return self.score_each(
            ({"column": name}, {key: of[:, [place]] for key, of in values.items() if of.dim() > 1})
            for place, name in enumerate(self.names)
        )

    def outcomes(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        rows = zip(self._plain(self._targets(batch), batch), self.describe(batch), strict=True)
        return [{"target": target, "prediction": prediction} for target, prediction in rows]

    def _plain(
        self, values: Tensor, batch: SequenceBatch, levels: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        # (B, [T], K), or with levels (B, [T], K, Q)
        plain, rows = values.cpu(), []
        for row, length in zip(plain, batch.lengths.tolist(), strict=True):
            row = row[:length].movedim(1, 0) if self.contract.per == "step" else row  # (K, [T], ..)
            made = row.movedim(-1, 1) if levels else row  # (K, Q, [T])
            rows.append(named_values(made.tolist(), self.names, levels))
        return rows

    def _targets(self, batch: SequenceBatch) -> Tensor:
        # in their own units, (B, [T], K)
        assert batch.targets is not None
        targets = batch.targets.unsqueeze(1) if batch.targets.dim() == 1 else batch.targets
        return self._values.restore(targets)

    @property
    def _values(self) -> Standardised:
        return cast(Standardised, self.head.output)
