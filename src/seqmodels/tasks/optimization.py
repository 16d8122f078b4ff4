"""Optimiser, learning rates and gradient clipping, from plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.nn import Parameter
from torch.optim import Optimizer

from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate
from seqmodels.tasks.budget import NO_END, Budget

TOTAL_STEPS = "total_steps"

SCHEDULED = ("lr", "momentum", "betas")  # what a scheduler changes


@dataclass(frozen=True)
class Rate:
    """How a group of parameters learns.

    Args:
        lr: its own learning rate, at the highest point of the schedule; None: the optimiser's.
        frozen: the steps before it learns at all.
    """

    lr: float | None = None
    frozen: int = 0


class Schedule:
    """Sets the learning rates after each step: any scheduler, planned for the whole training.

    The scheduler drives an optimiser of its own, whose values are copied. So it can take several
    steps at once, as a training that ends by time needs, and each group of parameters can have its
    own rate in proportion.

    Args:
        optimizer: of the training.
        rates: of its groups of parameters.
        leader: an optimiser of the same class and arguments, of a parameter that nobody uses.
        build: makes the scheduler of an optimiser.
        budget: of the training.
        stretched: whether the scheduler is planned for all places of the budget; otherwise it takes
            one step at each step.
        seconds: the time used so far.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        rates: Iterable[Rate],
        leader: Optimizer,
        build: Callable[[Optimizer], Any],
        budget: Budget | None,
        *,
        stretched: bool,
        seconds: Callable[[], float],
    ) -> None:
        self.optimizer, self.rates, self.leader = optimizer, [*rates], leader
        self.budget, self.stretched, self.seconds = budget, stretched, seconds
        self._base = leader.param_groups[0]["lr"]
        self.scheduler = build(leader)
        leader.step()  # PyTorch warns of a scheduler that steps before its optimizer
        self.steps = self.taken = 0
        self._set()

    def step(self) -> None:
        self.steps += 1
        self._catch_up()

    def _catch_up(self) -> None:
        due = self.steps
        if self.budget is not None and self.stretched:
            due = self.budget.place(self.steps, self.seconds())
        for _ in range(due - self.taken):
            self.scheduler.step()
        self.taken = max(due, self.taken)
        self._set()

    def _set(self) -> None:
        [values] = self.leader.param_groups
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group.update({name: values[name] for name in SCHEDULED if name in values})
            if rate.lr is not None:
                group["lr"] *= rate.lr / self._base
            if self.steps < rate.frozen:
                group["lr"] = 0.0

    def state_dict(self) -> dict[str, Any]:
        values = {k: v for k, v in self.leader.param_groups[0].items() if k != "params"}
        own = self.scheduler.state_dict()
        return {"steps": self.steps, "taken": self.taken, "scheduler": own, "values": values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues a saved schedule; one without `scheduler` is planned anew up to its step."""
        if "steps" not in state:  # version 0.1 saved the scheduler alone
            steps = state["last_epoch"]
            rate = state["_last_lr"][0]
            state = {"steps": steps, "taken": steps, "scheduler": state, "values": {"lr": rate}}
        self.steps = state["steps"]
        if "scheduler" not in state:
            self._catch_up()
            return
        self.taken = state["taken"]
        self.scheduler.load_state_dict(state["scheduler"])
        self.leader.param_groups[0].update(state["values"])


def build_optimizer(
    parameters: Mapping[str, Parameter],
    optimizer: Mapping[str, Any],
    scheduler: Mapping[str, Any] | None,
    budget: Budget | None,
    *,
    rates: Mapping[str, Rate] | None = None,
    seconds: Callable[[], float] = float,
    allowed_targets: Iterable[str] = (),
) -> Any:
    """What `LightningModule.configure_optimizers` returns; the scheduler goes by step.

    Args:
        parameters: by name.
        optimizer, scheduler: plain dicts with a `_target_`; a value "total_steps" in the scheduler
            stands for the places of the budget.
        rates: of the parameters whose names begin so; the longest beginning counts.
        seconds: the time of the training so far.

    Raises:
        UserError: naming the class and what is wrong with its arguments; if the scheduler needs the
            end of a training that has none.
    """

    def build(parameters: Any) -> Optimizer:
        built: Optimizer = instantiate(optimizer, parameters, allowed_targets=allowed_targets)
        return built

    def build_scheduler(leader: Optimizer) -> Any:
        plan = scheduler or {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
        places = budget and budget.places
        planned = {k: places if v == TOTAL_STEPS else v for k, v in plan.items()}
        return instantiate(planned, leader, allowed_targets=allowed_targets)

    stretched = is_stretched(scheduler)
    if stretched and budget is None:
        raise UserError(f"model.scheduler {NO_END}, or model.scheduler=null")
    groups = grouped(parameters, rates or {})
    built = build([{"params": members} for members in groups.values()])
    if scheduler is None and groups.keys() == {Rate()}:
        return built
    schedule = Schedule(
        built,
        groups,
        build([Parameter(torch.zeros(1))]),
        build_scheduler,
        budget,
        stretched=stretched,
        seconds=seconds,
    )
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def is_stretched(scheduler: Mapping[str, Any] | None) -> bool:
    """Whether it is planned for the whole training."""
    return scheduler is not None and TOTAL_STEPS in scheduler.values()


def grouped(
    parameters: Mapping[str, Parameter], rates: Mapping[str, Rate]
) -> dict[Rate, list[Parameter]]:
    """The parameters by their rate."""
    groups: dict[Rate, list[Parameter]] = {}
    for name, parameter in parameters.items():
        beginnings = [beginning for beginning in rates if name.startswith(beginning)]
        rate = rates[max(beginnings, key=len)] if beginnings else Rate()
        groups.setdefault(rate, []).append(parameter)
    return groups


def clip_gradients(
    task: pl.LightningModule, optimizer: Optimizer, value: float | None, algorithm: str | None
) -> None:
    """Clips for fused optimisers in bfloat16 too.

    Lightning refuses to clip for a fused optimiser in mixed precision, because that one undoes the
    scaling of float16 gradients itself; but bfloat16 has no scaling.
    """
    precision = task.trainer.precision_plugin
    if not (isinstance(precision, MixedPrecision) and optimizer.defaults.get("fused")):
        task.clip_gradients(optimizer, value, algorithm)
        return
    if precision.scaler is not None:
        raise UserError(
            "trainer.precision=16-mixed cannot clip the gradients of a fused optimizer: "
            "set model.optimizer.fused=false, or trainer.precision=bf16-mixed"
        )
    kind = GradClipAlgorithmType(algorithm or "norm")
    Precision.clip_gradients(precision, optimizer, value or 0.0, kind)
