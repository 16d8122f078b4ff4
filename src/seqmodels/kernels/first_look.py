"""A look at a batch of a real network: is what the device makes of it what the CPU makes of it?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.device import random_state, set_random_state
from seqmodels.kernels.compare import largest_difference
from seqmodels.kernels.precision import FLOAT32, Precision

# A trained network may amplify rounding, more than the small ones of `cases.py`. How much, float32
# on the CPU shows beside float64. A device adds in another order, and so rounds otherwise.
AMPLIFIED = 16.0
# What a CPU computes in a second at the least, and the time of a call for one step of a layer.
OPERATIONS_PER_SECOND = 2e9
SECONDS_PER_STEP = 5e-5


def seconds_on_cpu(network: Any, batch: Any) -> float:
    """How long the CPU may take for a batch, in float32 and in float64."""
    rows, steps = batch.inputs.shape[:2]
    weights = sum(weight.numel() for weight in network.encoder.parameters())
    calls = steps * network.encoder.num_layers * network.encoder.num_directions
    seconds = 2 * rows * steps * weights / OPERATIONS_PER_SECOND + calls * SECONDS_PER_STEP
    return 2 * seconds


def first_look(
    network: Any,
    batch: Any,
    precision: Precision,
    device: torch.device,
    forward_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[float, float]:
    """How far what the encoder makes of a batch on its device is from float64 on the CPU, and what
    rounding explains for this network and batch.

    Args:
        network: a `Network` on the device.
        batch: on the device.
        forward_context: such as autocast.
    """
    with _unchanged(network, device):
        with forward_context():
            there = _read(network, batch, lambda tensor: tensor)
        on_cpu = copy.deepcopy(network).cpu().float()
        batch_on_cpu = batch.to("cpu")
        in_float32 = _read(on_cpu, batch_on_cpu, Tensor.float)
        in_float64 = _read(on_cpu.double(), batch_on_cpu, Tensor.double)
    rounding_of_cpu = _difference(in_float32, in_float64)
    share = max(precision.stored / FLOAT32.stored, 1.0)
    width = network.encoder.rnn.input_size + network.encoder.rnn.hidden_size
    bound = precision.forward_bound(width, network.encoder.num_layers)
    return _difference(there, in_float64), bound + AMPLIFIED * share * rounding_of_cpu


def _read(network: Any, batch: Any, change: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """All tensors of the encoder, of a batch whose features are changed to another type."""
    changed = batch.map(lambda t: change(t) if t.is_floating_point() else t, "inputs")
    tensors = network.encode(changed).tensors
    return [tensor.detach().cpu().double() for tensor in tensors.values()]


def _difference(results: list[Tensor], expected: list[Tensor]) -> float:
    pairs = zip(results, expected, strict=True)
    return max(largest_difference(result, truth) for result, truth in pairs)


@contextmanager
def _unchanged(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Within: the module evaluates, and may draw random numbers. Afterwards its parts are in the
    modes they were in, and random numbers go on as before."""
    modes = [(part, part.training) for part in module.modules()]
    state_of_cpu = torch.get_rng_state()
    state_of_device = random_state(device)
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, is_training in modes:
            part.training = is_training
        torch.set_rng_state(state_of_cpu)
        set_random_state(device, state_of_device)
