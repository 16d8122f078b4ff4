"""Saves and restores what Lightning's checkpoints lack, so that a resumed training is bit for bit
the uninterrupted one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from seqmodels.errors import UserError

T = TypeVar("T")


def saved_state(
    device: torch.device, total_steps: int | None, process_state: dict[str, Any]
) -> dict[str, Any]:
    """The planned steps, and of each process its random numbers, which dropout draws, and its
    `process_state`."""
    process: dict[str, Any] = {"cpu": torch.get_rng_state(), **process_state}
    if device.type == "cuda":
        process["cuda"] = torch.cuda.get_rng_state(device)
    return {"total_steps": total_steps, "processes": from_every_process(process)}


def restored_state(
    saved: dict[str, Any], device: torch.device, total_steps: int | None, trainer: pl.Trainer
) -> dict[str, Any]:
    """Continues the random numbers of a saved state; returns what it holds for this process.

    Raises:
        UserError: if this training cannot continue the saved one.
    """
    planned, count = saved["total_steps"], len(saved["processes"])
    if planned is not None and total_steps not in (None, planned):
        raise UserError(
            f"the checkpoint's scheduler was planned for {planned} steps and this training has "
            f"{total_steps}: keep trainer.max_epochs and the batch size as they were, or "
            "set scheduler=none"
        )
    if count != trainer.world_size:
        raise UserError(
            f"the checkpoint is of a training with {count} processes and this one has "
            f"{trainer.world_size}: keep trainer.devices as it was"
        )
    process: dict[str, Any] = saved["processes"][trainer.global_rank]
    torch.set_rng_state(process["cpu"])
    if device.type == "cuda" and "cuda" in process:
        torch.cuda.set_rng_state(process["cuda"], device)
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


def replan(checkpoint: dict[str, Any], optimizer: Mapping[str, Any]) -> None:
    """Has a checkpoint's optimiser take these arguments, and its scheduler the plan of this
    training, at the step that it has reached."""
    if "resume" in checkpoint:
        checkpoint["resume"]["total_steps"] = None
    if checkpoint["hyper_parameters"]["optimizer"]["_target_"] != optimizer["_target_"]:
        checkpoint["optimizer_states"] = []  # another class has nothing to do with it
    for saved in checkpoint["optimizer_states"]:
        for group in saved["param_groups"]:
            group.update({name: value for name, value in optimizer.items() if name in group})
    checkpoint["lr_schedulers"] = [{"steps": checkpoint["global_step"]}]


def from_every_process(value: T) -> list[T]:
    """The value of each process, by rank."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
