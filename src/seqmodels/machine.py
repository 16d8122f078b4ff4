"""The device at hand, and Lightning's voice on it."""

from __future__ import annotations

import logging
import warnings

import lightning.pytorch as pl
import torch

from seqmodels.errors import UserError, choices


def find_device(accelerator: str) -> torch.device:
    """The device that `auto`, `cpu`, `gpu`, `cuda` or `mps` means on this machine.

    Raises:
        UserError: if PyTorch finds none of that kind.
    """
    here = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    kinds = {"auto": (here.type,), "cpu": ("cpu",), "gpu": ("cuda", "mps"), "cuda": ("cuda",)}
    kinds["mps"] = ("mps",)
    if accelerator not in kinds:
        raise UserError(f"accelerator={accelerator}: {choices(accelerator, kinds)}")
    if accelerator == "cpu":
        return torch.device("cpu")
    if here.type not in kinds[accelerator]:
        raise UserError(
            f"accelerator={accelerator}: PyTorch finds no such device on this machine; "
            "use auto or cpu"
        )
    return here


def device_name(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


def quieten_lightning() -> None:
    # its hints are for people who configure Lightning by hand, as configs/ has done already
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for hint in (
        "does not have many workers",
        "smaller than the logging interval",
        "LeafSpec",
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed",
        "It is recommended to use .*sync_dist",  # torchmetrics has put the processes together
    ):
        warnings.filterwarnings("ignore", f".*{hint}")
