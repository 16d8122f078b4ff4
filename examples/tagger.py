"""Your own task: a tagger that reads `output` of both directions and predicts a tag at every step.

python scripts/train.py --config-dir examples/configs \\
    model=example_tagger data=example_conll data.train=train.txt
"""

from typing import Any

from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from seqmodels import Head, SequenceBatch
from seqmodels.nn.outputs import Classes
from seqmodels.tasks import Contract, Step, Task


class EveryOutput(Head, name="every_output"):
    reads = ("output",)
    per = "step"

    def select(self, states):
        return states.output  # (B, T, D*H)


class Tagger(Task):
    contract = Contract(per="step", target="tag")

    def make_output(self, width: int, **options: Any) -> Classes:
        return Classes(width, len(self.hparams["data"]["classes"]))

    def step(self, batch: SequenceBatch) -> Step:
        loss, tags = self.loss_and_decision(batch)
        return Step(loss, int(batch.lengths.sum()), tags, batch.targets)

    def metrics(self) -> dict[str, Metric]:
        count = len(self.hparams["data"]["classes"])
        return {"accuracy": MulticlassAccuracy(count, average="micro", ignore_index=-100)}

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        names, rows = self.hparams["data"]["classes"], self.head.decode(self.encode(batch))
        pairs = zip(rows.tolist(), batch.lengths.tolist(), strict=True)
        return [{"tags": [names[tag] for tag in row[:length]]} for row, length in pairs]
