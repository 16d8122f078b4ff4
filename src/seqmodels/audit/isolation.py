"""Run a model, and leave its modes, its weights and the random number generators as they were."""

from __future__ import annotations

import functools
import inspect
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SMALL = 1_000_000  # weights of a model in which threads wait for each other
MEANS = {"rand": 0.5, "bernoulli": 1.0}  # of random numbers; of others, 0


@contextmanager
def isolated(modules: Sequence[nn.Module], seed: int = 0) -> Iterator[None]:
    """Within: evaluation mode, random numbers from `seed`, gradients on. After: all as it was.

    Turns cuDNN off, because the backward pass of its recurrent kernels needs training mode. A small
    model runs in one thread.
    """
    every = [part for module in modules for part in module.modules()]
    modes, drawn = [part.training for part in every], random.getstate()
    numpy = sys.modules.get("numpy")
    drawn_by_numpy = numpy.random.get_state() if numpy else None
    threads = torch.get_num_threads()
    devices = {t.device for part in modules for t in chain(part.parameters(), part.buffers())}
    with (
        torch.random.fork_rng([d for d in devices if d.type == "cuda"]),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.backends.cudnn.flags(enabled=False),
        warnings.catch_warnings(action="ignore"),  # about slow kernels
    ):
        seed_random_numbers(seed)
        if sum(t.numel() for part in modules for t in part.parameters()) < SMALL:
            torch.set_num_threads(1)
        try:
            for module in modules:
                module.eval()
            yield
        finally:
            for part, mode in zip(every, modes, strict=True):
                part.training = mode
            torch.set_num_threads(threads)
            random.setstate(drawn)
            if numpy:
                numpy.random.set_state(drawn_by_numpy)


@contextmanager
def training(modules: Sequence[nn.Module], *frozen: type[nn.Module]) -> Iterator[None]:
    """Within: training mode, but evaluation mode for modules of the classes `frozen`. After:
    evaluation mode, and all buffers as they were."""
    parts = [part for module in modules for part in module.modules()]
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    try:
        for part in parts:  # of recurrent networks and attention, training is dropout alone
            part.training = not isinstance(part, (nn.RNNBase, nn.MultiheadAttention, *frozen))
        yield
    finally:
        for part in parts:
            part.training = False
        for buffer, before in buffers:
            buffer.copy_(before)


class WithoutNoise(TorchFunctionMode):
    """Within: random numbers are all alike, and dropout keeps everything."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if "dropout" in name:
            return arguments[0]
        result = function(*arguments, **(options or {}))
        if name == "randperm":
            return result.sort()[0]
        drawn = re.match("(rand|normal|uniform|bernoulli|exponential)", name)
        return result.fill_(MEANS.get(drawn[1], 0)) if drawn else result


def seed_random_numbers(seed: int) -> None:
    """Does what `torch.manual_seed` does, at once where there is no accelerator.

    `torch.manual_seed` formats the whole stack three times, once for each kind of device that may
    still be started, which takes longer than a small model.
    """
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def changed(tensors: Iterable[Tensor], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within: `change` is applied to each floating-point tensor. After: they are as they were."""
    before = {id(tensor): (tensor, tensor.data) for tensor in tensors if tensor.is_floating_point()}
    try:
        for tensor, data in before.values():
            tensor.data = change(data)
        yield
    finally:
        for tensor, data in before.values():
            tensor.data = data


@contextmanager
def in_float64(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within: float64 copies stand for floating-point weights and buffers. After: the same objects
    as before.

    Their own dtype is never changed, because that would cut off the hooks by which several
    processes share gradients.
    """
    parts = dict.fromkeys(part for module in modules for part in module.modules())
    every: Any = {"recurse": False, "remove_duplicate": False}
    tensors = [
        (part, name, tensor)
        for part in parts
        for name, tensor in [*part.named_parameters(**every), *part.named_buffers(**every)]
        if tensor.is_floating_point()
    ]
    copies: dict[int, Tensor] = {}
    for _, _, tensor in tensors:  # a tied weight is there twice
        copy = tensor.detach().double()
        if isinstance(tensor, nn.Parameter):
            copy = nn.Parameter(copy, tensor.requires_grad)
        copies[id(tensor)] = copy
    try:
        for part, name, tensor in tensors:
            setattr(part, name, copies[id(tensor)])
        yield
    finally:
        for part, name, tensor in tensors:
            setattr(part, name, tensor)


def find_modules(model: Callable[..., Any]) -> list[nn.Module]:
    """The model if it is a module, or the modules that a function refers to; none for a black box,
    which hides them in a list, for example."""
    if isinstance(model, nn.Module):
        return [model]
    if isinstance(model, functools.partial):
        found = [model.func, *model.args, *model.keywords.values()]
    elif inspect.ismethod(model):
        found = [model.__self__]
    elif inspect.isfunction(model):
        names = inspect.getclosurevars(inspect.unwrap(model))  # without decorators
        found = [*names.nonlocals.values(), *names.globals.values()]
    else:
        found = list(getattr(model, "__dict__", {}).values())
    return list(dict.fromkeys(m for m in found if isinstance(m, nn.Module)))
