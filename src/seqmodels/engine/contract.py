"""The contract between a task and its data, head, encoder and engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from seqmodels.batch import Per
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
    """

    per: Per
    target: str
    causal: bool = False
    stateful: bool = False

    @property
    def kind(self) -> Target:
        """What is registered of the target."""
        return find_target(self.target)


def describe_target(per: Per, target: str) -> str:
    """`a class for each sequence`."""
    return f"{find_target(target).what} for each {per}"


@dataclass(frozen=True, eq=False)
class Step:
    """What a task makes of one batch.

    Args:
        loss: a scalar, the mean over `weight` targets.
        weight: the number of targets; a tensor where only the device knows it, because reading
            that at every step would wait for the device.
        predictions, targets: for the metrics, at the end of the epoch; None without metrics, and
            no targets where the predictions are counts that compare the two already.
        scale: what a metric divides errors by, where the task knows such a scale.
        scored: predictions and targets for the metrics of `model.metrics`, such as probabilities;
            needed where the task's `measures_more` is true. None: as its own metrics get them.
        sums: what the task's metrics take instead of predictions and targets, to be added up.
    """

    loss: Float[Tensor, ""]
    weight: int | Tensor
    predictions: Tensor | None = None
    targets: Tensor | None = None
    scale: Tensor | None = None
    scored: tuple[Any, Any] | None = None
    sums: Tensor | None = None


def share_of_targets(weight: int | Tensor, device: torch.device) -> float | Tensor:
    """The targets of this process in a step, relative to the mean over all processes.

    Gradients of processes are averaged. With the losses times this, that is the gradient of the
    mean over the targets of all, as of one process, however many each of them has.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1.0
    total = torch.as_tensor(weight, device=device).to(torch.float32, copy=True)
    distributed.all_reduce(total)
    return weight * distributed.get_world_size() / total


def gather(steps: Sequence[Step], per: Per) -> dict[str, Tensor]:
    """What metrics take of these steps, one after the other; nothing of none.

    `value` and `weight` `(N,)`; `preds` and `target` `(B, ...)` of all batches, and of all steps,
    padding included, where there is one target for each.
    """
    if not steps:
        return {}
    losses = torch.stack([step.loss for step in steps])
    weights = torch.stack([torch.as_tensor(step.weight) for step in steps]).to(losses.device)
    values = {"value": losses, "weight": weights}
    last = 1 if per == "step" else 0  # batches are of different lengths: (B, T) -> (B * T,)
    fields = {"preds": "predictions", "target": "targets", "scale": "scale"}
    for name, field in fields.items():
        if getattr(steps[0], field) is not None:
            values[name] = torch.cat([getattr(step, field).flatten(0, last) for step in steps])
    if sums := [step.sums for step in steps if step.sums is not None]:
        values["sums"] = torch.stack(sums).sum(0)
    return values


def join(earlier: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `gather` gives of some steps, and of those after them, as it would give of all."""
    if not (earlier and values):
        return dict(earlier or values)
    both = {k: (earlier[k].to(value.device), value) for k, value in values.items()}
    return {k: a + b if k == "sums" else torch.cat([a, b]) for k, (a, b) in both.items()}
