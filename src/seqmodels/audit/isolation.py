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

# In models of fewer weights, threads wait for each other.
SMALL = 1_000_000
# The arguments of an operation with which it draws nothing.
WITHOUT_DROPOUT = {"training": False, "train": False, "dropout_p": 0.0}
# For the name of a random operation, without `_like` and `_`: a value that stands for all numbers
# it draws, or a function that returns one from its arguments. It is not 0, which would hide what
# is multiplied by it.
REPLACEMENTS: dict[str, float | Callable[[dict[str, Any]], Any]] = {
    "rand": 0.5,
    "randn": 0.5,
    "bernoulli": 1.0,
    "binomial": 1.0,
    "cauchy": 1.0,
    "exponential": 1.0,
    "geometric": 1.0,
    "log_normal": 1.0,
    "poisson": 1.0,
    "_sample_dirichlet": 1.0,
    "_standard_gamma": 1.0,
    "multinomial": lambda arguments: arguments["self"].argmax(dim=-1, keepdim=True),
    "normal": lambda arguments: arguments["mean"] + arguments["std"] / 2,
    "randint": lambda arguments: arguments.get("low", 0),
    "random": lambda arguments: arguments.get("from", 0),
    "randperm": lambda arguments: torch.arange(arguments["n"]),
    "uniform": lambda arguments: (arguments["from"] + arguments["to"]) / 2,
}


@contextmanager
def isolated(modules: Iterable[nn.Module], seed: int = 0) -> Iterator[None]:
    """Within: evaluation mode, random numbers from `seed`, gradients on. After: all as it was.

    Turns cuDNN off, because the backward pass of its recurrent kernels needs training mode. A small
    model runs in one thread.
    """
    all_modules = nn.ModuleList(modules)
    modes = {module: module.training for module in all_modules.modules()}
    threads = torch.get_num_threads()
    with (
        _random_numbers_kept(all_modules),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.backends.cudnn.flags(enabled=False),
        warnings.catch_warnings(action="ignore"),  # about slow kernels
    ):
        seed_random_numbers(seed)
        if sum(weight.numel() for weight in all_modules.parameters()) < SMALL:
            torch.set_num_threads(1)
        try:
            for module in all_modules:
                module.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
            torch.set_num_threads(threads)


@contextmanager
def _random_numbers_kept(modules: nn.ModuleList) -> Iterator[None]:
    """After: the random number generators of Python, NumPy and PyTorch, also on the devices of
    these modules, are as they were."""
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    python_state = random.getstate()
    devices = {tensor.device for tensor in chain(modules.parameters(), modules.buffers())}
    states_by_device = {device: random_state(device) for device in devices if device.type != "cpu"}
    with torch.random.fork_rng([]):
        try:
            yield
        finally:
            random.setstate(python_state)
            for device, state in states_by_device.items():
                set_random_state(device, state)
            if numpy:
                numpy.random.set_state(numpy_state)


@contextmanager
def training(modules: nn.ModuleList, *frozen: type[nn.Module]) -> Iterator[None]:
    """Within: training mode, but evaluation mode for modules of the classes `frozen`. After:
    evaluation mode, and all buffers as they were."""
    buffers = list(modules.buffers())
    values_before = [buffer.clone() for buffer in buffers]
    # In recurrent networks and attention, nothing but dropout depends on the mode.
    without_training = (nn.RNNBase, nn.MultiheadAttention, *frozen)
    try:
        for module in modules.modules():
            module.training = not isinstance(module, without_training)
        yield
    finally:
        for module in modules.modules():
            module.training = False
        for buffer, values in zip(buffers, values_before, strict=True):
            buffer.copy_(values)


class WithoutNoise(TorchDispatchMode):
    """Within: random numbers are all alike, and dropout keeps everything. Looks at the operations
    that PyTorch tags as random, and not at names: `normalize` begins like `normal`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else PyTorch imports its compiler to keep it from here, which takes 0.8 s.
        return False

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = options or {}
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*arguments, **options)
        schema = function._schema
        by_name = {argument.name: argument.default_value for argument in schema.arguments}
        by_name |= dict(zip(by_name, arguments, strict=False))
        by_name |= options
        for name, value in WITHOUT_DROPOUT.items():
            if name in by_name:
                by_name[name] = value
        result = function(**by_name)
        operation = schema.name.removeprefix("aten::").removesuffix("_").removesuffix("_like")
        if operation not in REPLACEMENTS:
            return result
        replacement = REPLACEMENTS[operation]
        value = replacement(by_name) if callable(replacement) else replacement
        return result.copy_(torch.as_tensor(value))


def seed_random_numbers(seed: int) -> None:
    """Of Python, NumPy and PyTorch."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy:
        numpy.random.seed(seed)
    # With no accelerator, PyTorch would keep each seed with a stack trace, for when there is one.
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def changed(tensors: Iterable[Tensor], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within: `change` is applied to each floating-point tensor. After: they are as they were."""
    # A tied weight may come twice, and is changed once.
    by_id = {id(tensor): tensor for tensor in tensors if tensor.is_floating_point()}
    data_before = [(tensor, tensor.data) for tensor in by_id.values()]
    try:
        for tensor, data in data_before:
            tensor.data = change(data)
        yield
    finally:
        for tensor, data in data_before:
            tensor.data = data


@contextmanager
def in_float64(modules: nn.ModuleList) -> Iterator[None]:
    """Within: float64 copies stand for floating-point weights and buffers. After: the same objects
    as before.

    Their own dtype is never changed, because that would cut off the hooks by which several
    processes share gradients.
    """
    owned_tensors = list(_floating_point_tensors(modules))
    copies: dict[int, Tensor] = {}  # A tied weight has two owners and one copy.
    for _, _, tensor in owned_tensors:
        copy = tensor.detach().double()
        if isinstance(tensor, nn.Parameter):
            copy = nn.Parameter(copy, tensor.requires_grad)
        copies[id(tensor)] = copy
    try:
        for module, name, tensor in owned_tensors:
            setattr(module, name, copies[id(tensor)])
        yield
    finally:
        for module, name, tensor in owned_tensors:
            setattr(module, name, tensor)


def _floating_point_tensors(modules: nn.ModuleList) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Each weight and buffer, with the module that owns it and its name there."""
    for module in modules.modules():
        weights = module.named_parameters(recurse=False, remove_duplicate=False)
        buffers = module.named_buffers(recurse=False, remove_duplicate=False)
        for name, tensor in chain(weights, buffers):
            if tensor.is_floating_point():
                yield module, name, tensor
