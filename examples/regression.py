"""Your own task: a regression that predicts a number from the last state of each sequence.

python scripts/train.py --config-dir examples/configs model=example_regression data=example_waves
"""

from typing import Any

from torch import Tensor

from seqmodels import RNNOutput, SequenceBatch
from seqmodels.engine import Contract, Step, Task
from seqmodels.engine.value_task import value_scores, value_sums
from seqmodels.nn.outputs import ValueOutput


class Regression(Task):
    contract = Contract(per="sequence", target="value")
    measures = ("rmse", "mae", "r2")  # the names that `scores` returns

    def make_output(self, width: int, **options: Any) -> ValueOutput:
        data = self.hparams["data"]
        scale = {"mean": data["mean"], "deviation": data["deviation"]}
        return ValueOutput(width, len(data["values"]), **scale)

    def step(self, batch: SequenceBatch) -> Step:
        score = self.score(batch)
        predicted = score.decision  # (B, K), in their own units
        targets = self.network.head.output.restore(batch.targets.view_as(predicted))
        return Step(score, {"values": value_sums(predicted, targets)})

    def scores(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        # The sums are those of all batches together.
        return value_scores(sums["values"])

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> list[dict]:
        names = self.hparams["data"]["values"]
        predicted = self.network.head.decode(states or self.network.encode(batch))
        return [dict(zip(names, values, strict=True)) for values in predicted.tolist()]
