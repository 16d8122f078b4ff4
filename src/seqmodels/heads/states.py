"""Heads that read states as they are: those of every step, or where a direction ended."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmodels.heads.base import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.padding import last_step


class EveryStep(Head, name="every_step"):
    """All of `output`: what the network knows at each step."""

    reads = ("output",)
    per = "step"
    streams = "alone"

    def select(self, states: RNNOutput) -> Tensor:
        return states.output  # (B, T, D*H)


class LastHidden(Head, name="last_hidden"):
    """`h_n` of the last layer: what the network remembers after its last step."""

    reads = ("h_n",)
    requires_bidirectional = False
    because = ", because h_n[-1] of two directions is the backward one alone"

    def select(self, states: RNNOutput) -> Tensor:
        return states.h_n[-1, 0]  # (L, 1, B, H) -> (B, H)


class BidirectionalConcat(Head, name="bidirectional_concat"):
    """`h_n` of the last layer, forward (after the last step) beside backward (after the first)."""

    reads = ("h_n",)
    requires_bidirectional = True

    def select(self, states: RNNOutput) -> Tensor:
        return torch.cat([states.h_n[-1, 0], states.h_n[-1, 1]], dim=-1)  # -> (B, 2H)


class LastOutput(Head, name="last_output"):
    """`output` at each row's own last step: equals `last_hidden`, the long way round."""

    reads = ("output",)
    streams = "alone"
    requires_bidirectional = False
    because = ", because at the last step the backward direction has seen one step only"

    def select(self, states: RNNOutput) -> Tensor:
        return last_step(states.output, states.lengths)  # (B, T, H) -> (B, H)
