"""A look at a batch of a real network: is what the device makes of it what the CPU makes of it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.device import random_state, set_random_state
from seqmodels.kernels.compare import largest_difference
from seqmodels.kernels.precision import FLOAT32, Precision

# A trained network may amplify rounding, more than the small ones of `cases.py`. How much, float32
# on the CPU shows beside float64. A device adds in another order, and so rounds otherwise.
AMPLIFIED = 16.0


def difference_from_cpu(there: Tensor, in_float32: Tensor, in_float64: Tensor) -> float:
    """How far the device's numbers are from the truth."""
    return largest_difference(there.detach().cpu().double(), in_float64)


def allowed(
    precision: Precision, width: int, layers: int, in_float32: Tensor, in_float64: Tensor
) -> float:
    """What rounding explains, for this network and batch."""
    rounding_of_cpu = largest_difference(in_float32.double(), in_float64)
    share = max(precision.stored / FLOAT32.stored, 1.0)
    return precision.forward_bound(width, layers) + AMPLIFIED * share * rounding_of_cpu


@contextmanager
def unchanged(module: nn.Module, device: torch.device) -> Iterator[None]:
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


def read(network: Any, batch: Any, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The logits of a batch whose features are changed so, such as to another type."""
    changed = batch.map(lambda t: change(t) if t.is_floating_point() else t, "inputs")
    return network.read_out(network.encode(changed), changed)
