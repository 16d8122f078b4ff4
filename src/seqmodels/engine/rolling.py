"""Step by step from the carried state: what was predicted is read next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


def roll_forward(
    predict: Callable[..., Any],
    inputs: Tensor,
    lengths: Int[Tensor, " batch"],
    choose: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[Tensor]:
    """Reads the inputs once, then its own choices, without end; yields each choice `(B, 1, ...)`.

    Args:
        predict: `(inputs, lengths, state) -> (logits, state)`, as a stateful task's `as_function`.
        inputs: `(B, T, ...)`, all of the same length.
        choose: `(logits, inputs)` to the next input, `(B, 1, ...)`, from their last step.
    """
    state = None
    while True:
        logits, state = predict(inputs, lengths, state)
        inputs = choose(logits, inputs)
        lengths = torch.ones_like(lengths)
        yield inputs
