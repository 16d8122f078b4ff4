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
    if device.type != "cpu" and "device" in process:  # else it was trained on a CPU
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
                    wrong = f"{name} of an optimizer is {[*value.shape]} and not {[*shape]}"
                    raise ValueError(wrong)


def replan(trainer: pl.Trainer, new: Any, changed: Collection[str]) -> None:
    """Has a resumed optimiser and its scheduler take the arguments, and so the plan, of `new` ones
    as `configure_optimizers` returns them, at the step that the training has reached. `changed` are
    the keys of the configuration that are not what the checkpoint was trained with."""
    scheduler = new["lr_scheduler"]["scheduler"] if isinstance(new, dict) else None
    [old], [group] = trainer.optimizers, (new["optimizer"] if scheduler else new).param_groups
    kept = {"params"}
    if isinstance(scheduler, ReduceLROnPlateau):  # it lowers the rate that there is
        kept |= set() if "model.optimizer.lr" in changed else {"lr"}
    elif scheduler is not None:
        with warnings.catch_warnings():  # that no step of the new optimiser came before
            warnings.simplefilter("ignore")
            for _ in range(0 if isinstance(scheduler, Shaped) else trainer.global_step):
                scheduler.step()
        trainer.lr_scheduler_configs[0].scheduler.load_state_dict(scheduler.state_dict())
    old.param_groups[0].update({k: v for k, v in group.items() if k not in kept})


def from_every_process(value: T) -> list[T]:
    """The value of each process, by rank."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
