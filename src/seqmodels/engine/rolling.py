"""Step by step from the carried state: what was predicted is read next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
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


def shift(
    inputs: Float[Tensor, "batch time values"], ahead: Float[Tensor, "batch horizon values"]
) -> tuple[Tensor, Tensor]:
    """What to read and what comes next, at every step but the last, `(B, T + H - 1, K)` each.

    Args:
        ahead: what follows the inputs, nan where it is missing: there, the last known value is
            read.
    """
    steps = torch.cat([inputs, ahead], dim=1)
    numbers = torch.arange(steps.shape[1], device=steps.device).view(1, -1, 1)
    last_known = numbers.where(~steps.isnan(), 0).cummax(dim=1).values
    return steps.gather(1, last_known)[:, :-1], steps[:, 1:]
