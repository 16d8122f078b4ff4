"""Any encoder on any rows, for properties that hold of all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from seqmodels.nn.cell import parts_of, state_of
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.padding import valid_steps

F, H, P = 4, 6, 3
MIXES = ([7] * 5, [5], [1, 1, 1], [1, 8, 1, 1, 3], [1 + 37 * row % 43 for row in range(67)])


def small_encoder(cell: str = "lstm", layers: int = 1, **options: Any) -> Any:
    return RecurrentEncoder(F, H, layers, cell=cell, **options)


def parts(states: RNNOutput) -> list[Tensor]:
    return [states.output, *parts_of(states.state)]


def same(found: Any, wanted: Any, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@dataclass
class Case:
    """An encoder, and rows for it whose padding holds what must not be read."""

    cell: tuple[str, int]  # and its `proj_size`
    layers: int
    two: bool
    lengths: list[int]
    more: int  # steps of padding in every row
    junk: float
    carried: bool
    seed: int

    def make(self) -> None:
        """Outside of the strategy: the checks of types draw random numbers."""
        torch.manual_seed(self.seed)
        cell, proj_size = self.cell
        options = {"bidirectional": self.two, "proj_size": proj_size}
        self.encoder = small_encoder(cell, self.layers, **options).double()
        self.inputs = torch.randn(len(self.lengths), max(self.lengths) + self.more, F).double()
        self.inputs[~valid_steps(self.lengths, self.inputs.shape[1])] = self.junk
        final = parts_of(self.encoder(self.inputs, self.lengths).state)
        self.start = [torch.randn_like(part) for part in final] if self.carried else []

    def run(self, packing: str) -> tuple[RNNOutput, list[Tensor]]:
        """The states, and the gradients of inputs, initial state and weights."""
        self.encoder.packing = packing
        given = [tensor.clone().requires_grad_() for tensor in (self.inputs, *self.start)]
        state = state_of(*given[1:]) if self.start else None
        states = self.encoder(given[0], torch.tensor(self.lengths), state)
        torch.manual_seed(3)  # each element of each tensor has a weight of its own
        total = sum((part * torch.randn(part.shape).double()).sum() for part in parts(states))
        return states, [*torch.autograd.grad(total, [*given, *self.encoder.parameters()])]


def cases(*cells: tuple[str, int]) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        cell=st.sampled_from(cells),
        layers=st.integers(1, 3),
        two=st.booleans(),
        lengths=st.lists(st.integers(1, 8), min_size=1, max_size=7) | st.sampled_from(MIXES),
        more=st.integers(0, 2),
        junk=st.sampled_from([0.0, 1e30, math.nan, math.inf]),
        carried=st.booleans(),
        seed=st.integers(0, 1000),
    )
