"""A model under audit: run it the same way every time, and see how far its logits move."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.isolation import (
    WithoutNoise,
    changed,
    in_float64,
    isolated,
    seed_random_numbers,
)
from seqmodels.audit.modules import find_modules
from seqmodels.audit.random_inputs import OTHERWISE, Sampler
from seqmodels.errors import UserError, one_line

MOST_ROWS = 2  # of a long batch
SHORT = 12  # steps of a short batch: little fades within them, and they cost little

Node = Any  # of the graph of autograd


@dataclass
class Probe:
    """A model and how to run it. `set_up_probe` makes one and fills in all but the first fields."""

    model: Callable[..., Any]  # (inputs, lengths) -> logits; (..., state) -> (logits, state)
    kind: str
    sampler: Sampler
    seed: int
    modules: nn.ModuleList  # what the model computes with; empty for a black box
    hidden: Sequence[Tensor] = ()  # weights from which the logits of a black box were computed
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float64  # of features; tokens keep theirs
    # of a short batch that the model takes; with padding and longest first, if it takes such a one
    lengths: list[int] = field(default_factory=list)
    stateful: bool = False  # whether the model takes a state and returns one
    wrong_shape: str = ""  # what is wrong with the shape of the logits
    eps: float = 0.0  # the rounding unit of the logits
    # how far logits may move by rounding alone, relative to the largest logit; a true leak moves
    # them by about their own size
    tolerance: float = 0.0
    untested: list[str] = field(default_factory=list)  # what could not be tested, with the reason
    quiet: bool = False  # whether random numbers are all alike in its calls
    targets: Tensor | None = None  # `(rows, S)`, what a decoder reads; more rows than a batch

    def __post_init__(self) -> None:
        self.carries = False  # whether the model has a parameter `state`
        with suppress(TypeError, ValueError):  # of a function that is not written in Python
            forward = self.model.forward if isinstance(self.model, nn.Module) else self.model
            self.carries = "state" in inspect.signature(forward).parameters

    @property
    def parameters(self) -> list[Tensor]:
        """The weights of the modules, or of a black box."""
        return [*self.modules.parameters()] or [*self.hidden]

    @property
    def full(self) -> list[int]:
        """The lengths of a batch without padding."""
        return [max(self.lengths)] * len(self.lengths)

    def call(self, inputs: Tensor, lengths: Sequence[int], state: Any = None) -> tuple[Any, Any]:
        """`(logits, state)`; the state is None if the model takes or returns none."""
        named = {"state": state} if self.carries else {}
        if self.targets is not None:
            named["target_inputs"] = self.targets[: len(inputs)].to(self.device)
        rows = inputs.to(self.device, inputs.dtype if self.sampler.tokens else self.dtype)
        result = self.run(rows, torch.tensor(lengths), **named)
        pair = self.carries and isinstance(result, tuple) and len(result) == 2
        return result if pair else (result, None)

    def run(self, *given: Tensor, **named: Any) -> Any:
        """What the model gives, with the same random numbers each time."""
        seed_random_numbers(self.seed)
        with WithoutNoise() if self.quiet else nullcontext():
            return self.model(*given, **named)

    def note_rounding(self, logits: Tensor) -> None:
        """Notes how far such logits may move by rounding in any network."""
        self.eps = torch.finfo(logits.dtype).eps
        self.tolerance = max(1e-5, min(256 * self.eps, 0.1))

    def rows(self, inputs: Tensor, lengths: Sequence[int] | None = None) -> list[Tensor]:
        """The logits of each row, at its valid steps, on the CPU in float64."""
        lengths = lengths or self.lengths
        with torch.no_grad():
            return self.valid(self.call(inputs, lengths)[0], lengths)

    def valid(self, logits: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Splits logits into rows, without padding, on the CPU in float64."""
        logits = logits.detach().cpu().double()
        if self.kind != "per_step":
            return list(logits)
        return [row[:length] for row, length in zip(logits, lengths, strict=False)]

    def moved(
        self,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        rows: Sequence[int] | None = None,
        what: str = "logits",
    ) -> str:
        """How far the rows moved, in words; empty if no farther than by rounding."""
        chosen, largest = range(len(before)) if rows is None else rows, largest_of(before)
        if len(before) != len(after) or any(before[i].shape != after[i].shape for i in chosen):
            return f"the shape of the {what}"
        # `torch.stack`, because `max` of Python loses a nan
        moves = torch.stack([(before[row] - after[row]).abs().max() for row in chosen])
        if (farthest := float(moves.max())) <= self.tolerance * largest:
            return ""
        return f"{what} by up to {farthest:.2g} (they are up to {largest:.2g} in size)"

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Within: if the model refuses its input, in any way, `what` is untested."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self.untested.append(f"{what}: {one_line(error)}")

    def long_lengths(self) -> list[int]:
        """The lengths you give, cut so that no gradient underflows to 0."""
        dtype = self.dtype if self.dtype.is_floating_point else torch.get_default_dtype()
        most = int(-math.log2(torch.finfo(dtype).tiny) / 4)
        cut = [min(length, most) for length in self.sampler.lengths[:MOST_ROWS].tolist()]
        with suppress(Exception):  # a model may refuse a shape in any way
            self.rows(self.sampler.batch(cut), cut)
            return cut
        return self.lengths

    @contextmanager
    def random_weights(self) -> Iterator[None]:
        """Within: moderate random weights and features, so that no unit is saturated or dead."""

        def draw(data: Tensor) -> Tensor:
            fan_in = data[0].numel() if data.dim() > 1 else 4
            noise = torch.randn(data.shape, generator=self.sampler.generator)
            return (noise / fan_in**0.5).to(data)

        with (
            changed(self.parameters, draw),
            changed([self.sampler.mean], torch.zeros_like),
            changed([self.sampler.spread], torch.ones_like),
        ):
            yield

    def measure_rounding(self) -> None:
        """Raises the tolerance if the network amplifies rounding, as large weights do.

        Changes weights and features by some rounding units and measures how far the logits move.
        """

        def blurred(data: Tensor) -> Tensor:
            noise = torch.randn(data.shape, generator=self.sampler.generator)
            return data * (1 + 64 * torch.finfo(data.dtype).eps * noise.to(data))

        inputs = self.sampler.batch(self.lengths)
        before = self.rows(inputs)
        largest = largest_of(before)
        with changed(self.parameters, blurred):
            after = self.rows(inputs if self.sampler.tokens else blurred(inputs.to(self.dtype)))
        moved = largest_of(a - b for a, b in zip(before, after, strict=True))
        if moved > 0.25 * self.tolerance * largest:
            self.tolerance = 4 * moved / largest


@contextmanager
def set_up_probe(
    model: Callable[..., Any],
    kind: str,
    sampler: Sampler,
    seed: int,
    targets: Tensor | None = None,
    exact: bool = True,
) -> Iterator[Probe]:
    """Within: the model is in evaluation mode, in float64 if it runs in float64, and random where
    its own weights are constant. After: it is as it was.

    Args:
        exact: False tries no float64, unless the model is coarser than float32, or PyTorch may be.

    Raises:
        UserError: if the model cannot be run.
    """
    modules = find_modules(model)
    time = min(max(int(sampler.lengths.max()), SHORT // 2), SHORT)
    half = time // 2
    candidates = [  # longest first, because `pack_padded_sequence` may want that
        [time, time, half, half, 1, 1],
        [time, time, time - 1, time - 1],
        sampler.lengths.tolist(),
    ]
    if sampler.unpadded:
        candidates[:2] = [[time] * 6]
    exact |= torch.get_float32_matmul_precision() != "highest"
    exact |= any(weight.element_size() < 4 for weight in modules.parameters())
    dtypes = (torch.float64, sampler.dtype) if exact else (sampler.dtype,)
    with isolated(modules, seed), ExitStack() as stack:
        probe = Probe(model, kind, sampler, seed, modules, dtype=sampler.dtype, targets=targets)
        if not modules:
            probe.hidden = _weights_in_graph(probe)
        if probe.parameters:
            probe.device = probe.parameters[0].device
        for dtype, lengths in product(dtypes, candidates):
            probe.dtype = dtype
            with ExitStack() as attempt:
                if not (problem := _problem(probe, lengths, attempt)):
                    stack.push(attempt.pop_all())
                    break
        else:
            raise UserError(f"the model cannot be run: {problem}; {OTHERWISE}")
        if not probe.wrong_shape:
            one, other = (probe.rows(sampler.batch(probe.lengths)) for _ in range(2))
            if all(map(torch.equal, one, other)):
                # a projection may start from zero weights, and then nothing moves the logits
                stack.enter_context(probe.random_weights())
        yield probe


def _weights_in_graph(probe: Probe) -> list[Tensor]:
    """The weights that the graph of a black box's logits leads to."""
    lengths = probe.sampler.lengths.tolist()
    with suppress(Exception):  # `_problem` calls it again, and says what is wrong
        logits, _ = probe.call(probe.sampler.batch(lengths), lengths)
        return [node.variable for node in nodes_of(logits) if hasattr(node, "variable")]
    return []


def _problem(probe: Probe, lengths: list[int], attempt: ExitStack) -> str:
    """Why the model can't be audited with this dtype and rows of these lengths. If it can, notes in
    the probe what it returns."""
    inputs = probe.sampler.batch(lengths)
    try:
        if probe.dtype != probe.sampler.dtype:
            black_box = changed(probe.parameters, Tensor.double)
            attempt.enter_context(in_float64(probe.modules) if probe.modules else black_box)
        logits, state = probe.call(inputs, lengths)
    except Exception as error:  # noqa: BLE001 (a model may refuse a shape, a device float64)
        return f"{type(error).__name__}: {one_line(error)}"
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        return f"it returns {type(logits).__name__} instead of logits"
    if not bool(logits.isfinite().all()):
        return f"logits are not finite for lengths {lengths}"
    shape, rows = tuple(logits.shape), len(lengths)
    steps = max(lengths) if probe.targets is None else probe.targets.shape[1]
    is_sequence = probe.kind == "sequence"
    if is_sequence and len(shape) == 3 and shape[:2] == (rows, steps) and steps > 1:
        return f"logits are {shape}, one for each step: set kind=per_step"
    if not _fits(probe, shape, rows, steps):
        expected = f"{rows} rows" if is_sequence else f"{rows} rows of {steps} steps"
        probe.wrong_shape = f"logits for {expected} are {shape}"
    probe.lengths, probe.stateful = lengths, state is not None
    probe.note_rounding(logits)
    return ""


def _fits(probe: Probe, shape: tuple[int, ...], rows: int, steps: int) -> bool:
    """Whether logits of this shape are those of so many rows and steps."""
    if probe.kind == "sequence":
        return shape[:1] == (rows,)
    if probe.targets is not None:
        return len(shape) == 3 and shape[:2] == (rows, steps)
    return len(shape) >= 2 and shape[0] == rows and shape[1] >= steps


def nodes_of(logits: Any) -> list[Node]:
    """Of the graph of the logits, each after those that it was computed from."""
    order, seen, ahead = list[Node](), set[Node](), [(getattr(logits, "grad_fn", None), False)]
    while ahead:
        node, expanded = ahead.pop()
        if expanded:
            order.append(node)
        elif node is not None and node not in seen:
            seen.add(node)
            ahead += [(node, True), *((other, False) for other, _ in node.next_functions)]
    return order


def tensors_in(state: Any) -> list[Tensor]:
    """The tensors of a state, however they are nested in tuples, lists and dicts."""
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state
    nested = isinstance(state, dict | list | tuple)
    return [tensor for part in parts for tensor in tensors_in(part)] if nested else []


def largest_of(tensors: Iterable[Tensor]) -> float:
    """The largest size of a number in any of them."""
    return max(float(tensor.abs().max()) for tensor in tensors)
