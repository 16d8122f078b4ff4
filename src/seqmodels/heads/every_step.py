"""The head that reads every step."""

from __future__ import annotations

from torch import Tensor

from seqmodels.heads.base import Head
from seqmodels.nn.encoder import RNNOutput


class EveryStep(Head, name="every_step"):
    """All of `output`: what the network knows at each step."""

    reads = ("output",)
    per = "step"
    streams = "alone"

    def select(self, states: RNNOutput) -> Tensor:
        return states.output  # (B, T, D*H)
