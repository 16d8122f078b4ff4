"""One number or several, for a whole sequence or for each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.batch import SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Described
from seqmodels.engine.value_task import ValueTask, known_values, value_sums
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.network import Network, WindowedNetwork
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ValueOutput


class Regressor(ValueTask):
    """The values in `data["values"]` of a sequence or, if the head reads every step, of each step.

    Values are learned standardised by the training split; predictions and scores are in their own
    units. A missing value, nan, counts neither in the loss nor in the scores.

    Args:
        arguments, options: as `Task` documents them; `output` is of `ValueOptions`: the error to
            learn by, or quantiles to predict.
        window: for one prediction for each sequence: read longer ones in windows of this many
            steps, as `SequenceClassifier` does.

    Raises:
        UserError: for a `window` with a head that reads every step.
    """

    contract = Contract(per="sequence", target="value")
    curves = ("loss", "rmse")
    bar = "rmse"

    def __init__(self, *arguments: Any, window: Count | None = None, **options: Any) -> None:
        super().__init__(*arguments, window=window, **options)
        if window and self.contract.per == "step":
            raise UserError(
                f"model.window is {window}, but this model predicts at every step: set it to null"
            )

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        per = find_head(head).per
        # Numbers at every step, such as a remaining life, are mostly wanted while a series arrives.
        return replace(cls.contract, per=per, live=per == "step")

    def make_network(self, *parts: Any, **options: Any) -> Network:
        window = self.hparams["window"]
        if window is None:
            return super().make_network(*parts, **options)
        return WindowedNetwork(*parts, window=window, **options)

    def make_output(self, width: int, **options: Any) -> ValueOutput:
        data = self.hparams["data"]
        scale = {"mean": data["mean"], "deviation": data["deviation"]}
        return self.output.build(width, len(self.names), **scale, **options)

    def step(self, batch: SequenceBatch) -> Step:
        score = self.score(batch)
        targets = self._targets(batch)
        predicted = self._moved(score.decision)
        measured = None
        if self.measures_more:
            measured = known_values(predicted, targets, self.output.quantiles)
        return Step(replace(score, decision=predicted), self.count(predicted, targets), measured)

    def count(self, predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Returns what `scores` are made of, from what was predicted of a batch, `(B, [T], K)`, or
        `(B, [T], K, Q)` with quantiles, and its targets, nan where there is none."""
        sums = value_sums(predicted, targets, self.output.quantiles, self._values.mean)
        return {"values": sums}

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """Returns `{name: value}` for each row; with quantiles, `{name: {"0.1": value, ...}}`. At
        every step, a list with a value for each step of the row stands in place of a value."""
        logits = self.network.head(states or self.network.encode(batch, for_head=True))
        standardised = self._values.standardised(logits)
        predicted = self._moved(self._values.in_own_units(standardised))
        return self.named(predicted, self._steps(batch), are_predicted=True)

    def standardised_quantiles(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        logits = self.network.head(self.network.encode(batch, for_head=True))
        return self._values.standardised(logits), self._standardised_targets(batch)

    def _moved(self, predicted: Tensor) -> Tensor:
        """Returns what was predicted in its own units; quantiles `(B, [T], K, Q)` after their
        shifts."""
        deviation = self._values.deviation.unsqueeze(-1)
        return self._values.moved(predicted, deviation)

    def targets_of(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        return self.named(self._targets(batch), self._steps(batch))

    def _steps(self, batch: SequenceBatch) -> list[int] | None:
        if self.contract.per == "sequence":
            return None
        return batch.lengths.tolist()

    def _targets(self, batch: SequenceBatch) -> Tensor:
        """Returns the targets in their own units, `(B, [T], K)`."""
        return self._values.restore(self._standardised_targets(batch))

    def _standardised_targets(self, batch: SequenceBatch) -> Tensor:
        """Returns the targets of a batch, `(B, [T], K)`."""
        assert batch.targets is not None
        if batch.targets.dim() == 1:  # There is one value for each row.
            return batch.targets.unsqueeze(1)
        return batch.targets

    @property
    def _values(self) -> ValueOutput:
        return cast(ValueOutput, self.network.head.output)
