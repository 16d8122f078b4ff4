"""How exact a device computes in each precision, and which precisions it has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# One step of an LSTM rounds about ten numbers on the way to a state: two products, the sum with two
# biases, an activation, two products with gates, their sum, a tanh, and the product of it.
ROUNDINGS = 10
# Kernels have exp and tanh of their own, which miss the last digits of the type of the sums. This
# many of its roundings are more than any function of a step may be off.
FUNCTIONS = 16
# `cases.py` draws weights so small that a step keeps at most three quarters of an error of the
# state before it. Errors of all steps together are then at most 1 / (1 - 3/4) of one of them, and
# if they are independent, their variances add up to 1 / (1 - (3/4)^2) of one.
KEPT = 0.75
# The largest of a million independent errors is about five standard deviations; we allow six.
DEVIATIONS = 6.0


@dataclass(frozen=True)
class Precision:
    """A type, and how it rounds.

    Args:
        name: on the screen.
        dtype: of tensors.
        stored: the largest relative error of a number that is stored, or read by a product.
        summed: that of a number within a sum.
    """

    name: str
    dtype: torch.dtype
    stored: float
    summed: float

    def forward_bound(self, width: int, layers: int) -> float:
        """How far rounding can move a state, which is at most 1: a product of so wide a vector
        with weights at each step, through so many layers.

        Errors of sums may all have one sign, so the worst case counts. For half precision, the
        worst case of what is stored would be as large as a state. It never occurs: those errors
        are independent, and count by their variance, `stored ** 2 / 3` each.
        """
        sums = layers * (width + FUNCTIONS) * self.summed / (1 - KEPT)
        variance = layers * ROUNDINGS * self.stored**2 / 3 / (1 - KEPT**2)
        return sums + DEVIATIONS * math.sqrt(variance)

    def gradient_bound(self, width: int, layers: int, rows: int, steps: int) -> float:
        """How far rounding can move a gradient, relative to its largest number.

        Its own steps round as those of the forward pass do, and read states and gates that have
        been rounded: three times the forward bound. A gradient of weights sums over rows and steps:
        those of steps may be added in the type that is stored.
        """
        sums_of_steps = DEVIATIONS * math.sqrt(steps / 3) * self.stored
        sums_of_rows = DEVIATIONS * math.sqrt(rows * steps / 3) * self.summed
        return 3 * self.forward_bound(width, layers) + sums_of_steps + sums_of_rows


FLOAT64 = Precision("float64", torch.float64, 2**-53, 2**-53)
FLOAT32 = Precision("float32", torch.float32, 2**-24, 2**-24)
# Products read ten bits of a number, and sum in float32.
TF32 = Precision("TF32", torch.float32, 2**-11, 2**-24)
BFLOAT16 = Precision("bfloat16", torch.bfloat16, 2**-8, 2**-24)
FLOAT16 = Precision("float16", torch.float16, 2**-11, 2**-24)


def precisions_of(device: torch.device) -> list[Precision]:
    """Those in which PyTorch trains and evaluates an LSTM on this device; float32 is the first."""
    found = [FLOAT32]
    is_nvidia = device.type == "cuda" and torch.version.hip is None
    if is_nvidia and torch.cuda.get_device_capability(device) >= (8, 0):
        found.append(TF32)
    others = (BFLOAT16, FLOAT16, FLOAT64)
    return found + [precision for precision in others if _trains_in(precision, device)]


def _trains_in(precision: Precision, device: torch.device) -> bool:
    try:
        lstm = nn.LSTM(8, 8, batch_first=True).to(device, precision.dtype)
        inputs = torch.zeros(1, 2, 8, dtype=precision.dtype).to(device)
        output = lstm(inputs)[0]
        output.sum().backward()
        with torch.no_grad():  # On a CPU, another library computes it.
            lstm.eval()(inputs)
    except (RuntimeError, TypeError):  # Each device refuses a type in its own way.
        return False
    return True


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Within: float32 has all its digits on a GPU, or those of TF32, as the precision says."""
    flags: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    settings = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = precision is TF32
        yield
    finally:
        for flag, setting in zip(flags, settings, strict=True):
            flag.allow_tf32 = setting
