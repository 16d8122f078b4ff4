"""A kind of target of your own: any number of labels for each sequence, such as topics of a text.

python scripts/train.py --config-dir examples/labels/configs model=labels data=headlines
"""

import random
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels import RNNOutput, SequenceBatch
from seqmodels.data import SPLITS, Examples, SequenceDataModule, Tokens
from seqmodels.data.targets import TargetEncoder
from seqmodels.engine import Contract, Step, Task
from seqmodels.engine.class_task import scores
from seqmodels.errors import UserError
from seqmodels.nn.outputs import Output, Score
from seqmodels.target import TARGETS, TOKENS, Target

TOPICS = {
    "money": ["bank", "market", "price"],
    "sport": ["goal", "match", "team"],
    "weather": ["rain", "storm", "sun"],
}
OTHERS = ["a", "and", "at", "by", "for", "from", "in", "of", "on", "the", "to", "with"]

TARGETS["labels"] = Target(
    what="any number of labels",
    logits="of each label",
    size="K",
    unit="examples",
    choose="model=labels data=headlines",
    metric="f1",
    example={**TOKENS, "labels": ["a", "b"]},
)


class Labels(TargetEncoder):
    """A raw target is a list of names; encoded, `(N, K)` float32 of zeros and ones."""

    per = "sequence"
    target = "labels"

    def fit(self, raw: Sequence[Sequence[str]], source: str) -> None:
        self.names = sorted(set(chain.from_iterable(raw)))

    def encode(self, raw: Sequence[Sequence[str]], source: str) -> Tensor:
        unseen = set(chain.from_iterable(raw)).difference(self.names)
        if unseen:
            raise UserError(f"{source}: training never saw the label {min(unseen)}: leave it out")
        return torch.tensor([self._zeros_and_ones(labels) for labels in raw])

    def _zeros_and_ones(self, labels: Sequence[str]) -> list[float]:
        return [float(name in labels) for name in self.names]

    @property
    def spec(self) -> dict[str, Any]:
        return {"labels": self.names}

    def load(self, spec: Mapping[str, Any]) -> None:
        self.names = list(spec["labels"])


class EachLabel(Output):
    """Decides on each label by itself; the loss is binary cross-entropy in nats."""

    targets = ("labels",)

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, count)

    def forward(self, features: Tensor) -> Tensor:
        return self.project(features)

    def score(self, features: Tensor, targets: Tensor, mask: Tensor | None = None) -> Score:
        logits = self(features)
        costs = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return Score(costs, torch.ones_like(costs), (logits.detach() > 0).long())

    def decode(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        return (self(features) > 0).long()


class Labeller(Task):
    """Which of the labels in `data["labels"]` a sequence has."""

    contract = Contract(per="sequence", target="labels")
    measures = ("f1",)
    curves = ("loss", "f1")
    bar = "f1"

    def make_output(self, width: int, **options: Any) -> EachLabel:
        return EachLabel(width, len(self.hparams["data"]["labels"]))

    def step(self, batch: SequenceBatch) -> Step:
        score = self.score(batch)
        predicted = score.decision
        targets = batch.targets.long()
        # How many of each label are right, are predicted, and are there: (3, K).
        counts = torch.stack([(predicted * targets).sum(0), predicted.sum(0), targets.sum(0)])
        measured = None
        if self.measures_more:  # The metrics of `model.metrics` get probabilities.
            measured = self.network.head(score.states).sigmoid(), targets
        return Step(score, {"labels": counts}, measured)

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"f1": scores(sums["labels"])["f1"].mean()}

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> list[dict]:
        names = self.hparams["data"]["labels"]
        logits = self.network.head(states or self.network.encode(batch))
        rows = logits.sigmoid().tolist()
        return [dict(zip(names, probabilities, strict=True)) for probabilities in rows]


class Headlines(SequenceDataModule):
    """Made-up texts of `size` examples a split: the words of up to three topics, among others."""

    def __init__(self, size: int = 500, **options: Any) -> None:
        super().__init__(Tokens(), Labels(), **options)
        self.size = size

    def read(self) -> Mapping[str, Examples]:
        dice = random.Random(self.split_seed)
        examples = {}
        for split in SPLITS:
            rows = [self._example(dice) for _ in range(self.size)]
            examples[split] = Examples.of(rows, split)
        return examples

    def _example(self, dice: random.Random) -> tuple[str, list[str]]:
        """A text, and its labels."""
        names = dice.sample([*TOPICS], dice.randint(0, 3))
        words = [dice.choice(TOPICS[name]) for name in names]
        words += dice.choices(OTHERS, k=dice.randint(3, 9))
        return " ".join(dice.sample(words, len(words))), names
