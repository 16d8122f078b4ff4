"""Saves and restores what Lightning's checkpoints lack, so that a resumed training is bit for bit
the uninterrupted one."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seqmodels.device import random_state, set_random_state
from seqmodels.engine.optimization import Shaped
from seqmodels.errors import UserError

T = TypeVar("T")


def saved_state(device: torch.device, process_state: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each process its random numbers, which dropout draws, and its `process_state`."""
    process: dict[str, Any] = {"cpu": torch.get_rng_state(), **process_state}
    if device.type != "cpu":
        process["device"] = random_state(device)
    return from_every_process(process)


def restored_state(
    saved: list[dict[str, Any]], device: torch.device, trainer: pl.Trainer
) -> dict[str, Any]:
    """Continues the random numbers of a saved state; returns what it holds for this process."""
    if len(saved) != trainer.world_size:
        raise UserError(
            f"the checkpoint is of a training with {len(saved)} processes and this one has "
            f"{trainer.world_size}: keep trainer.devices as it was"
        )
    for optimizer in trainer.optimizers:
        check_fused(optimizer)
    process = saved[trainer.global_rank]
    torch.set_rng_state(process["cpu"])
    # A training on a CPU has no numbers of a device.
    if device.type != "cpu" and "device" in process:
        set_random_state(device, process["device"])
    return process


def check_fused(optimizer: Optimizer) -> None:
    """Raises ValueError for a restored state of another shape than its parameter: PyTorch's fused
    steps write as many numbers as the parameter has, beyond the end of a smaller one."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("fused") else ():
            for name, value in optimizer.state.get(parameter, {}).items():
                shape = torch.Size() if name == "step" else parameter.shape
                if isinstance(value, Tensor) and value.shape != shape:
                    raise ValueError(
                        f"{name} of an optimizer is {[*value.shape]} and not {[*shape]}"
                    )


def replan(trainer: pl.Trainer, configured: Any, changed: Collection[str]) -> None:
    """Has a resumed optimiser and its scheduler take the arguments of new ones, and so their plan,
    at the step that the training has reached.

    Args:
        configured: the new ones, as `configure_optimizers` returns them.
        changed: the keys of the configuration that are not what the checkpoint was trained with.
    """
    scheduler = None
    optimizer = configured
    if isinstance(configured, dict):
        scheduler = configured["lr_scheduler"]["scheduler"]
        optimizer = configured["optimizer"]
    kept_names = {"params"}
    if isinstance(scheduler, ReduceLROnPlateau):
        # It lowers the rate that there is.
        if "model.optimizer.lr" not in changed:
            kept_names.add("lr")
    elif scheduler is not None:
        if not isinstance(scheduler, Shaped):  # A `Shaped` one has no state.
            step_up_to(scheduler, trainer.global_step)
        trainer.lr_scheduler_configs[0].scheduler.load_state_dict(scheduler.state_dict())
    [new_group] = optimizer.param_groups
    [resumed_optimizer] = trainer.optimizers
    for name, value in new_group.items():
        if name not in kept_names:
            resumed_optimizer.param_groups[0][name] = value


def step_up_to(scheduler: Any, count: int) -> None:
    """Takes so many steps of a new scheduler."""
    with warnings.catch_warnings():
        # PyTorch warns that no step of the new optimiser came before.
        warnings.simplefilter("ignore")
        for _ in range(count):
            scheduler.step()


def from_every_process(value: T) -> list[T]:
    """The value of each process, by rank."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
