"""Heads that pool `output` over the valid steps: by mean and maximum, or by weights, which a head's
`weights` tells."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqmodels.arguments import Count
from seqmodels.device import exact, on_device
from seqmodels.heads.base import Head
from seqmodels.nn.encoder import Pooled, RecurrentEncoder, RNNOutput
from seqmodels.padding import masked_max, masked_softmax


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
    before = states.before
    if before is None:
        return maximum
    # For a stream that has read no step, the earlier maximum is 0, which may be the larger one.
    has_no_steps = (before.steps == 0).unsqueeze(1)
    return maximum.maximum(before.maximum.masked_fill(has_no_steps, -torch.inf))


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
        maximum = max_over_steps(states)
        mean = mean_over_steps(states)
        return torch.cat([final, maximum, mean], dim=-1)


def weighted_sum(weights: Tensor, states: RNNOutput) -> Tensor:
    """`(B, T), (B, T, D*H) -> (B, D*H)`."""
    return torch.einsum("bt,bth->bh", weights, states.output)


class AttentionPool(Head, name="attention_pool"):
    """Learned weights over the valid steps (https://aclanthology.org/N16-1174, word attention).

    `head_options.attention_size`: the width of the hidden layer, by default as wide as `output`.
    """

    reads = ("output",)

    def build(self, encoder: RecurrentEncoder, attention_size: Count | None = None) -> None:
        width = encoder.num_directions * encoder.output_size
        hidden_width = attention_size or width
        self.hidden = nn.Linear(width, hidden_width)
        self.query = nn.Linear(hidden_width, 1, bias=False)

    def weights(self, states: RNNOutput) -> Float[Tensor, "batch time"]:
        hidden = self.hidden(states.output).tanh()
        scores = self.query(hidden).squeeze(-1)  # (B, T)
        return masked_softmax(scores, states.lengths)

    def select(self, states: RNNOutput) -> Tensor:
        return weighted_sum(self.weights(states), states)  # (B, D*H)


class MaxAttentionPool(Head, name="max_attention_pool"):
    """Weights without parameters: the query is the maximum over time, the keys are `h_t / |h_t|`.

    Source: Maini et al. 2020, "Why and when should you pool?", https://arxiv.org/abs/2005.00159.
    """

    reads = ("output",)

    def weights(self, states: RNNOutput) -> Float[Tensor, "batch time"]:
        keys = nn.functional.normalize(states.output, dim=-1)
        scores = torch.einsum("bth,bh->bt", keys, max_over_steps(states))
        return masked_softmax(scores, states.lengths)

    def select(self, states: RNNOutput) -> Tensor:
        return weighted_sum(self.weights(states), states)  # (B, D*H)
