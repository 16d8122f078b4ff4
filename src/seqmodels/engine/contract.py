"""The contract between a task and its data, head, encoder and engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed

from seqmodels.batch import Per
from seqmodels.device import exact
from seqmodels.nn.outputs import TINY, Score
from seqmodels.target import Target, find_target


@dataclass(frozen=True)
class Contract:
    """The one statement of what a task is; everything else follows from it.

    Args:
        per: one prediction for each sequence, or one for each step; decides which heads fit.
        target: what to predict, by its name in `TARGETS`; decides which data fit.
        causal: whether a step may depend on itself and earlier steps only; then the encoder reads
            in one direction, and the audit looks for leaks from the future.
        stateful: whether the final state of a batch starts the next one.
        live: whether steps are usually predicted as they arrive. Then the encoder reads in one
            direction, unless the configuration says otherwise.
    """

    per: Per
    target: str
    causal: bool = False
    stateful: bool = False
    live: bool = False

    @property
    def kind(self) -> Target:
        """What is registered of the target."""
        return find_target(self.target)


@dataclass(frozen=True, eq=False)
class Step:
    """What a task makes of one batch.

    Args:
        score: what its targets cost.
        sums: what the task's `scores` are made of, by name: tensors that add up over batches and
            processes, such as how many are right of each class.
        measured: predictions and targets for the metrics of `model.metrics`, such as probabilities;
            needed where the task's `measures_more` is true.
    """

    score: Score
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    measured: tuple[Any, Any] | None = None


class Sums:
    """The steps of an epoch, added up on their device: as large after a million steps as after one.
    `totals` are the costs, times their weights, as `loss`; `weight`; and the task's `sums`."""

    def __init__(self, totals: Mapping[str, Any] | None = None) -> None:
        self.totals = dict(totals or {})

    def add(self, step: Step) -> None:
        weight = exact(step.score.weight)
        summed_loss = exact(step.score.loss.detach()) * weight
        for name, value in {**step.sums, "loss": summed_loss, "weight": weight}.items():
            if name in self.totals:
                self.totals[name] = self.totals[name] + value
            else:
                self.totals[name] = value

    def since(self, earlier: Sums) -> Sums:
        """These sums without `earlier` ones."""
        # A dict keeps its order, which must be the same in all processes: they add up by it.
        names = {**self.totals, **earlier.totals}
        return Sums(
            {name: self.totals.get(name, 0) - earlier.totals.get(name, 0) for name in names}
        )

    def on(self, device: torch.device | str) -> Sums:
        """The same sums on this device."""
        return Sums({name: total.to(device) for name, total in self.totals.items()})

    def of_all(self, device: torch.device) -> dict[str, Tensor]:
        """The totals of all processes."""
        totals = {name: total.to(device, copy=True) for name, total in self.totals.items()}
        if distributed.is_available() and distributed.is_initialized():
            for total in totals.values():
                distributed.all_reduce(total)
        return totals


def share_of_loss(score: Score) -> Tensor:
    """The loss of a step, times the weight of this process relative to the mean over all.

    Gradients of processes are averaged. With the losses so, that is the gradient of the mean over
    the targets of all, as of one process, however many each of them has.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return score.loss
    total_weight = score.weight.to(score.loss, copy=True)
    distributed.all_reduce(total_weight)
    summed_weight = score.weight * distributed.get_world_size()
    return score.loss * (summed_weight / total_weight.clamp(min=TINY))
