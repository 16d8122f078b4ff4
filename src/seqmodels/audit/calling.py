"""Call any model the same way every time, and read what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.undisturbed import changed
from seqmodels.errors import one_line


@dataclass(frozen=True)
class Caller:
    """Calls a model with the same random numbers, dtype and device every time.

    Args:
        model: `model(inputs, lengths)`, or `model(inputs, lengths, state)`.
        tokens: whether its inputs are token ids, which keep their dtype.
        dtype: of its inputs, if they are features.
        device: of its inputs.
        seed: of the random numbers that the model itself may draw.
    """

    model: Callable[..., Any]
    tokens: bool
    dtype: torch.dtype
    device: torch.device
    seed: int

    def __call__(
        self, inputs: Tensor, lengths: Sequence[int], state: Any = None
    ) -> tuple[Any, Any]:
        """Returns `(logits, state)`; the state is None if the model returns none."""
        torch.manual_seed(self.seed)
        dtype = inputs.dtype if self.tokens else self.dtype
        more = () if state is None else (state,)
        result = self.model(inputs.to(self.device, dtype), torch.tensor(lengths), *more)
        if not isinstance(result, tuple):
            return result, None
        carried = len(result) == 2 and state_tensors(result[1]) and _takes_state(self.model)
        return result[0], result[1] if carried else None


@dataclass(frozen=True)
class FirstCall:
    """What a first call shows.

    Args:
        stateful: whether the model takes a state and returns one.
        eps: the rounding unit of its logits.
        wrong_shape: what is wrong with the shape of the logits; empty if nothing is.
    """

    stateful: bool
    eps: float
    wrong_shape: str


def first_call(call: Caller, kind: str, inputs: Tensor, lengths: list[int]) -> FirstCall:
    """Calls a model that may not run on such inputs.

    Raises:
        ValueError: saying why it does not run, or returns no usable logits.
    """
    try:
        logits, state = call(inputs, lengths)
    except Exception as error:  # a model may refuse a shape or a dtype in any way
        raise ValueError(f"{type(error).__name__}: {one_line(error)}") from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        returned = type(logits).__name__
        raise ValueError(
            f"it returns {returned} instead of logits, or of a tuple that begins with logits"
        )
    if not bool(logits.isfinite().all()):
        raise ValueError(f"logits are not finite for lengths {lengths}")
    wrong_shape = _wrong_shape(tuple(logits.shape), kind, rows=len(lengths), steps=max(lengths))
    return FirstCall(state is not None, torch.finfo(logits.dtype).eps, wrong_shape)


def _wrong_shape(shape: tuple[int, ...], kind: str, *, rows: int, steps: int) -> str:
    """What a mistake in the model does to the shape of its logits; empty if nothing is wrong.

    Raises:
        ValueError: if not the model is wrong, but `kind`.
    """
    if kind == "sequence":
        if shape[:1] != (rows,):
            return f"logits for {rows} rows are {shape}"
        if len(shape) == 3 and shape[1] == steps > 1:
            raise ValueError(f"logits are {shape}, one for each step: set kind=per_step")
    elif len(shape) < 2 or shape[0] != rows or shape[1] < steps:
        return f"logits for {rows} rows of {steps} steps are {shape}"
    return ""


@contextmanager
def in_float64(modules: Sequence[nn.Module], parameters: Sequence[Tensor]) -> Iterator[None]:
    """Within: weights and buffers are float64.

    Raises:
        TypeError: on a device without float64.
    """
    buffers = chain.from_iterable(module.buffers() for module in modules)
    with changed(chain(parameters, buffers), lambda data: data.to(torch.float64)):
        yield


def gradient_leaves(tensor: Tensor) -> list[Tensor]:
    """The tensors that require a gradient and from which this one was computed."""
    found: dict[int, Tensor] = {}
    seen, ahead = set(), [tensor.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found[id(leaf)] = leaf
        ahead += [function for function, _ in node.next_functions]
    return list(found.values())


def state_tensors(state: Any) -> list[Tensor]:
    """The tensors of a state, however they are nested."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, tuple | list):
        return [tensor for part in state for tensor in state_tensors(part)]
    return []


def _takes_state(model: Callable[..., Any]) -> bool:
    """Whether it has a third positional parameter."""
    forward = model.forward if isinstance(model, nn.Module) else model
    positional = [
        parameter
        for parameter in inspect.signature(forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return len(positional) >= 3
