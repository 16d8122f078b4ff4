"""The state that a recurrent network carries, in PyTorch's own layout."""

from __future__ import annotations

from torch import Tensor

State = Tensor | tuple[Tensor, ...]
"""`h`, or for LSTM `(h, c)`, each `(L*D, B, ...)`: what PyTorch's own modules take and return."""


def parts_of(state: State) -> tuple[Tensor, ...]:
    """`(h,)` or `(h, c)`."""
    return (state,) if isinstance(state, Tensor) else state


def state_of(*parts: Tensor) -> State:
    """The state that has these parts."""
    return parts if len(parts) > 1 else parts[0]
