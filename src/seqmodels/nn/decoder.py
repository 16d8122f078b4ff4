"""A recurrent network that starts from another one's state, and may attend to its output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqmodels.nn.attention import Attention, Memory
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.state import State, parts_of


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a decoder gives for the steps that it has read.

    Args:
        features: `(B, S, W)`, to make logits of.
        state: to read the next step from.
        weights: `(B, S, T)`, how much each step attends to each step of the source; None without
            attention.
    """

    features: Float[Tensor, "batch steps width"]
    state: State
    weights: Float[Tensor, "batch steps time"] | None = None


class Decoder(nn.Module):
    """Reads target tokens in one direction, from a given state; with attention, its features are
    `tanh(W [context; h])` (Luong et al. 2015, https://arxiv.org/abs/1508.04025).

    What it has attended to does not go into its next step, so it reads a whole target at once in
    training, with the same result as step by step.

    Args:
        rnn: in one direction; any cell, layers and projection.
        attention: what compares `h` with a memory; None: the state is all that it gets.
    """

    def __init__(self, rnn: RecurrentEncoder, attention: Attention | None = None) -> None:
        super().__init__()
        self.rnn, self.attention = rnn, attention
        self.width = rnn.output_size
        if attention is not None:
            self.combine = nn.Linear(attention.memory_size + self.width, self.width)

    def forward(
        self,
        embedded: Float[Tensor, "batch steps embedding"],
        lengths: Int[Tensor, " batch"] | None,
        state: State,
        memory: Memory | None = None,
    ) -> Decoded:
        """Args:
        embedded: `(B, S, E)`, padded at the end.
        lengths: `(B,)` on the CPU; None: no row is padded.
        state: of a bridge, or of the step before.
        memory: of the attention, for the same rows.
        """
        states = self.rnn(embedded, lengths, state)
        if self.attention is None:
            return Decoded(states.output, states.state)
        context, weights = self.attention(states.output, memory)
        features = self.combine(torch.cat([context, states.output], dim=-1)).tanh()
        return Decoded(features, states.state, weights)


def take_rows(state: State, rows: Int[Tensor, " rows"]) -> State:
    """The state of these rows of the batch, in this order."""
    parts = tuple(part[:, rows] for part in parts_of(state))
    return parts if len(parts) == 2 else parts[0]
