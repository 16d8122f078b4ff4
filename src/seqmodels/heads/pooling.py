"""Heads that pool `output` over the valid steps."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmodels.device import exact, on_device
from seqmodels.heads.base import Head
from seqmodels.nn.encoder import Pooled, RNNOutput
from seqmodels.padding import masked_max


def total_and_steps(states: RNNOutput) -> tuple[Tensor, Tensor]:
    """The sum over the steps of each row, `(B, D*H)`, and their number, `(B,)`; `output` is zero at
    padding, so only the number needs care."""
    total = states.output.sum(dim=1)
    steps = on_device(states.lengths, total.device)
    if states.before is None:
        return total, steps
    return states.before.total + total, states.before.steps + steps


def mean_over_steps(states: RNNOutput) -> Tensor:
    """`(B, T, D*H) -> (B, D*H)`."""
    total, steps = total_and_steps(states)
    return (total / steps.unsqueeze(1)).to(states.output)


def max_over_steps(states: RNNOutput) -> Tensor:
    """`(B, T, D*H) -> (B, D*H)`."""
    maximum = masked_max(states.output, states.lengths)
    if (before := states.before) is None:
        return maximum
    nothing = (before.steps == 0).unsqueeze(1)
    return maximum.maximum(before.maximum.masked_fill(nothing, -torch.inf))


def pooled(states: RNNOutput) -> Pooled:
    """What pools of the next steps need of all steps so far. The sum is in float64, in which that
    of a long stream keeps its digits; on MPS, which has none, in float32."""
    total, steps = total_and_steps(states)
    return Pooled(exact(total), max_over_steps(states), steps)


class MeanPool(Head, name="mean_pool"):
    """The mean of `output` over the valid steps."""

    reads = ("output",)
    streams = "pooled"

    def select(self, states: RNNOutput) -> Tensor:
        return mean_over_steps(states)  # (B, D*H)


class MaxPool(Head, name="max_pool"):
    """The maximum of each feature of `output` over the valid steps."""

    reads = ("output",)
    streams = "pooled"

    def select(self, states: RNNOutput) -> Tensor:
        return max_over_steps(states)  # (B, D*H)


class ConcatPool(Head, name="concat_pool"):
    """Final state(s), maximum and mean side by side (ULMFiT, https://arxiv.org/abs/1801.06146)."""

    reads = ("output", "h_n")
    streams = "pooled"

    def select(self, states: RNNOutput) -> Tensor:
        final = states.h_n[-1].transpose(0, 1).flatten(1)  # (D, B, H) -> (B, D*H)
        return torch.cat([final, max_over_steps(states), mean_over_steps(states)], dim=-1)
