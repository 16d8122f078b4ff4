"""One label for a whole sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmodels.arguments import Count, NonNegative
from seqmodels.batch import UNSEEN_NAME, SequenceBatch, with_unseen_as
from seqmodels.engine.class_task import ClassTask, chosen_temperature, probability_columns
from seqmodels.engine.contract import Contract
from seqmodels.engine.task import Described
from seqmodels.network import AdversarialNetwork, Network, WindowedNetwork
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ClassOutput, Score

# A validation split of fewer rows tells no temperature: it is often predicted without a mistake.
FEWEST_ROWS = 30


class SequenceClassifier(ClassTask):
    """Which of the classes in `data["classes"]` a sequence belongs to.

    `calibrate` learns the `temperature` of its probabilities. It is no weight: `result.json` keeps
    it.

    Args:
        arguments, options: as `Task` documents them; `output` is of `ClassOptions`.
        window: read longer sequences in windows of this many steps: in training one at random, with
            a random start each time; otherwise all of them, and the mean of what the head selects.
        adversarial: learn also from the embeddings of each sequence moved by a vector of this L2
            norm, to where the loss rises most (Miyato et al. 2017, https://arxiv.org/abs/1605.07725).
            It doubles the time of a step.
        calibrate: learn the temperature; False leaves probabilities as the network learned them.

    Raises:
        UserError: for other than one weight for each class.
    """

    contract = Contract(per="sequence", target="class")

    def __init__(
        self,
        *arguments: Any,
        window: Count | None = None,
        adversarial: NonNegative = 0.0,
        calibrate: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            *arguments, window=window, adversarial=adversarial, calibrate=calibrate, **options
        )

    def make_network(self, *parts: Any, **options: Any) -> Network:
        window = self.hparams["window"]
        distance = self.hparams["adversarial"]
        if distance:
            return AdversarialNetwork(*parts, distance=distance, window=window, **options)
        if window is not None:
            return WindowedNetwork(*parts, window=window, **options)
        return super().make_network(*parts, **options)

    def targets_of(self, batch: SequenceBatch) -> list[str]:
        assert batch.targets is not None
        names = [*self.classes, UNSEEN_NAME]
        class_numbers = with_unseen_as(len(self.classes), batch.targets).tolist()
        return [names[number] for number in class_numbers]

    def outcomes(self, batch: SequenceBatch, score: Score) -> Described:
        """Adds the probability of the predicted class, and of each, unless they are many."""
        outcomes = super().outcomes(batch, score)
        for outcome in outcomes:
            label = outcome["prediction"]["label"]
            probabilities = outcome["prediction"]["probabilities"]
            outcome["prediction"] = label
            outcome["probability"] = probabilities[label]
            outcome |= probability_columns(probabilities)
        return outcomes

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """Returns `{"label": ..., "probabilities": {class: probability}}` for each row."""
        states = states or self.network.encode(batch, for_head=True)
        logits = self.network.read_out(states, batch)
        rows = []
        for class_probabilities in logits.float().softmax(dim=-1).tolist():
            probabilities = dict(zip(self.classes, class_probabilities, strict=True))
            label = max(probabilities, key=probabilities.__getitem__)
            rows.append({"label": label, "probabilities": probabilities})
        return rows

    @torch.no_grad()
    def calibrate(self, data: Any) -> None:
        few = len(data.datasets["validation"]) < FEWEST_ROWS
        has_logits = isinstance(self.network.head.output, ClassOutput)
        if few or not has_logits or not self.hparams["calibrate"]:
            return
        logits: list[Tensor] = []
        targets: list[Tensor] = []
        for batch in self.validation_batches(data):
            logits.append(self.network.head(self.network.encode(batch, for_head=True)).cpu())
            targets.append(batch.targets.cpu())
        all_targets = torch.cat(targets)
        is_known = all_targets >= 0
        if is_known.any():
            known_logits = torch.cat(logits)[is_known]
            self.calibration = [[chosen_temperature(known_logits, all_targets[is_known])]]

    @property
    def calibration(self) -> list[list[float]] | None:
        return None if self.temperature is None else [[self.temperature]]

    @calibration.setter
    def calibration(self, temperature: list[list[float]] | None) -> None:
        output: Any = self.network.head.output
        if temperature is None:
            output.temperature = 1.0
            return
        if [len(row) for row in temperature] != [1] or not temperature[0][0] > 0:
            raise ValueError("the calibration is not one temperature above 0")
        [[output.temperature]] = temperature
