"""What PyTorch's devices differ in: copies, types, random numbers and autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

CPU, MPS = "cpu", "mps"


def copies_at_once(device: torch.device) -> bool:
    """Whether the host waits until a copy to this device is done, or there is nothing to copy.

    MPS could copy later, but PyTorch may have freed the memory by then, and the copy has wrong
    values without an error (PyTorch issues 139550 and 189690).
    """
    return device.type in (CPU, MPS, "meta")


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on this device, without a wait of the host where the device has a way; or
    the copy that `keep_on_device` has made there."""
    kept: Tensor | None = getattr(tensor, "kept", None)
    if kept is not None and kept.device == device:
        return kept
    if device.type == MPS and tensor.dtype == torch.float64:  # MPS has no such type.
        tensor = tensor.float()
    if copies_at_once(device) or tensor.device.type != CPU:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def keep_on_device(tensor: Tensor, device: torch.device) -> None:
    """Makes the copy that `on_device` gives from now on, so that everyone who needs it there shares
    one. Don't write to the tensor afterwards."""
    tensor.kept = on_device(tensor, device)  # type: ignore[attr-defined]


def exact(values: Tensor) -> Tensor:
    """In float64, in which long sums keep their digits; on MPS, which has none, in float32."""
    return values.float() if values.device.type == MPS else values.double()


def random_state(device: torch.device) -> Tensor:
    """The state of an accelerator's own random numbers."""
    module = torch.get_device_module(device)
    if device.type == MPS:  # There is one device, which isn't named.
        return module.get_rng_state()
    return module.get_rng_state(device)


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Continues the random numbers of a device from what `random_state` gave."""
    module = torch.get_device_module(device)
    if device.type == MPS:
        module.set_rng_state(state)
    else:
        module.set_rng_state(state, device)


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """Within: this thread of a CPU takes numbers nearer to 0 than 1e-38 for 0. It is many times
    slower with them, and the gradient of a long row consists of them where it has faded."""
    were_zero = not bool(torch.tensor(1e-38) * 0.1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(were_zero)


def recurrent_dtype(device: torch.device) -> torch.dtype | None:
    """In which type to call a recurrent network here, with autocast off; None: as it is.

    Under autocast, cuDNN's recurrent networks compute in float16, even if autocast is to bfloat16
    (PyTorch's ATen/cudnn/AutocastRNN.cpp). Without a scaled loss, small gradients would be 0 there.
    """
    name = device.type
    if name == CPU or not torch.amp.is_autocast_available(name):
        return None
    if not torch.is_autocast_enabled(name) or torch.get_autocast_dtype(name) != torch.bfloat16:
        return None  # In float16, Lightning scales the loss.
    return torch.bfloat16 if cudnn_takes_bfloat16() else torch.float32


@cache
def cudnn_takes_bfloat16() -> bool:
    """Whether cuDNN's recurrent networks take bfloat16 on this GPU: since cuDNN 9.13."""
    version = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return (version or 0) >= 91300 and torch.cuda.is_bf16_supported(including_emulation=False)
