"""What a process uses of its machine: device, precision, memory, threads."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from seqmodels.device import CPU
from seqmodels.errors import UserError, choices


def find_device(accelerator: str, key: str = "accelerator") -> torch.device:
    """The device that `auto`, `cpu`, `gpu`, `cuda` or `mps` means on this machine. Raises UserError
    that names the key if PyTorch finds no such device."""
    cpu = torch.device(CPU)
    device = torch.accelerator.current_accelerator(check_available=True) or cpu
    is_available = {
        "auto": True,
        "cpu": True,
        "gpu": device.type != "cpu",
        "cuda": device.type == "cuda",
        "mps": device.type == "mps",
    }
    if accelerator not in is_available:
        raise UserError(f"{key}={accelerator}: {choices(accelerator, is_available)}")
    if not is_available[accelerator]:
        raise _missing_device(f"{key}={accelerator}")
    return cpu if accelerator == "cpu" else device


def _missing_device(setting: str) -> UserError:
    return UserError(f"{setting}: PyTorch finds no such device on this machine; use auto or cpu")


def device_named(name: str) -> torch.device:
    """The device of PyTorch's that `cuda:1` means, or `auto`, `gpu` and what else `find_device`
    takes. Raises UserError if it isn't there."""
    if ":" not in name:
        try:
            return find_device(name, "device")
        except UserError:
            # Other accelerators have names of their own.
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            if accelerator is None or accelerator.type != name:
                raise
            return accelerator
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name}: PyTorch knows no such device; use auto or cpu") from None
    if device.type == CPU and device.index == 0:
        return torch.device(CPU)  # Tensors there have no index.
    count = torch.accelerator.device_count()
    if device.type != find_device("auto").type or device.index >= count:
        raise _missing_device(f"device={name}")
    return device


def fastest_precision(accelerator: str) -> str:
    """`bf16-mixed` if the device computes in bfloat16 natively, else `32-true`."""
    device = find_device(accelerator)
    has_bfloat16 = False
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        # Not every torch has this function.
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        instructions = ("avx512_bf16", "amx_bf16", "bf16")
        has_bfloat16 = any(capabilities.get(name) for name in instructions)
    return "bf16-mixed" if has_bfloat16 else "32-true"


def device_name(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


def crowded(trainer: pl.Trainer) -> str:
    """A note that processes on the CPU share its cores; empty where each has one of its own."""
    processes = trainer.world_size
    cores = os.cpu_count() or 1
    if trainer.strategy.root_device.type != "cpu" or trainer.num_nodes > 1 or processes <= cores:
        return ""
    cores_in_words = "1 core" if cores == 1 else f"{cores} cores"
    return (
        f"trainer.devices={processes}: {processes} processes share {cores_in_words} of this CPU: "
        "trainer.devices=1 is faster"
    )


def keep_memory() -> None:
    """Makes this process keep freed memory for its next step, if the C library is glibc.

    By default, glibc returns freed blocks of megabytes to the kernel, and every training step on a
    CPU pays to get their pages again: up to a third of its time. In exchange, other processes
    cannot use the memory that this one keeps (benchmarks/language_model.py shows both).
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    # These numbers are those of malloc.h.
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 << 20)


def return_memory() -> None:
    """Returns memory that is freed to the machine, as far as Arrow and glibc hold it back. Each of
    them can't use what the other one holds."""
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    if sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within: PyTorch computes with one thread, which is fastest for a small model: several threads
    wait for each other, and ten times as long while other processes compute too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Within: libraries may draw random numbers of the CPU, and set threads and environment
    variables. Afterwards all of these are as before, and so a training is the same with or without
    them."""
    threads = torch.get_num_threads()
    environment = dict(os.environ)
    try:
        with isolate_rng(include_cuda=False):
            yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        torch.set_num_threads(threads)
