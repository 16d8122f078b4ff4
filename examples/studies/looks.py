"""What a study looks at while a network is trained, and afterwards. It changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median
from typing import Any

import torch
from lightning import Callback
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from seqmodels.batch import UNKNOWN_ID, SequenceBatch
from seqmodels.engine.class_task import fit_temperature
from seqmodels.network import Network

# Each row of the test is hidden in so many pieces, one at a time.
QUARTERS = 4
# The calibration error compares confidence and accuracy in so many bins.
BINS = 15


class Looks(Callback):
    """At each validation: the accuracy and the loss of the validation and of the test split, by the
    weights that are validated. Nothing of the training depends on it.

    Args:
        takes_best: whether the weights of the best validation are kept, else those of the last.
    """

    def __init__(self, *, takes_best: bool) -> None:
        self.takes_best = takes_best
        self.steps: list[int] = []
        self.scores: dict[str, list[float]] = {
            f"{split}_{measure}": []
            for split in ("validation", "test")
            for measure in ("accuracy", "loss")
        }
        self.seconds = 0.0  # of the processor, for the training without these looks
        self.best_place = -1
        self._best_validation = (-1.0, 0.0)

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self.data = trainer.datamodule
        self.network: Network = task.network
        self._clock = time.process_time()

    def on_train_end(self, trainer: Any, task: Any) -> None:
        self.seconds += time.process_time() - self._clock

    def on_validation_epoch_end(self, trainer: Any, task: Any) -> None:
        if trainer.state.fn != "fit":
            return
        self.seconds += time.process_time() - self._clock
        self.steps.append(trainer.global_step)
        with torch.random.fork_rng([]):  # A loader draws a number.
            for split in ("validation", "test"):
                logits, targets = self.logits_of(split)
                self.scores[f"{split}_accuracy"].append(accuracy(logits, targets))
                self.scores[f"{split}_loss"].append(float(F.cross_entropy(logits, targets)))
        # Of equal accuracies, the lower loss is better, and of equal ones the earlier.
        validation = (self.scores["validation_accuracy"][-1], -self.scores["validation_loss"][-1])
        if not self.takes_best or validation > self._best_validation:
            self._best_validation = validation
            self.best_place = len(self.steps) - 1
            state = self.network.state_dict()
            self._weights = {name: weight.clone() for name, weight in state.items()}
        self._clock = time.process_time()

    def take_weights(self) -> None:
        """Gives the network, after its training, the weights that are tested, and the logits that
        it was trained with."""
        self.network.load_state_dict(self._weights)
        output: Any = self.network.head.output
        output.temperature = 1.0
        self.network.eval()

    def logits_of(self, split: str) -> tuple[Tensor, Tensor]:
        return evaluate(self.network, self.data.split_loader(split))


@torch.inference_mode()
def evaluate(network: Network, batches: Iterable[SequenceBatch]) -> tuple[Tensor, Tensor]:
    """The logits `(N, C)` of all rows, and their targets `(N,)`."""
    logits = []
    targets = []
    for batch in batches:
        logits.append(network(batch.inputs, batch.lengths))
        targets.append(batch.targets)
    return torch.cat(logits).float(), torch.cat(targets)


def accuracy(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(dim=1) == targets).double().mean())


# ---------------------------------------------------------------- after the training


def without_quarters(looks: Looks) -> list[float]:
    """The test accuracy with each quarter of every row hidden."""
    accuracies = []
    for quarter in range(QUARTERS):
        batches = looks.data.split_loader("test")
        hidden_batches = (hide_quarter(batch, quarter) for batch in batches)
        accuracies.append(accuracy(*evaluate(looks.network, hidden_batches)))
    return accuracies


def hide_quarter(batch: SequenceBatch, quarter: int) -> SequenceBatch:
    """The batch with a quarter of each row hidden: features become their mean, which is 0, and
    words become the unknown token."""
    hidden = 0.0 if batch.inputs.is_floating_point() else UNKNOWN_ID
    for row, length in zip(batch.inputs, batch.lengths.tolist(), strict=True):
        start = length * quarter // QUARTERS
        stop = length * (quarter + 1) // QUARTERS
        row[start:stop] = hidden
    return batch


def in_other_batches(looks: Looks) -> dict[str, float]:
    """The test accuracy in batches of one row, and in one batch of all rows."""
    batch_size = looks.data.batch_size
    sizes = {"one by one": 1, "all in one": len(looks.data.datasets["test"])}
    accuracies = {}
    for name, size in sizes.items():
        looks.data.batch_size = size
        accuracies[name] = accuracy(*looks.logits_of("test"))
    looks.data.batch_size = batch_size
    return accuracies


def calibration(looks: Looks) -> dict[str, float]:
    """The calibration error and the loss of the test split, as it is and with one temperature that
    divides the logits, which is fitted on the validation split."""
    temperature = fit_temperature(*looks.logits_of("validation"))
    logits, targets = looks.logits_of("test")
    found = {"temperature": temperature}
    for name, divided in {"as_it_is": logits, "divided": logits / temperature}.items():
        found[f"error_{name}"] = float(
            multiclass_calibration_error(
                divided.softmax(dim=1), targets, num_classes=logits.shape[1], n_bins=BINS
            )
        )
        found[f"loss_{name}"] = float(F.cross_entropy(divided, targets))
    return found


def median_length(looks: Looks) -> float:
    """The steps that the network reads of a test row, in the median."""
    return median(looks.data.datasets["test"].lengths.tolist())
