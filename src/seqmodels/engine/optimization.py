"""Optimiser, learning rates and gradient clipping, from plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, OneCycleLR, ReduceLROnPlateau

from seqmodels.arguments import Count, Name, NonNegativeFraction
from seqmodels.engine.budget import BY_TIME, NO_END, Budget
from seqmodels.engine.metrics import more_is_better
from seqmodels.errors import UserError, choices, one_line, unusable
from seqmodels.instantiate import allowed_class, instantiate

TOTAL_STEPS = "total_steps"

SCHEDULED = ("lr", "momentum", "betas")  # what a scheduler changes


class Plateau(ReduceLROnPlateau):
    """Lowers the learning rate when a metric of the validation no longer gets better.

    Args:
        monitor: the metric, such as `validation/accuracy`; None: what the checkpoint monitors.
        options: as `torch.optim.lr_scheduler.ReduceLROnPlateau` documents them; `mode` is what is
            better by the metric.
    """

    def __init__(self, optimizer: Optimizer, monitor: Name | None = None, **options: Any) -> None:
        super().__init__(optimizer, **options)
        self.monitor = monitor


class LinearWarmup(LambdaLR):
    """Raises the learning rate in a line, and lowers it in a line to 0 at the end of the training.

    Args:
        total_steps: of the training.
        warmup: the share of them in which it rises.
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: Count, warmup: NonNegativeFraction = 0.1
    ) -> None:
        rise = max(1, round(warmup * total_steps))
        fall = max(1, total_steps - rise)
        super().__init__(
            optimizer, lambda n: min((n + 1) / rise, max(0, total_steps - n) / fall, 1)
        )


class Plan:
    """A scheduler that drives an optimiser of its own, whose values others copy.

    So it can take several steps at once, as a training that ends by time needs.

    Args:
        leader: an optimiser of the training's class and arguments, of a parameter that nobody uses.
        scheduler: of that optimiser.
    """

    def __init__(self, leader: Optimizer, scheduler: Any) -> None:
        self.leader, self.scheduler, self.taken = leader, scheduler, 0
        _try_step(leader)  # PyTorch warns of a scheduler that steps before its optimizer

    @property
    def values(self) -> dict[str, Any]:
        return {k: v for k, v in self.leader.param_groups[0].items() if k != "params"}

    def advance(self, due: int) -> None:
        for _ in range(due - self.taken):
            self.scheduler.step()
        self.taken = max(due, self.taken)


class Schedule:
    """Sets the learning rates after each step: any scheduler, planned for the whole training. Each
    group of parameters can have its own rate in proportion.

    Args:
        optimizer: of the training.
        rates: of its groups of parameters, at the highest point of the schedule; None: the
            optimiser's.
        plans: the plan by steps. Where time may end a long training first, also one of `BY_TIME`
            places, which is followed while more of the time than of the steps is used: the plan by
            steps would have to take a step for each place that the time skips.
        budget: of the training; None: the scheduler takes one step at each step.
        seconds: the time used so far.
        monitor: the metric of the validation that the scheduler reads, if it reads one; then it
            takes a step after each validation.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        rates: Iterable[float | None],
        plans: Sequence[Plan],
        budget: Budget | None,
        seconds: Callable[[], float],
        monitor: str | None = None,
    ) -> None:
        self.optimizer, self.rates, self.plans = optimizer, [*rates], plans
        self.budget, self.seconds, self.monitor = budget, seconds, monitor
        self.plan, self.steps = plans[0], 0
        self._set()

    def step(self) -> None:
        self.steps += 1
        self._catch_up()

    def validated(self, measured: Mapping[str, Tensor]) -> None:
        """Takes the step of a scheduler that reads a metric of the validation.

        Raises:
            UserError: if the validation has no such metric.
        """
        if self.monitor is None:
            return
        if self.monitor not in measured:
            names = choices(self.monitor, measured)
            raise UserError(f"model.scheduler.monitor={self.monitor} is not measured: {names}")
        self.plan.scheduler.step(float(measured[self.monitor]))
        self._set()

    def _catch_up(self) -> None:
        self.plan, due = self.plans[0], 0 if self.monitor else self.steps
        if self.budget is not None:
            due = self.budget.place(self.steps, self.seconds())
            if due > self.steps and len(self.plans) > 1:
                self.plan, due = self.plans[1], due * BY_TIME // self.budget.places
        self.plan.advance(due)
        self._set()

    def _set(self) -> None:
        values = self.plan.values
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group.update({name: values[name] for name in SCHEDULED if name in values})
            if rate is not None:
                group["lr"] *= rate / self.plan.leader.defaults["lr"]

    def state_dict(self) -> dict[str, Any]:
        """The plan by steps; the one by time has few places, so a resume steps through it again."""
        plan = self.plans[0]
        own = plan.scheduler.state_dict()
        return {"steps": self.steps, "taken": plan.taken, "scheduler": own, "values": plan.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues a saved schedule; one without `scheduler` is planned anew up to its step."""
        self.steps = state["steps"]
        if "scheduler" not in state:
            self._catch_up()
            return
        [plan, *_] = self.plans
        plan.taken = state["taken"]
        plan.scheduler.load_state_dict(state["scheduler"])
        plan.leader.param_groups[0].update(state["values"])


def build_optimizer(
    parameters: Mapping[str, Parameter],
    optimizer: Mapping[str, Any] | None,
    scheduler: Mapping[str, Any] | None,
    budget: Budget | None,
    *,
    rates: Mapping[str, float] | None = None,
    seconds: Callable[[], float] = float,
    monitor: str | None = "validation/loss",
    allowed_targets: Iterable[str] = (),
) -> Any:
    """What `LightningModule.configure_optimizers` returns; the scheduler goes by step.

    Args:
        parameters: by name.
        optimizer, scheduler: plain dicts with a `_target_`; a value "total_steps" in the scheduler
            stands for the places of the budget.
        rates: of the parameters whose names begin so; the longest beginning counts.
        seconds: the time of the training so far.
        monitor: for a scheduler that reads a metric of the validation and names none; None without
            validations.

    Raises:
        UserError: if a class refuses its arguments, or if the scheduler needs the end of a training
            that has none.
    """

    if not optimizer:
        raise UserError("model.optimizer is null: choose one, such as optimizer=adamw")

    def build(parameters: Any) -> Optimizer:
        built: Optimizer = instantiate(
            optimizer, parameters, key="model.optimizer", allowed_targets=allowed_targets
        )
        return built

    plan = scheduler or {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
    kind = allowed_class(plan, allowed_targets)
    reads = _metric_read(plan, monitor) if issubclass(kind, ReduceLROnPlateau) else None

    def build_plan(places: int | None) -> Plan:
        planned = {k: places if v == TOTAL_STEPS else v for k, v in plan.items()}
        leader = build([Parameter(torch.zeros(1, 1))])
        if reads and "mode" not in plan:
            planned["mode"] = "max" if more_is_better(reads) else "min"
        if issubclass(kind, OneCycleLR | CyclicLR) and not _has_momentum(leader):
            planned.setdefault("cycle_momentum", False)
        with unusable(f"model.scheduler: {plan['_target_']} cannot be built"):
            return Plan(
                leader,
                instantiate(
                    planned, leader, key="model.scheduler", allowed_targets=allowed_targets
                ),
            )

    if not is_stretched(scheduler):
        budget = None
    elif budget is None:
        raise UserError(f"model.scheduler {NO_END}, or scheduler=none")
    groups = grouped(parameters, rates or {})
    built = build([{"params": members} for members in groups.values()])
    if "lr" not in built.param_groups[0]:
        raise UserError(f"model.optimizer: {type(built).__name__} must call its learning rate lr")
    plans = [build_plan(places) for places in (budget.plans if budget else [None])]
    schedule = Schedule(built, groups, plans, budget, seconds, reads)
    if scheduler is None and groups.keys() == {None}:
        return built
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def monitored(trainer: pl.Trainer) -> str | None:
    """The metric of the validation that the checkpoint monitors, or else the loss; None without
    validations."""
    name = str(getattr(trainer.checkpoint_callback, "monitor", None))
    if trainer.limit_val_batches == 0:
        return None
    return name if name.startswith("validation/") else "validation/loss"


def _metric_read(plan: Mapping[str, Any], monitor: str | None) -> str:
    if monitor is None:
        raise UserError(
            f"model.scheduler: {plan['_target_']} reads a metric of the validation, and "
            "trainer.limit_val_batches=0 leaves none: choose another one, such as scheduler=none"
        )
    name: str = plan.get("monitor") or monitor
    if not name.startswith("validation/"):
        raise UserError(f"model.scheduler.monitor={name}: choose a metric such as validation/loss")
    return name


def _has_momentum(optimizer: Optimizer) -> bool:
    return "betas" in optimizer.defaults or bool(optimizer.defaults.get("momentum"))


def _try_step(optimizer: Optimizer) -> None:
    """Takes a step of an optimiser, as Lightning does.

    Raises:
        UserError: if no task can be trained so.
    """
    name, calls = type(optimizer).__name__, []
    [parameter] = optimizer.param_groups[0]["params"]

    def closure() -> float:
        calls.append(True)
        parameter.grad = torch.ones_like(parameter)
        return 1.0

    try:
        optimizer.step(closure)
    except Exception as error:  # an optimiser of one's own may raise anything
        raise UserError(f"model.optimizer: {name} cannot step: {one_line(error)}") from error
    if len(calls) != 1:
        raise UserError(
            f"model.optimizer: {name} computes the loss {len(calls)} times in a step, and a "
            "training here once: choose another one"
        )


def is_stretched(scheduler: Mapping[str, Any] | None) -> bool:
    """Whether it is planned for the whole training."""
    return scheduler is not None and TOTAL_STEPS in scheduler.values()


def grouped(
    parameters: Mapping[str, Parameter], rates: Mapping[str, float]
) -> dict[float | None, list[Parameter]]:
    """The parameters by their rate."""
    groups: dict[float | None, list[Parameter]] = {}
    for name, parameter in parameters.items():
        beginnings = [beginning for beginning in rates if name.startswith(beginning)]
        rate = rates[max(beginnings, key=len)] if beginnings else None
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
