"""From an encoder to a decoder: its first state, and attention to every valid step of `output`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seqmodels.nn.state import State, state_of


def side_by_side(finals: Mapping[str, Float[Tensor, "layers directions batch width"]]) -> State:
    """What a decoder starts from, `(L, B, D*H)`, or for LSTM a pair, as `nn.LSTM` takes it: each
    layer from the same layer of the encoder, `h` from `h_n`, `c` from `c_n`, and so on, forward and
    backward side by side.

    Args:
        finals: the encoder's, as `RNNOutput.finals` gives them.
    """
    # (L, D, B, H) -> (L, B, D*H)
    return state_of(*(final.transpose(1, 2).flatten(2) for final in finals.values()))


class Memory(NamedTuple):
    """What a decoder attends to: made once for each source, and read at every step.

    Args:
        values: `(B, T, M)`, the encoder's `output`.
        keys: `(B, T, K)`, what queries are compared with.
        mask: `(B, T)`, True at valid steps.
    """

    values: Float[Tensor, "batch time memory"]
    keys: Float[Tensor, "batch time keys"]
    mask: Bool[Tensor, "batch time"]


class Attention(nn.Module):
    """Weighs the valid steps of a memory by how well they match a query: by `q . W m` (Luong et al.
    2015, https://arxiv.org/abs/1508.04025).

    Args:
        query_size: `Q`, the width of a query.
        memory_size: `M`, the width of the memory: `D*H` for an encoder's `output`.
    """

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.memory_size = memory_size
        self.to_key = nn.Linear(memory_size, query_size, bias=False)

    def forward(
        self, query: Float[Tensor, "batch steps query"], memory: Memory
    ) -> tuple[Float[Tensor, "batch steps memory"], Float[Tensor, "batch steps time"]]:
        """The weighted sum of the memory for each query, and its weights, which are 0 at padding
        and sum to 1: `(B, S, M)` and `(B, S, T)`."""
        scores = query @ memory.keys.transpose(1, 2)
        weights = scores.masked_fill(~memory.mask.unsqueeze(1), -torch.inf).softmax(dim=-1)
        return weights @ memory.values, weights
