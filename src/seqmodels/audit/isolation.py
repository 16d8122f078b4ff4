"""Run a model, and leave its modes, its weights and the random number generators as they were."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seqmodels.device import random_state, set_random_state

SMALL = 1_000_000  # weights of a model in which threads wait for each other
OFF = {"training": False, "train": False, "dropout_p": 0.0}  # arguments, and how to draw nothing
# what stands for all numbers that an operation draws, by its name without `_like` and `_`; not 0,
# which would hide what is multiplied by it
ALIKE: dict[str, Any] = dict.fromkeys(("rand", "randn"), 0.5)
ALIKE |= dict.fromkeys(("bernoulli", "binomial", "cauchy", "exponential", "geometric"), 1.0)
ALIKE |= dict.fromkeys(("log_normal", "poisson", "_sample_dirichlet", "_standard_gamma"), 1.0)
ALIKE |= {  # from the operation's arguments
    "multinomial": lambda given: given["self"].argmax(dim=-1, keepdim=True),
    "normal": lambda given: given["mean"] + given["std"] / 2,
    "randint": lambda given: given.get("low", 0),
    "random": lambda given: given.get("from", 0),
    "randperm": lambda given: torch.arange(given["n"]),
    "uniform": lambda given: (given["from"] + given["to"]) / 2,
}


@contextmanager
def isolated(modules: Iterable[nn.Module], seed: int = 0) -> Iterator[None]:
    """Within: evaluation mode, random numbers from `seed`, gradients on. After: all as it was.

    Turns cuDNN off, because the backward pass of its recurrent kernels needs training mode. A small
    model runs in one thread.
    """
    every, drawn = nn.ModuleList(modules), random.getstate()
    modes = {part: part.training for part in every.modules()}
    numpy = sys.modules.get("numpy")
    drawn_by_numpy = numpy.random.get_state() if numpy else None
    threads = torch.get_num_threads()
    devices = {tensor.device for tensor in chain(every.parameters(), every.buffers())}
    drawn_there = {device: random_state(device) for device in devices if device.type != "cpu"}
    with (
        torch.random.fork_rng([]),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.backends.cudnn.flags(enabled=False),
        warnings.catch_warnings(action="ignore"),  # about slow kernels
    ):
        seed_random_numbers(seed)
        if sum(weight.numel() for weight in every.parameters()) < SMALL:
            torch.set_num_threads(1)
        try:
            for module in every:
                module.eval()
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode
            torch.set_num_threads(threads)
            random.setstate(drawn)
            for device, state in drawn_there.items():
                set_random_state(device, state)
            if numpy:
                numpy.random.set_state(drawn_by_numpy)


@contextmanager
def training(modules: nn.ModuleList, *frozen: type[nn.Module]) -> Iterator[None]:
    """Within: training mode, but evaluation mode for modules of the classes `frozen`. After:
    evaluation mode, and all buffers as they were."""
    buffers = [(buffer, buffer.clone()) for buffer in modules.buffers()]
    try:
        # of recurrent networks and attention, training is dropout alone
        for part in modules.modules():
            part.training = not isinstance(part, (nn.RNNBase, nn.MultiheadAttention, *frozen))
        yield
    finally:
        for part in modules.modules():
            part.training = False
        for buffer, before in buffers:
            buffer.copy_(before)


class WithoutNoise(TorchDispatchMode):
    """Within: random numbers are all alike, and dropout keeps everything. Looks at the operations
    that PyTorch tags as random, and not at names: `normalize` begins like `normal`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else PyTorch imports its compiler to keep it from here, for 0.8 s

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = options or {}
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*arguments, **options)
        schema = function._schema
        given = {each.name: each.default_value for each in schema.arguments}
        given |= dict(zip(given, arguments, strict=False)) | options
        given |= {name: value for name, value in OFF.items() if name in given}
        result = function(**given)
        name = schema.name.removeprefix("aten::").removesuffix("_").removesuffix("_like")
        if name not in ALIKE:
            return result
        alike = ALIKE[name](given) if callable(ALIKE[name]) else ALIKE[name]
        return result.copy_(torch.as_tensor(alike))


def seed_random_numbers(seed: int) -> None:
    """Of Python, NumPy and PyTorch."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    # With no accelerator, PyTorch would keep each seed with a stack trace, for when there is one.
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
def in_float64(modules: nn.ModuleList) -> Iterator[None]:
    """Within: float64 copies stand for floating-point weights and buffers. After: the same objects
    as before.

    Their own dtype is never changed, because that would cut off the hooks by which several
    processes share gradients.
    """
    every: Any = {"recurse": False, "remove_duplicate": False}
    tensors = [
        (part, name, tensor)
        for part in modules.modules()
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
