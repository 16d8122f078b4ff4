"""Find out how a model can be run, before you audit it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import product
from typing import Any

import torch
from torch import Tensor

from seqmodels.audit.isolation import changed, find_modules, in_float64, isolated
from seqmodels.audit.probe import Probe
from seqmodels.audit.random_inputs import OTHERWISE, Sampler
from seqmodels.audit.recurrences import nodes_of
from seqmodels.errors import UserError, one_line

SHORT = 12  # steps of a short batch: little fades within them, and they cost little


@contextmanager
def set_up_probe(
    model: Callable[..., Any],
    kind: str,
    sampler: Sampler,
    seed: int,
    targets: Tensor | None = None,
) -> Iterator[Probe]:
    """Within: the model is in evaluation mode, in float64 if it runs in float64, and random where
    its own weights are constant. After: it is as it was.

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
    with isolated(modules, seed), ExitStack() as stack:
        probe = Probe(model, kind, sampler, seed, modules, dtype=sampler.dtype, targets=targets)
        if not modules:
            probe.hidden = _weights_in_graph(probe)
        if probe.parameters:
            probe.device = probe.parameters[0].device
        for dtype, lengths in product((torch.float64, sampler.dtype), candidates):
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
    if probe.kind == "sequence":
        right = shape[:1] == (rows,)
        if right and len(shape) == 3 and shape[1] == steps > 1:
            return f"logits are {shape}, one for each step: set kind=per_step"
    elif probe.targets is not None:
        right = len(shape) == 3 and shape[:2] == (rows, steps)
    else:
        right = len(shape) >= 2 and shape[0] == rows and shape[1] >= steps
    if not right:
        expected = f"{rows} rows" + (f" of {steps} steps" if probe.kind != "sequence" else "")
        probe.wrong_shape = f"logits for {expected} are {shape}"
    probe.lengths, probe.stateful = lengths, state is not None
    probe.note_rounding(logits)
    return ""
