"""A model under audit, called the same way every time."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.sampling import Sampler
from seqmodels.audit.undisturbed import changed, modules_of, undisturbed
from seqmodels.batch import valid_steps
from seqmodels.errors import UserError, one_line

MOST_ROWS = 2  # of a long batch
SHORT = 12  # steps of a short batch: little fades within, and it costs little


class Probe:
    """A model as an audit calls it; within its context it is in evaluation mode, and in float64 if
    that can be.

    Args:
        model, kind, seed: as in `audit`.

    Attributes:
        modules: that it computes with, as far as they can be seen.
        parameters: likewise; of a black box, those that its logits were computed from.
        lengths: of a batch with padding: short, and longest first as `pack_padded_sequence` wants
            it, if the model takes such a one; else those of the sampler.
        stateful: whether the model takes a state and returns one.
        wrong_shape: what is wrong with the shape of the logits; empty: nothing.
        tolerance: what may be rounding, as a part of the largest logit: a true leak is of the order
            of the logits.

    Raises:
        UserError: on entering, if the model cannot be run.
    """

    def __init__(self, model: Callable[..., Any], kind: str, sampler: Sampler, seed: int) -> None:
        self.model, self.kind, self.sampler, self.seed = model, kind, sampler, seed
        self.modules = modules_of(model)
        self.parameters: list[Tensor] = [p for module in self.modules for p in module.parameters()]
        self.device = self.parameters[0].device if self.parameters else torch.device("cpu")
        self.tolerance = 1e-5
        self._stack = ExitStack()

    def __enter__(self) -> Probe:
        with ExitStack() as stack:
            stack.enter_context(undisturbed(self.modules, self.seed))
            if not self.modules:
                self._find_parameters()
            self._enter_as_it_runs(stack)
            if not self.wrong_shape:
                once, again = (self.rows(self.sampler.batch(self.lengths)) for _ in range(2))
                if all(map(torch.equal, once, again)):
                    stack.enter_context(self.random_weights())  # a projection starts from zero
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _find_parameters(self) -> None:
        # a black box computes with something, and the graph of its logits says with what
        self.dtype, lengths = self.sampler.dtype, self.sampler.lengths.tolist()
        try:
            logits, _ = self(self.sampler.batch(lengths), lengths)
        except Exception:  # noqa: BLE001 (what is wrong is said when it runs again)
            return
        if isinstance(logits, Tensor) and logits.grad_fn is not None:
            self.parameters = leaves_of(logits)
            self.device = self.parameters[0].device if self.parameters else self.device

    def _enter_as_it_runs(self, stack: ExitStack) -> None:
        time = min(max(int(self.sampler.lengths.max()), SHORT // 2), SHORT)
        half = time // 2
        shapes = [
            [time, time, half, half, 1, 1],
            [time, time, time - 1, time - 1],
            self.sampler.lengths.tolist(),
        ]
        problem = ""
        for dtype in (torch.float64, self.sampler.dtype):
            self.dtype, trial = dtype, ExitStack()
            try:
                trial.enter_context(self._in_dtype())
            except TypeError:  # a device without float64
                continue
            for lengths in shapes:
                self.lengths = lengths
                problem = self._problem()
                if not problem:
                    stack.enter_context(trial)
                    return
            trial.close()
        raise UserError(f"model(inputs, lengths) cannot be run: {problem}")

    def measure_rounding(self) -> None:
        """Widens `tolerance` for a network that amplifies rounding, as large weights do."""
        inputs = self.sampler.batch(self.lengths)
        before = self.rows(inputs)
        largest = max(float(row.abs().max()) for row in before)

        def blurred(data: Tensor) -> Tensor:
            noise = torch.randn(data.shape, generator=self.sampler.generator)
            return data * (1 + 64 * torch.finfo(data.dtype).eps * noise.to(data))

        with changed(self.parameters, blurred):
            after = self.rows(inputs if self.sampler.tokens else blurred(inputs.to(self.dtype)))
        moved = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))
        if moved > 0.25 * self.tolerance * largest:
            self.tolerance = 4 * moved / largest

    @contextmanager
    def _in_dtype(self) -> Iterator[None]:
        if self.dtype == self.sampler.dtype:
            yield
            return
        buffers = chain.from_iterable(module.buffers() for module in self.modules)
        with changed(chain(self.parameters, buffers), lambda data: data.to(torch.float64)):
            yield

    def _problem(self) -> str:
        inputs = self.sampler.batch(self.lengths)
        try:
            logits, state = self(inputs, self.lengths)
        except Exception as error:  # noqa: BLE001 (a model may dislike a shape or a type in any way)
            return f"{type(error).__name__}: {one_line(error)}"
        if not isinstance(logits, Tensor) or not logits.is_floating_point():
            kind = type(logits).__name__
            return f"it returns {kind}, and not logits, or a tuple that begins with logits"
        if not bool(logits.isfinite().all()):
            return f"logits are not finite for lengths {self.lengths}"
        self.stateful = state is not None
        rows, steps = len(self.lengths), max(self.lengths)
        self.wrong_shape, shape = "", tuple(logits.shape)
        if self.kind == "sequence":
            if shape[:1] != (rows,):
                self.wrong_shape = f"logits for {rows} rows are {shape}"
            elif len(shape) == 3 and shape[1] == steps > 1:
                return f"logits are {shape}, one for each step: set kind=per_step"
        elif len(shape) < 2 or shape[0] != rows or shape[1] < steps:
            self.wrong_shape = f"logits for {rows} rows of {steps} steps are {shape}"
        return ""

    def __call__(
        self, inputs: Tensor, lengths: Sequence[int], state: Any = None
    ) -> tuple[Any, Any]:
        """`(logits, state)`; the state is None where the model returns none."""
        torch.manual_seed(self.seed)
        dtype = inputs.dtype if self.sampler.tokens else self.dtype
        more = () if state is None else (state,)
        result = self.model(inputs.to(self.device, dtype), torch.tensor(lengths), *more)
        if not isinstance(result, tuple):
            return result, None
        carried = len(result) == 2 and tensors_of(result[1]) and _takes_state(self.model)
        return result[0], result[1] if carried else None

    def rows(self, inputs: Tensor, lengths: Sequence[int] | None = None) -> list[Tensor]:
        """The logits of each row, at its valid steps, on the CPU in float64."""
        with torch.no_grad():
            return self.valid(self(inputs, lengths or self.lengths)[0], lengths or self.lengths)

    def valid(self, logits: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Row by row, without padding."""
        self.eps = torch.finfo(logits.dtype).eps
        self.tolerance = max(self.tolerance, min(256 * self.eps, 0.1))
        logits = logits.detach().cpu().double()
        if self.kind == "sequence":
            return list(logits)
        return [row[:length] for row, length in zip(logits, lengths, strict=False)]

    def moved(
        self,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        rows: Sequence[int] | None = None,
        what: str = "logits",
    ) -> str:
        """How far they moved, in words; empty if no farther than by rounding."""
        largest = max(float(row.abs().max()) for row in before)
        moves = [
            float((before[row] - after[row]).abs().max())
            for row in (range(len(before)) if rows is None else rows)
        ]
        if max(moves) <= self.tolerance * largest:
            return ""
        return f"{what} by up to {max(moves):.2g} (they are up to {largest:.2g} in size)"

    def long_lengths(self) -> list[int]:
        """Those of the sampler, where no gradient fades to nothing in the type of the weights."""
        type_ = self.dtype if self.dtype.is_floating_point else torch.get_default_dtype()
        most = int(-math.log2(torch.finfo(type_).tiny) / 4)
        cut = [min(length, most) for length in self.sampler.lengths[:MOST_ROWS].tolist()]
        try:
            self.rows(self.sampler.batch(cut), cut)
        except Exception:  # noqa: BLE001 (a model may dislike a shape in any way)
            return self.lengths
        return cut

    def reached(self, inputs: Tensor, lengths: Sequence[int]) -> Tensor:
        """The input steps, `(B, T)` bool, from which a gradient reaches a logit of any row; none
        where gradients do not tell."""
        leaves: list[Tensor] = []

        def leaf(embedded: Tensor) -> Tensor:
            if embedded.shape[:2] != inputs.shape[:2]:
                return embedded
            leaves.append(embedded.detach().requires_grad_())
            return leaves[-1]

        parts = [part for module in self.modules for part in module.modules()]
        handles = [
            part.register_forward_hook(lambda module, arguments, embedded: leaf(embedded))
            for part in parts
            if isinstance(part, nn.Embedding)
        ]
        try:
            given = inputs if self.sampler.tokens else leaf(inputs.to(self.device, self.dtype))
            logits, _ = self(given, lengths)
        finally:
            for handle in handles:
                handle.remove()
        read = torch.zeros(inputs.shape[:2], dtype=torch.bool)
        if not logits.requires_grad or not leaves:
            return read
        weights = torch.randn(logits.shape, generator=self.sampler.generator).to(logits)
        if self.kind == "per_step":  # logits at padding are of no interest
            steps = valid_steps(torch.tensor(lengths), logits.shape[1], logits.device)
            weights = weights * steps.view(*steps.shape, *[1] * (logits.dim() - 2))
        for gradient in torch.autograd.grad(logits, leaves, weights, allow_unused=True):
            if gradient is not None:
                read |= (gradient.cpu() != 0).flatten(2).any(dim=2)
        return read

    @contextmanager
    def random_weights(self) -> Iterator[None]:
        """Within: moderate random parameters and features, so that nothing is saturated or dead."""

        def draw(data: Tensor) -> Tensor:
            fan_in = data[0].numel() if data.dim() > 1 else 4
            noise = torch.randn(data.shape, generator=self.sampler.generator)
            return (noise / fan_in**0.5).to(data)

        with changed(self.parameters, draw), self.sampler.moderate():
            yield


def leaves_of(tensor: Tensor) -> list[Tensor]:
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


def _takes_state(model: Callable[..., Any]) -> bool:
    """Whether it has a third parameter."""
    parameters = inspect.signature(
        model.forward if isinstance(model, nn.Module) else model
    ).parameters
    places = [
        p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(places) >= 3


def tensors_of(state: Any) -> list[Tensor]:
    """The tensors of a state, however they are nested."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, tuple | list):
        return [tensor for part in state for tensor in tensors_of(part)]
    return []
