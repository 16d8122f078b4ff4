"""A model under audit: how to run it, and how far its logits move."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.calling import Caller, first_call, gradient_leaves, in_float64
from seqmodels.audit.sampling import Sampler
from seqmodels.audit.undisturbed import changed, find_modules, undisturbed
from seqmodels.errors import UserError

MOST_ROWS = 2  # of a long batch
SHORT = 12  # steps of a short batch: little fades within them, and they cost little


@dataclass(frozen=True)
class Probe:
    """A model as an audit runs it. `open_probe` makes one.

    Args:
        call: runs the model.
        kind: `sequence` or `per_step`, as in `audit`.
        sampler: makes its inputs.
        modules: what it computes with, as far as that can be seen; empty for a black box.
        parameters: the weights; of a black box, those that its logits were computed from.
        lengths: of a short batch that the model takes; with padding and longest first, if it takes
            such a batch.
        stateful: whether the model takes a state and returns one.
        wrong_shape: what is wrong with the shape of the logits; empty if nothing is.
        eps: the rounding unit of the logits.
        tolerance: how far logits may move by rounding alone, as a share of the largest logit. A
            true leak moves them by about their own size.
    """

    call: Caller
    kind: str
    sampler: Sampler
    modules: Sequence[nn.Module]
    parameters: Sequence[Tensor]
    lengths: list[int]
    stateful: bool
    wrong_shape: str
    eps: float
    tolerance: float

    def rows(self, inputs: Tensor, lengths: Sequence[int] | None = None) -> list[Tensor]:
        """The logits of each row, at its valid steps, on the CPU in float64."""
        lengths = lengths or self.lengths
        with torch.no_grad():
            return self.valid(self.call(inputs, lengths)[0], lengths)

    def valid(self, logits: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Splits logits into rows, without padding, on the CPU in float64."""
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
        """How far the rows moved, in words; empty if no farther than by rounding."""
        largest = max(float(row.abs().max()) for row in before)
        moves = [
            float((before[row] - after[row]).abs().max())
            for row in (range(len(before)) if rows is None else rows)
        ]
        if max(moves) <= self.tolerance * largest:
            return ""
        return f"{what} by up to {max(moves):.2g} (they are up to {largest:.2g} in size)"

    def long_lengths(self) -> list[int]:
        """The lengths that the model is used to, cut where no gradient underflows to 0."""
        dtype = self.call.dtype
        dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
        most = int(-math.log2(torch.finfo(dtype).tiny) / 4)
        cut = [min(length, most) for length in self.sampler.lengths[:MOST_ROWS].tolist()]
        try:
            self.rows(self.sampler.batch(cut), cut)
        except Exception:  # noqa: BLE001 (a model may refuse a shape in any way)
            return self.lengths
        return cut

    @contextmanager
    def random_weights(self) -> Iterator[None]:
        """Within: moderate random weights and features, so that no unit is saturated or dead."""

        def draw(data: Tensor) -> Tensor:
            fan_in = data[0].numel() if data.dim() > 1 else 4
            noise = torch.randn(data.shape, generator=self.sampler.generator)
            return (noise / fan_in**0.5).to(data)

        with changed(self.parameters, draw), self.sampler.moderate():
            yield


@contextmanager
def open_probe(
    model: Callable[..., Any], kind: str, sampler: Sampler, seed: int
) -> Iterator[Probe]:
    """Within: the model is in evaluation mode, in float64 if it runs in float64, and random where
    its own weights are not. After: it is as it was.

    Args:
        model, kind, seed: as in `audit`.

    Raises:
        UserError: if the model cannot be run.
    """
    modules = find_modules(model)
    call = Caller(model, sampler.tokens, sampler.dtype, torch.device("cpu"), seed)
    with ExitStack() as stack:
        stack.enter_context(undisturbed(modules, seed))
        parameters = _find_parameters(call, modules, sampler)
        if parameters:
            call = replace(call, device=parameters[0].device)
        probe = stack.enter_context(_running(call, kind, sampler, modules, parameters))
        if not probe.wrong_shape and _is_constant(probe):
            # a projection may start from zero weights, and then nothing moves the logits
            stack.enter_context(probe.random_weights())
        yield probe


def _find_parameters(call: Caller, modules: Sequence[nn.Module], sampler: Sampler) -> list[Tensor]:
    """The weights of the modules, or those that the graph of a black box's logits leads to."""
    if modules:
        return [parameter for module in modules for parameter in module.parameters()]
    lengths = sampler.lengths.tolist()
    try:
        logits, _ = call(sampler.batch(lengths), lengths)
    except Exception:  # noqa: BLE001 (`_running` calls it again, and says what is wrong)
        return []
    if not isinstance(logits, Tensor) or logits.grad_fn is None:
        return []
    return gradient_leaves(logits)


@contextmanager
def _running(
    call: Caller,
    kind: str,
    sampler: Sampler,
    modules: Sequence[nn.Module],
    parameters: Sequence[Tensor],
) -> Iterator[Probe]:
    """Within: the model in the first dtype, and with the first lengths, with which it runs."""
    problem = ""
    for dtype in (torch.float64, sampler.dtype):
        call, changes_dtype = replace(call, dtype=dtype), dtype != sampler.dtype
        with ExitStack() as stack:
            try:
                if changes_dtype:
                    stack.enter_context(in_float64(modules, parameters))
            except TypeError:  # a device without float64
                continue
            for lengths in _short_lengths(sampler):
                try:
                    first = first_call(call, kind, sampler.batch(lengths), lengths)
                except ValueError as error:
                    problem = str(error)
                    continue
                yield Probe(
                    call,
                    kind,
                    sampler,
                    modules,
                    parameters,
                    lengths,
                    first.stateful,
                    first.wrong_shape,
                    first.eps,
                    least_tolerance(first.eps),
                )
                return
    raise UserError(f"model(inputs, lengths) cannot be run: {problem}")


def _short_lengths(sampler: Sampler) -> list[list[int]]:
    """Of batches to try, longest first because `pack_padded_sequence` may want that."""
    time = min(max(int(sampler.lengths.max()), SHORT // 2), SHORT)
    half = time // 2
    return [
        [time, time, half, half, 1, 1],
        [time, time, time - 1, time - 1],
        sampler.lengths.tolist(),
    ]


def _is_constant(probe: Probe) -> bool:
    """Whether two random batches have the same logits."""
    one, other = (probe.rows(probe.sampler.batch(probe.lengths)) for _ in range(2))
    return all(map(torch.equal, one, other))


def least_tolerance(eps: float) -> float:
    """What rounding does to the logits of any network, as a share of the largest one."""
    return max(1e-5, min(256 * eps, 0.1))


def with_measured_rounding(probe: Probe) -> Probe:
    """The same probe, with more tolerance if its network amplifies rounding, as large weights do.

    Changes weights and features by some rounding units and measures how far the logits move.
    """
    inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    largest = max(float(row.abs().max()) for row in before)

    def blurred(data: Tensor) -> Tensor:
        noise = torch.randn(data.shape, generator=probe.sampler.generator)
        return data * (1 + 64 * torch.finfo(data.dtype).eps * noise.to(data))

    with changed(probe.parameters, blurred):
        after = probe.rows(inputs if probe.call.tokens else blurred(inputs.to(probe.call.dtype)))
    moved = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))
    if moved <= 0.25 * probe.tolerance * largest:
        return probe
    return replace(probe, tolerance=4 * moved / largest)
