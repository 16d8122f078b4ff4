"""A model under audit: run it the same way every time, and see how far its logits move."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
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

# The rows of a long batch.
MOST_ROWS = 2
# The steps of a short batch: little fades within them, and they cost little.
SHORT = 12
# The last operation on a number may round it by so many rounding units.
MOST_UNITS = 8

# A node of the graph of autograd.
Node = Any


@dataclass
class Probe:
    """A model and how to run it. `set_up_probe` makes one and fills in all but the first fields."""

    # (inputs, lengths) -> logits; (..., state) -> (logits, state)
    model: Callable[..., Any]
    kind: str
    sampler: Sampler
    seed: int
    # The modules that the model computes with; none for a black box.
    modules: nn.ModuleList
    # The weights from which the logits of a black box were computed.
    hidden: Sequence[Tensor] = ()
    device: torch.device | str = "cpu"
    # The type of features; tokens keep theirs.
    dtype: torch.dtype = torch.float64
    # The lengths of a short batch that the model takes, with padding and longest first if it can.
    lengths: list[int] = field(default_factory=list)
    # How many steps each logit is for: 2 where a network halves its rows, as before a CTC loss.
    stride: int = 1
    # Whether the model takes a state and returns one.
    stateful: bool = False
    # Evidence that the logits have a wrong shape.
    wrong_shape: str = ""
    # The rounding unit of the logits.
    eps: float = 0.0
    # How far other inputs move each output, and how far rounding alone may: `(...)`, the shape of
    # the logits of a row, or of a step. A true leak moves an output about as far as inputs do.
    spread: Tensor = field(default_factory=lambda: torch.zeros(()))
    tolerance: Tensor = field(default_factory=lambda: torch.zeros(()))
    # The same relative to how far inputs move them, for the outputs that inputs move: `(K,)`.
    shares: Tensor = field(default_factory=lambda: torch.zeros(0))
    # The checks that could not be made, with the reason.
    untested: list[str] = field(default_factory=list)
    # Whether random numbers are all alike in its calls.
    quiet: bool = False
    # `(rows, S)`, what a decoder reads; more rows than a batch has.
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        self.takes_state = False
        # A function that is not written in Python may have no signature.
        with suppress(TypeError, ValueError):
            forward = self.model.forward if isinstance(self.model, nn.Module) else self.model
            self.takes_state = "state" in inspect.signature(forward).parameters

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
        options: dict[str, Any] = {}
        if self.takes_state:
            options["state"] = state
        if self.targets is not None:
            options["target_inputs"] = self.targets[: len(inputs)].to(self.device)
        dtype = inputs.dtype if self.sampler.tokens else self.dtype
        result = self.run(inputs.to(self.device, dtype), torch.tensor(lengths), **options)
        if self.takes_state and isinstance(result, tuple) and len(result) == 2:
            return result
        return result, None

    def run(self, *arguments: Tensor, **options: Any) -> Any:
        """What the model gives, with the same random numbers each time."""
        seed_random_numbers(self.seed)
        with WithoutNoise() if self.quiet else nullcontext():
            return self.model(*arguments, **options)

    def note_rounding(self, logits: Tensor) -> None:
        """Notes the rounding unit of such logits: of the coarsest dtype that holds all of them,
        because a model may compute in half precision and return float32."""
        self.eps = torch.finfo(logits.dtype).eps
        numbers = logits[logits.isfinite() & (logits != logits.round())]  # Any dtype holds counts.
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            if len(numbers) and torch.equal(numbers.to(dtype).to(numbers), numbers):
                self.eps = max(self.eps, torch.finfo(dtype).eps)

    def rows(self, inputs: Tensor, lengths: Sequence[int] | None = None) -> list[Tensor]:
        """The logits of each row, at its valid steps, on the CPU in float64."""
        lengths = lengths or self.lengths
        with torch.no_grad():
            logits, _ = self.call(inputs, lengths)
        return self.valid(logits, lengths)

    def valid(self, logits: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Splits logits into rows, without padding, on the CPU in float64; nan becomes inf, which
        is equal to itself."""
        logits = logits.detach().cpu().double().nan_to_num(math.inf, math.inf, -math.inf)
        if self.kind != "per_step":
            return list(logits)
        counts = self.logit_counts(lengths)
        return [row[:count] for row, count in zip(logits, counts, strict=False)]

    def logit_counts(self, lengths: Sequence[int]) -> list[int]:
        """How many logits of each row are for its valid steps alone, and at least one."""
        return [max(length // self.stride, 1) for length in lengths]

    def moved(
        self,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        rows: Sequence[int] | None = None,
        what: str = "logits",
    ) -> str:
        """How far the rows moved, in words; empty if no output moved farther than by rounding."""
        if rows is None:
            rows = range(len(before))
        if len(before) != len(after):
            return f"the shape of the {what}"
        if any(before[row].shape != after[row].shape for row in rows):
            return f"the shape of the {what}"
        for row in rows:
            limit = self.limit(before[row])
            moves = distance(before[row], after[row])
            if bool((moves > limit).any()):
                farthest = moves.where(moves > limit, 0.0).max()
                largest = before[row][moves == farthest].abs().max()
                return f"{what} by up to {farthest:.2g} (from {largest:.6g} in size)"
        return ""

    def limit(self, row: Tensor) -> Tensor:
        """How far rounding alone may move each of these logits."""
        tolerance = self.tolerance
        # A model may give other outputs in training mode, or one for each step.
        if row.shape[row.dim() - tolerance.dim() :] != tolerance.shape:
            tolerance = tolerance.max()
        size = row.nan_to_num(posinf=0.0, neginf=0.0).abs()
        return tolerance + MOST_UNITS * self.eps * size + 1e-300

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
        # A gradient may shrink by a factor of 16 at each step.
        most_steps = int(-math.log2(torch.finfo(dtype).tiny) / 4)
        lengths = self.sampler.lengths[:MOST_ROWS].tolist()
        cut_lengths = [min(length, most_steps) for length in lengths]
        with suppress(Exception):  # A model may refuse a shape in any way.
            self.rows(self.sampler.batch(cut_lengths), cut_lengths)
            return cut_lengths
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

    def measure_spread(self) -> None:
        """Measures how far other inputs move each output. Some part of it is rounding in any
        network."""
        before = self.outputs(self.sampler.batch(self.lengths))
        moves = distance(before, self.outputs(self.sampler.batch(self.lengths)))
        # A mask may depend on the inputs, so the median counts, and not the largest.
        moves = moves.where((moves > 0) & moves.isfinite(), math.nan)
        self.spread = moves.nanmedian(dim=0).values.nan_to_num(0.0)
        self.tolerance = self.spread * max(1e-5, min(256 * self.eps, 0.1))

    def measure_rounding(self) -> None:
        """Raises the tolerance of outputs that the network amplifies rounding of, as large weights
        do.

        Changes weights and features by some rounding units and measures how far outputs move.
        """

        def blurred(data: Tensor) -> Tensor:
            noise = torch.randn(data.shape, generator=self.sampler.generator)
            units = min(64 * torch.finfo(data.dtype).eps, 1 / 64)
            return data * (1 + units * noise.to(data))

        inputs = self.sampler.batch(self.lengths)
        before = self.outputs(inputs)
        with changed(self.parameters, blurred):
            blurred_inputs = inputs if self.sampler.tokens else blurred(inputs.to(self.dtype))
            moves = distance(before, self.outputs(blurred_inputs)).nan_to_num(posinf=0.0)
        self.tolerance = self.tolerance.maximum(4 * moves.amax(dim=0))
        limits = self.limit(before).median(dim=0).values
        self.shares = (limits / self.spread)[self.spread > 0]

    def outputs(self, inputs: Tensor) -> Tensor:
        """The values of each output in all rows, or at all valid steps, `(N, ...)`."""
        rows = self.rows(inputs)
        return torch.stack(rows) if self.kind == "sequence" else torch.cat(rows)


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
    with isolated(modules, seed), ExitStack() as stack:
        probe = Probe(model, kind, sampler, seed, modules, dtype=sampler.dtype, targets=targets)
        if not modules:
            probe.hidden = _weights_in_graph(probe)
        if probe.parameters:
            probe.device = probe.parameters[0].device
        dtypes = [sampler.dtype]
        if exact or _is_coarse(modules):
            dtypes.insert(0, torch.float64)
        problem = ""
        for dtype, lengths in product(dtypes, _candidate_lengths(sampler)):
            probe.dtype = dtype
            with ExitStack() as attempt:
                problem = _problem(probe, lengths, attempt)
                if not problem:
                    # What the attempt has changed stays until the end.
                    stack.push(attempt.pop_all())
                    break
        if problem:
            raise UserError(f"the model cannot be run: {problem}; {OTHERWISE}")
        if not probe.wrong_shape:
            _measure_spread_with_any_weights(probe, stack)
        yield probe


def _measure_spread_with_any_weights(probe: Probe, stack: ExitStack) -> None:
    """Measures the spread; with random weights until the end, if they move more outputs: a
    projection may start from zero weights, and then nothing moves its outputs."""
    probe.measure_spread()
    spread = probe.spread
    tolerance = probe.tolerance
    if bool(spread.all()):
        return
    with ExitStack() as attempt:
        attempt.enter_context(probe.random_weights())
        probe.measure_spread()
        if probe.spread.count_nonzero() > spread.count_nonzero():
            stack.push(attempt.pop_all())
            return
    probe.spread = spread
    probe.tolerance = tolerance


def _candidate_lengths(sampler: Sampler) -> list[list[int]]:
    """The lengths of batches to try, one after the other."""
    time = min(max(int(sampler.lengths.max()), SHORT // 2), SHORT)
    half = time // 2
    if sampler.unpadded:
        short_batches = [[time] * 6]
    else:
        # The longest row comes first, because `pack_padded_sequence` may want that.
        short_batches = [
            [time, time, half, half, 1, 1],
            [time, time, time - 1, time - 1],
        ]
    return [*short_batches, sampler.lengths.tolist()]


def _is_coarse(modules: nn.ModuleList) -> bool:
    """Whether a network is coarser than float32, or PyTorch may be."""
    if torch.get_float32_matmul_precision() != "highest":
        return True
    return any(weight.element_size() < 4 for weight in modules.parameters())


def _weights_in_graph(probe: Probe) -> list[Tensor]:
    """The weights that the graph of a black box's logits leads to."""
    lengths = probe.sampler.lengths.tolist()
    with suppress(Exception):  # `_problem` calls it again, and says what is wrong.
        logits, _ = probe.call(probe.sampler.batch(lengths), lengths)
        return [node.variable for node in nodes_of(logits) if hasattr(node, "variable")]
    return []


def _problem(probe: Probe, lengths: list[int], attempt: ExitStack) -> str:
    """Why the model can't be audited with this dtype and rows of these lengths. If it can, notes in
    the probe what it returns."""
    inputs = probe.sampler.batch(lengths)
    try:
        if probe.dtype != probe.sampler.dtype:
            if probe.modules:
                attempt.enter_context(in_float64(probe.modules))
            else:
                attempt.enter_context(changed(probe.parameters, Tensor.double))
        logits, state = probe.call(inputs, lengths)
    except Exception as error:  # noqa: BLE001 (a model may refuse a shape, a device float64)
        return f"{type(error).__name__}: {one_line(error)}"
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        return f"it returns {type(logits).__name__} instead of logits"
    if not bool(logits.isfinite().any()):
        return f"logits are not finite for lengths {lengths}"
    shape = tuple(logits.shape)
    rows = len(lengths)
    steps = max(lengths) if probe.targets is None else probe.targets.shape[1]
    is_sequence = probe.kind == "sequence"
    probe.stride = 1
    if probe.kind == "per_step":
        probe.stride = _stride(probe, inputs, logits, lengths)
    if is_sequence and len(shape) == 3 and shape[:2] == (rows, steps) and steps > 1:
        return f"logits are {shape}, one for each step: set kind=per_step"
    if not _fits(probe, shape, rows, steps):
        expected = f"{rows} rows" if is_sequence else f"{rows} rows of {steps} steps"
        probe.wrong_shape = f"logits for {expected} are {shape}"
    probe.lengths = lengths
    probe.stateful = state is not None
    probe.note_rounding(logits)
    return ""


def _fits(probe: Probe, shape: tuple[int, ...], rows: int, steps: int) -> bool:
    """Whether logits of this shape are those of so many rows and steps."""
    if probe.kind == "sequence":
        return shape[:1] == (rows,)
    if probe.targets is not None:
        return len(shape) == 3 and shape[:2] == (rows, steps)
    return len(shape) >= 2 and shape[0] == rows and shape[1] >= steps // probe.stride


def _stride(probe: Probe, inputs: Tensor, logits: Tensor, lengths: Sequence[int]) -> int:
    """How many steps each of these logits `(B, T', ...)` is for; 1 if they are not for steps."""
    rows, steps = inputs.shape[:2]
    if logits.dim() < 3 or len(logits) != rows or logits.shape[1] >= steps:
        return 1
    # The second dimension may be another one, such as the classes. It counts steps only if rows of
    # half the length have half as many.
    half = steps // 2
    with suppress(Exception):  # A model may refuse a shape in any way.
        half_logits, _ = probe.call(inputs[:, :half], [min(length, half) for length in lengths])
        if half_logits.shape[1] < logits.shape[1]:
            return round(steps / logits.shape[1])
    return 1


def nodes_of(logits: Any) -> list[Node]:
    """The nodes of the graph of the logits, each after those that it was computed from."""
    order: list[Node] = []
    seen: set[Node] = set()
    # A node comes up twice: first to put those before it on top, then to take its own place.
    stack = [(getattr(logits, "grad_fn", None), False)]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            order.append(node)
        elif node is not None and node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((node_before, False) for node_before, _ in node.next_functions)
    return order


def tensors_in(state: Any) -> list[Tensor]:
    """The tensors of a state, however they are nested in tuples, lists and dicts."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        state = list(state.values())
    tensors: list[Tensor] = []
    if isinstance(state, list | tuple):
        for element in state:
            tensors += tensors_in(element)
    return tensors


def distance(before: Tensor, after: Tensor) -> Tensor:
    """How far each number moved: 0 between equal infinities."""
    return (before - after).abs().nan_to_num(nan=0.0, posinf=math.inf)
