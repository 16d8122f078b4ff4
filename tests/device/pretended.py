"""A pretended accelerator: real numbers, checked devices, counted waits, on a machine without one.

It is PyTorch's private-use device, named `pretend`, whose tensors hold a CPU tensor. Each operation
runs on the CPU, after these checks:

- tensors of two devices in one operation raise `MixedError`, as on a GPU (scalars and indices may
  be on the CPU);
- what the host would wait for is noted by the line that asked: `item`, `bool`, `nonzero`, an index
  of booleans, `unique`, a copy to the CPU, and a copy to the device unless it is `non_blocking` and
  from page-locked memory;
- recurrent networks obey cuDNN: at most 65,535 steps, one dtype, no backward pass outside of
  training mode, float16 under any autocast, and dropout between layers from numbers that nobody
  can save.

The device has a random generator of its own. It knows nothing of kernels, of speed, of several
devices, and of what isn't deterministic.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils import backend_registration

NAME = "pretend"
torch.utils.rename_privateuse1_backend(NAME)
DEVICE = torch.device(NAME, 0)
CPU = torch.device("cpu")
MOST_STEPS = 65_535  # that cuDNN takes
aten = torch.ops.aten


class MixedError(RuntimeError):
    """Tensors of two devices in one operation."""


# what the host waits for


PLACES = ("/src/seqmodels/", "/examples/", "/lightning/", "/torchmetrics/", "/tests/", "/torch/nn/")


class Seen:
    """What the host has waited for and has copied to the device, by the line that asked."""

    waits: ClassVar[Counter[str]] = Counter()
    copies: ClassVar[Counter[str]] = Counter()


def wait(what: str) -> None:
    Seen.waits[f"{what}: {asked_by()}"] += 1


def asked_by() -> str:
    """The innermost line of the project, else of Lightning, such as `nn/cell.py: x = y.item()`."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        for place in PLACES if not file.endswith("pretended.py") else ():
            if place in file:
                line = linecache.getline(file, frame.f_lineno).strip()
                return f"{file.rpartition(place)[2]}: {line}"
        frame = frame.f_back  # type: ignore[assignment]
    return "backward pass"


# tensors

PINNED: dict[int, Tensor] = {}  # page-locked ones, by the address of their memory


class Pretended(Tensor):
    """A CPU tensor that says it is on the device."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        if inner.dtype in Device.refused:
            raise TypeError(f"{NAME} has no {inner.dtype}")
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), **layout, dtype=inner.dtype, device=DEVICE
        )
        made.inner = inner
        return made

    def __init__(self, inner: Tensor) -> None: ...

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(tensors: Any, *_: Any) -> Pretended:
        return Pretended(tensors["inner"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, *args, **(kwargs or {}))

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.inner!r})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)  # in a checkpoint, which is read on the CPU

    def tolist(self) -> Any:
        wait("tolist")
        return self.inner.tolist()

    @property
    def data(self) -> Pretended:  # type: ignore[override]
        return Pretended(self.inner.detach())

    @data.setter
    def data(self, value: Pretended) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]  # its shape
        self.inner = value.inner

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy")


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """`change` of each tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)(mapped(change, each) for each in value)
    return value


def inner(tensor: Tensor) -> Tensor:
    return tensor.inner if isinstance(tensor, Pretended) else tensor


def run(func: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation of which a tensor, or what it makes, is on the device."""
    name, given = func._overloadpacket.__name__, list[Tensor]()
    mapped(given.append, [*args, *kwargs.values()])
    check_devices(name, given)
    note_waits(func, name, args, kwargs)
    to_cpu = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu"
    options = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory", "non_blocking")}
    if "device" in kwargs:
        options["device"] = CPU
    if any(a.name == "generator" for a in func._schema.arguments):
        options.setdefault("generator", Device.generator)
    call = KERNELS.get(name, func)
    result = call(*mapped(inner, args), **{k: mapped(inner, v) for k, v in options.items()})
    if name == "_local_scalar_dense" or to_cpu:
        return result
    own = {id(x.inner): x for x in given if isinstance(x, Pretended)}  # of what writes in place
    for tensor in own.values():
        assert tensor.shape == tensor.inner.shape, f"{name} changes a shape in place"
    keep = name in ("_pack_padded_sequence", "_pad_packed_sequence")  # sizes stay on the CPU

    def there(made: Tensor) -> Tensor:
        if keep and made is result[1]:
            return made
        return own[id(made)] if id(made) in own else Pretended(made)

    return mapped(there, result)


COPIES = ("copy_", "_to_copy")
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
WAITING = {
    "_local_scalar_dense": "item",
    **dict.fromkeys(("nonzero", "masked_select", "equal", "is_nonzero", "bincount", "multinomial")),
    **dict.fromkeys(("_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive")),
}


def check_devices(name: str, tensors: list[Tensor]) -> None:
    others = [tuple(t.shape) for t in tensors if not isinstance(t, Pretended) and t.dim()]
    mixes = name in (*COPIES, *INDEXING) or name.endswith(("_sequence", "_sequence_backward"))
    if others and len(others) < len(tensors) and not mixes:
        raise MixedError(f"{name}: {others} on the CPU with {NAME}: {asked_by()}")


def note_waits(func: Any, name: str, args: Any, kwargs: Any) -> None:
    if name in WAITING:
        wait(WAITING[name] or name)
    elif name == "repeat_interleave" and "Tensor" in str(func) and not kwargs.get("output_size"):
        wait(name)
    elif name in INDEXING:
        for index in (x for x in args[1] if isinstance(x, Tensor)):
            fills = name != "index" and args[2].numel() == 1  # which is a masked_fill
            if index.dtype == torch.bool and not fills:
                wait("index of booleans")
            elif not isinstance(index, Pretended) and index.dim():
                wait("index on the CPU")
    elif name == "_to_copy":
        if torch.device(kwargs.get("device") or DEVICE).type == "cpu":
            wait("copy to the CPU")
    elif name == "copy_":
        target, source, free = (*args, kwargs.get("non_blocking", False))[:3]
        if isinstance(source, Pretended) and not isinstance(target, Pretended):
            wait("copy to the CPU")
        elif isinstance(target, Pretended) and not isinstance(source, Pretended):
            Seen.copies[asked_by()] += 1
            # Lightning copies so to all devices but MPS, which it knows by name
            if free and Device.corrupts and not asked_by().startswith("fabric/"):
                raise AssertionError(f"{NAME} corrupts a copy that is non_blocking: {asked_by()}")
            if not free:
                wait("copy to the device")
            elif not is_pinned(source) and source.numel():
                wait("copy to the device from memory that isn't page-locked")


def dropped(x: Tensor, p: float, train: Any) -> tuple[Tensor, Tensor]:
    if not train:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    mask = torch.rand(x.shape, generator=Device.generator) >= p
    return x * mask / (1 - p), mask


def lstm_cell(i: Tensor, h: Tensor, c: Tensor, *biases: Tensor | None) -> tuple[Tensor, ...]:
    gates = sum((b for b in biases if b is not None), (i + h).float())
    i, f, g, o = (x.tanh() if n == 2 else x.sigmoid() for n, x in enumerate(gates.chunk(4, 1)))
    new = f * c + i * g
    parts = torch.cat([i, f, g, o], 1)
    return (o * new.tanh()).to(c.dtype), new.to(c.dtype), parts.to(c.dtype)


KERNELS: dict[str, Callable[..., Any]] = {
    "native_dropout": lambda x, p, train, **_: dropped(x, p, train),
    "_thnn_fused_lstm_cell": lstm_cell,
    "cudnn_is_acceptable": lambda x: False,
}


# recurrent networks, as cuDNN runs them


class Recurrent(torch.autograd.Function):
    """A call of `torch.lstm` and its like on CPU tensors, with its graph."""

    @staticmethod
    def forward(ctx: Any, call: Any, training: bool, *tensors: Tensor) -> Any:
        leaves = [t.inner.detach().requires_grad_(t.requires_grad) for t in tensors]
        with torch.enable_grad(), torch.autocast("cpu", enabled=False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the CPU is slow at it
            ctx.made = call(*leaves)
        ctx.leaves, ctx.training = leaves, training
        ctx.set_materialize_grads(False)
        return tuple(Pretended(x.detach()) for x in ctx.made)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        if not ctx.training and torch.backends.cudnn.enabled:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        pairs = zip(ctx.made, gradients, strict=True)
        made, given = zip(*((x, g.inner) for x, g in pairs if g is not None), strict=True)  # type: ignore[attr-defined]
        wanted = [leaf for leaf in ctx.leaves if leaf.requires_grad]
        options = {"allow_unused": True, "retain_graph": True}
        found = iter(torch.autograd.grad(made, wanted, given, **options))
        parts = (next(found) if leaf.requires_grad else None for leaf in ctx.leaves)
        return None, None, *(None if part is None else Pretended(part) for part in parts)


def recurrent(op: Any, *args: Any) -> Any:
    packed = op._overloadname == "data"
    data, *between, hx, weights, bias, layers, dropout, training, two = args[: 9 if packed else 8]
    batch_first = args[8:] if not packed else ()
    states = [*hx] if isinstance(hx, tuple | list) else [hx]
    tensors = [data, *states, *weights]
    if not all(isinstance(x, Pretended) for x in tensors):
        raise MixedError(f"input, state and weights aren't at the same device: {asked_by()}")
    if len(kinds := {x.dtype for x in tensors}) > 1:
        raise RuntimeError(f"input, state and weights have different types {kinds}: {asked_by()}")
    steps = len(between[0]) if packed else data.shape[1 if batch_first[0] else 0]
    if steps > MOST_STEPS and torch.backends.cudnn.enabled:
        raise RuntimeError(f"cuDNN error: CUDNN_STATUS_EXECUTION_FAILED: {steps} steps")

    def call(data: Tensor, *others: Tensor) -> Any:
        kind, (data, *others) = data.dtype, map(in_float32, (data, *others))  # type: ignore[assignment]
        state: Any = others[: len(states)]
        given = [data, *between, state if isinstance(hx, tuple | list) else state[0]]
        options = (bias, layers, dropout, training, two, *batch_first)
        with hidden_numbers():
            made = Device.kernel(op, *given, others[len(states) :], *options)
            return [x.to(kind) for x in made]

    return Recurrent.apply(call, training, *tensors)


def in_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


@contextlib.contextmanager
def hidden_numbers() -> Iterator[None]:
    """Within: dropout draws numbers that no checkpoint holds."""
    before = torch.get_rng_state()
    torch.set_rng_state(Device.hidden)
    try:
        yield
    finally:
        Device.hidden = torch.get_rng_state()
        torch.set_rng_state(before)


# the device, for PyTorch


class Device:
    """The state of the device, and what PyTorch asks of `torch.pretend`."""

    generator = torch.Generator()
    hidden = torch.Generator().manual_seed(8).get_state()
    refused: tuple[torch.dtype, ...] = ()  # types that it lacks, as MPS lacks float64
    corrupts = False  # a copy that is non_blocking, as MPS does
    installed = False
    kernel: Callable[..., Any] = staticmethod(lambda op, *given: op(*given))  # of `torch.lstm`, ...

    def is_available(self) -> bool:
        return self.installed

    is_initialized = is_available

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.generator.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


class Hook(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return Device.installed

    def has_primary_context(self, device: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


FACTORIES = "arange arange.start arange.start_step linspace randperm randperm.generator eye eye.m"
HALF = "linear matmul mm addmm mv bmm baddbmm addbmm einsum conv1d lstm_cell gru_cell rnn_tanh_cell"
FULL = (
    "exp log log1p pow.Tensor_Scalar rsqrt softplus layer_norm nll_loss nll_loss_nd l1_loss "
    "smooth_l1_loss huber_loss mse_loss logsumexp prod softmax.int log_softmax.int cumsum sum "
    "sum.dim_IntList cross_entropy_loss"
)
LIBRARIES: list[torch.library.Library] = []


def operator(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(aten, packet), overload or "default")


def register() -> None:
    """Tells PyTorch of the device: it exists in this process, but is not available."""
    prepare = backend_registration._setup_privateuseone_for_python_backend
    prepare(NAME, backend_module=Device(), hook=Hook())
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(..., device=...)` is a copy
    for key, kernel in (("PrivateUse1", run), ("AutocastPrivateUse1", None)):
        library = torch.library.Library("_", "IMPL")
        library.fallback(kernel or torch.library.fallthrough_kernel, key)
        LIBRARIES.append(library)
    library = torch.library.Library("aten", "IMPL")
    LIBRARIES.append(library)
    for name in FACTORIES.split():
        library.impl(name, partial(run, operator(name)), "PrivateUse1")
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        for form in ("input", "data"):
            op = operator(f"{name}.{form}")
            library.impl(f"{name}.{form}", partial(recurrent, op), "AutogradPrivateUse1")
            # whatever autocast's own type is (ATen/cudnn/AutocastRNN.cpp)
            library.impl(f"{name}.{form}", casting(op, torch.float16), "AutocastPrivateUse1")
    for names, dtype in ((HALF, None), (FULL, torch.float32)):
        for name in names.split():
            op = operator(name)
            library.impl(name, casting(op, dtype), "AutocastPrivateUse1")


def casting(op: Any, dtype: torch.dtype | None) -> Callable[..., Any]:
    """An operation of autocast: in this type, or in autocast's own."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def call(*args: Any, **kwargs: Any) -> Any:
        wanted = dtype or torch.get_autocast_dtype(NAME)

        def cast(x: Tensor) -> Tensor:
            fits = isinstance(x, Pretended) and x.is_floating_point() and x.dtype != torch.float64
            return x.to(wanted) if fits else x

        with torch._C._ExcludeDispatchKeyGuard(keys):
            return op(*mapped(cast, args), **{k: mapped(cast, v) for k, v in kwargs.items()})

    return call


# the device, for Lightning


class PretendedAccelerator(Accelerator):
    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> int:
        return 1

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


def on_the_device(init: Callable[..., None]) -> Callable[..., None]:
    """`pl.Trainer.__init__` for which `auto` and `gpu` are this device.

    It keeps its signature, which is read once in a process.
    """

    @functools.wraps(init)
    def made(trainer: Any, *args: Any, **options: Any) -> None:
        if options.get("accelerator", "auto") in ("auto", "gpu"):
            strategy = SingleDeviceStrategy(DEVICE, accelerator=PretendedAccelerator())
            options |= {"accelerator": "auto", "devices": 1, "strategy": strategy}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*GradScaler is enabled, but CUDA is not")
            init(trainer, *args, **options)
        precision = trainer.strategy.precision_plugin
        if isinstance(precision, MixedPrecision) and trainer.strategy.root_device == DEVICE:
            precision.device = NAME
            precision.scaler = precision.scaler and torch.amp.GradScaler(NAME)

    return made


def keeping_parameters(apply: Callable[..., Any]) -> Callable[..., Any]:
    """`nn.Module._apply` that keeps the parameters' identity, as between a GPU and the CPU."""

    def applied(module: Any, function: Any, recurse: bool = True) -> Any:
        future = torch.__future__
        before = future.get_swap_module_params_on_conversion()
        future.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, function, recurse)
        finally:
            future.set_swap_module_params_on_conversion(before)

    return applied


def is_pinned(tensor: Tensor, *_: Any) -> bool:
    return tensor.untyped_storage().data_ptr() in PINNED


def pinned(tensor: Tensor, *_: Any) -> Tensor:
    if is_pinned(tensor):
        return tensor
    tensor = tensor.clone()
    PINNED[tensor.untyped_storage().data_ptr()] = tensor
    return tensor


def no_grad(mode: bool = True) -> Any:
    return torch.no_grad() if mode else contextlib.nullcontext()


@contextlib.contextmanager
def install() -> Iterator[torch.device]:
    """Within: the device is there, and `auto` and `gpu` mean it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Device, "installed", True)
        patch.setattr(pl.Trainer, "__init__", on_the_device(pl.Trainer.__init__))
        patch.setattr(nn.Module, "_apply", keeping_parameters(nn.Module._apply))
        patch.setattr(Tensor, "pin_memory", pinned)
        patch.setattr(Tensor, "is_pinned", is_pinned)
        # in inference mode, such tensors have no version counter
        patch.setattr(torch, "inference_mode", no_grad)
        Seen.waits.clear()
        Seen.copies.clear()
        try:
            yield DEVICE
        finally:
            PINNED.clear()


register()
