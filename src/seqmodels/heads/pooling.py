"""Heads that pool `output` over the valid steps: by mean and maximum, or by weights, which a head's
`weights` tells."""

from __future__ import annotations

from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqmodels.arguments import Count
from seqmodels.device import exact, on_device
from seqmodels.heads.base import Head
from seqmodels.nn.encoder import Pooled, RecurrentEncoder, RNNOutput
from seqmodels.padding import masked_max, masked_softmax


def total_and_steps(states: RNNOutput) -> tuple[Tensor, Tensor]:
    """The sum over the steps of each row, `(B, D*H)`, and their number, `(B,)`."""
    steps = on_device(states.lengths, states.output.device)
    if states.summaries is not None:
        return states.summaries["total"].sum(dim=1), steps
    # At padding, `output` is zero.
    total = states.output.sum(dim=1)
    if states.before is None:
        return total, steps
    return states.before.total + total, states.before.steps + steps


def mean_over_steps(states: RNNOutput) -> Tensor:
    """`(B, T, D*H) -> (B, D*H)`."""
    total, steps = total_and_steps(states)
    return (total / steps.unsqueeze(1)).to(states.output)


def max_over_steps(states: RNNOutput) -> Tensor:
    """`(B, T, D*H) -> (B, D*H)`."""
    if states.summaries is not None:
        return _max_over_segments(states.summaries["maximum"], states.summaries["ties"])
    maximum = masked_max(states.output, states.lengths)
    before = states.before
    if before is None:
        return maximum
    # For a stream that has read no step, the earlier maximum is 0, which may be the larger one.
    has_no_steps = (before.steps == 0).unsqueeze(1)
    return maximum.maximum(before.maximum.masked_fill(has_no_steps, -torch.inf))


def _max_over_segments(maximum: Tensor, ties: Tensor) -> Tensor:
    """`(B, K, D*H) -> (B, D*H)`. Like that of a maximum over all steps, its gradient is divided by
    the steps that have it.

    Args:
        ties: how many steps of a segment have its maximum.
    """
    highest = maximum.amax(dim=1, keepdim=True)
    is_highest = maximum == highest
    tied_steps = ties.masked_fill(~is_highest, 0.0)
    weights = tied_steps / tied_steps.sum(dim=1, keepdim=True)
    # A row without steps in a segment has a maximum of -inf there, and a weight of 0.
    return (weights * maximum.masked_fill(~is_highest, 0.0)).sum(dim=1)


def sum_of_segment(states: RNNOutput) -> dict[str, Tensor]:
    """`total`, `(B, D*H)`: in float32 at least, because segments are summed again."""
    total = states.output.sum(dim=1, dtype=_at_least_float32(states.output))
    return {"total": total}


def maximum_of_segment(states: RNNOutput) -> dict[str, Tensor]:
    """`maximum` and `ties`, how many steps have it, each `(B, D*H)`."""
    maximum = masked_max(states.output, states.lengths)
    is_maximum = (states.output == maximum.unsqueeze(1)) & states.mask.unsqueeze(2)
    return {"maximum": maximum, "ties": is_maximum.sum(dim=1).to(maximum)}


def _at_least_float32(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def pooled(states: RNNOutput) -> Pooled:
    """What pools of the next steps need of all steps so far. The sum is in float64, in which that
    of a long stream keeps its digits; on MPS, which has none, in float32."""
    total, steps = total_and_steps(states)
    return Pooled(exact(total), max_over_steps(states), steps)


class MeanPool(Head, name="mean_pool"):
    """The mean of `output` over the valid steps."""

    reads = ("output",)
    streams = "pooled"
    summary = MappingProxyType({"total": 0.0})
    summarize = staticmethod(sum_of_segment)

    def select(self, states: RNNOutput) -> Tensor:
        return mean_over_steps(states)  # (B, D*H)


class MaxPool(Head, name="max_pool"):
    """The maximum of each feature of `output` over the valid steps."""

    reads = ("output",)
    streams = "pooled"
    summary = MappingProxyType({"maximum": -torch.inf, "ties": 0.0})
    summarize = staticmethod(maximum_of_segment)

    def select(self, states: RNNOutput) -> Tensor:
        return max_over_steps(states)  # (B, D*H)


class ConcatPool(Head, name="concat_pool"):
    """Final state(s), maximum and mean side by side (ULMFiT, https://arxiv.org/abs/1801.06146)."""

    reads = ("output", "h_n")
    streams = "pooled"
    summary = MappingProxyType({"total": 0.0, "maximum": -torch.inf, "ties": 0.0})

    def select(self, states: RNNOutput) -> Tensor:
        final = states.h_n[-1].transpose(0, 1).flatten(1)  # (D, B, H) -> (B, D*H)
        maximum = max_over_steps(states)
        mean = mean_over_steps(states)
        return torch.cat([final, maximum, mean], dim=-1)

    def summarize(self, states: RNNOutput) -> dict[str, Tensor]:
        return sum_of_segment(states) | maximum_of_segment(states)


def weighted_sum(weights: Tensor, states: RNNOutput) -> Tensor:
    """`(B, T), (B, T, D*H) -> (B, D*H)`."""
    return torch.einsum("bt,bth->bh", weights, states.output)


class AttentionPool(Head, name="attention_pool"):
    """Learned weights over the valid steps (https://aclanthology.org/N16-1174, word attention).

    `head_options.attention_size`: the width of the hidden layer, by default as wide as `output`.
    """

    reads = ("output",)
    summary = MappingProxyType({"mass": -torch.inf, "average": 0.0})

    def build(self, encoder: RecurrentEncoder, attention_size: Count | None = None) -> None:
        width = encoder.num_directions * encoder.output_size
        hidden_width = attention_size or width
        self.hidden = nn.Linear(width, hidden_width)
        self.query = nn.Linear(hidden_width, 1, bias=False)

    def scores(self, states: RNNOutput) -> Float[Tensor, "batch time"]:
        """The logarithms of the weights, but for a number that is the same for all steps."""
        hidden = self.hidden(states.output).tanh()
        return self.query(hidden).squeeze(-1)

    def weights(self, states: RNNOutput) -> Float[Tensor, "batch time"]:
        return masked_softmax(self.scores(states), states.lengths)

    def select(self, states: RNNOutput) -> Tensor:
        if states.summaries is None:
            return weighted_sum(self.weights(states), states)  # (B, D*H)
        weights_of_segments = states.summaries["mass"].softmax(dim=1)  # (B, K)
        averages = states.summaries["average"]  # (B, K, D*H)
        return torch.einsum("bk,bkh->bh", weights_of_segments.to(averages), averages)

    def summarize(self, states: RNNOutput) -> dict[str, Tensor]:
        """`mass`: the logarithm of the sum of all weights, before they are divided by it, `(B,)`;
        `average`: what they select, `(B, D*H)`."""
        scores = self.scores(states)
        valid_scores = scores.masked_fill(~states.mask, -torch.inf)
        mass = valid_scores.to(_at_least_float32(scores)).logsumexp(dim=1)
        average = weighted_sum(masked_softmax(scores, states.lengths), states)
        return {"mass": mass, "average": average}


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
