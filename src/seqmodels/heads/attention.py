"""Heads that weigh the steps of `output`; `weights` tells how."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqmodels.arguments import Count
from seqmodels.heads.base import Head
from seqmodels.heads.pooling import max_over_steps
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.padding import masked_softmax


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
        self.hidden = nn.Linear(width, attention_size or width)
        self.query = nn.Linear(attention_size or width, 1, bias=False)

    def weights(self, states: RNNOutput) -> Float[Tensor, "batch time"]:
        scores = self.query(self.hidden(states.output).tanh()).squeeze(-1)
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
