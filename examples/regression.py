"""Your own task: a regression reads the last state of each sequence and gives a number.

python scripts/train.py --config-dir examples/configs model=regression data=waves
"""

from typing import Any

from torchmetrics import MeanAbsoluteError, Metric, R2Score

from seqmodels import SequenceBatch
from seqmodels.nn.outputs import Values
from seqmodels.tasks import Contract, Step, Task


class Regression(Task):
    contract = Contract(per="sequence", target="value")

    def make_output(self, width: int, **options: Any) -> Values:
        return Values(width, len(self.hparams["data"]["values"]))

    def step(self, batch: SequenceBatch) -> Step:
        loss, values = self.head.loss_and_decision(self.encode(batch), batch.targets)
        return Step(loss, len(batch), values, batch.targets)

    def metrics(self) -> dict[str, Metric]:
        return {"mae": MeanAbsoluteError(), "r2": R2Score()}  # of standardised values

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        data = self.hparams["data"]
        rows = self.head.decode(self.encode(batch)).tolist()
        scale = list(zip(data["values"], data["mean"], data["deviation"], strict=True))
        return [
            {
                name: mean + x * deviation
                for x, (name, mean, deviation) in zip(row, scale, strict=True)
            }
            for row in rows
        ]
