"""Heads that pool `output` over the valid steps."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmodels.heads.base import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.padding import masked_max


def mean_over_steps(states: RNNOutput) -> Tensor:
    """`(B, T, D*H) -> (B, D*H)`; `output` is zero at padding, so only the divisor needs care."""
    lengths = states.lengths.to(states.output.device, non_blocking=True)
    return states.output.sum(dim=1) / lengths.unsqueeze(1)


def max_over_steps(states: RNNOutput) -> Tensor:
    """`(B, T, D*H) -> (B, D*H)`."""
    return masked_max(states.output, states.lengths)


class MeanPool(Head, name="mean_pool"):
    """The mean of `output` over the valid steps."""

    reads = ("output",)
    in_pytorch = "features = output.sum(dim=1) / lengths[:, None]"

    def select(self, states: RNNOutput) -> Tensor:
        return mean_over_steps(states)  # (B, D*H)


class MaxPool(Head, name="max_pool"):
    """The maximum of each feature of `output` over the valid steps."""

    reads = ("output",)
    in_pytorch = "features = output.masked_fill(~mask[:, :, None], -torch.inf).amax(dim=1)"

    def select(self, states: RNNOutput) -> Tensor:
        return max_over_steps(states)  # (B, D*H)


class ConcatPool(Head, name="concat_pool"):
    """Final state(s), maximum and mean side by side (ULMFiT, https://arxiv.org/abs/1801.06146)."""

    reads = ("output", "h_n")
    in_pytorch = """largest = output.masked_fill(~mask[:, :, None], -torch.inf).amax(dim=1)
mean = output.sum(dim=1) / lengths[:, None]
features = torch.cat([*h_n[-D:], largest, mean], dim=1)"""

    def select(self, states: RNNOutput) -> Tensor:
        final = states.h_n[-1].transpose(0, 1).flatten(1)  # (D, B, H) -> (B, D*H)
        return torch.cat([final, max_over_steps(states), mean_over_steps(states)], dim=-1)
