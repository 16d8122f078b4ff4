"""Does a model read what it should? Mistakes with tensors, found by changing its inputs.

Works on anything that maps `(inputs, lengths)` to logits. A part of the input that must not matter
is changed, and the logits must stay; a part that must matter is changed, and they must move. Where
an `nn.LSTM`, `nn.GRU` or `nn.RNN` is inside, its `output`, `h_n` and `c_n` are changed as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from seqmodels.batch import SequenceBatch, valid_steps
from seqmodels.dataflow.inside import MOST_DRAWS, Reading, readings
from seqmodels.dataflow.probing import Probe, Sampler, tensors_of
from seqmodels.errors import UserError, choices, one_line
from seqmodels.ragged import State
from seqmodels.tasks import TrainingTask

Severity = Literal["error", "warning"]

KINDS = ("sequence", "per_step")
MOST_STEPS = 32  # that are changed one by one, where gradients do not tell
MOST_EPS = 1e-3  # of the numbers in which two ways to the same logits can be compared

# name: (severity, what to do). An error makes the logits wrong; a warning leaves something unused.
ADVICE: dict[str, tuple[Severity, str]] = {
    "padding_leak": (
        "error",
        "read only valid steps: gather at length - 1 or take h_n of a packed sequence, and mask "
        "padding before pooling, by lengths and not by the batch's longest",
    ),
    "batch_leak": (
        "error",
        "keep rows apart: h_n is (L*D, B, H), so transpose it to (B, L*D, H) before flattening",
    ),
    "future_leak": (
        "error",
        "a step may depend on itself and earlier ones only: use one direction, a causal mask, or "
        "padding on the left",
    ),
    "state_mixup": (
        "error",
        "hand on h and c, each in its own place and (L*D, B, H), exactly as the network returned "
        "them, and keep nothing between calls",
    ),
    "row_count": (
        "error",
        "give logits (B, ...), and (B, T, ...) at every step: with proj_size=P, h_n is P wide, and "
        "view(-1, hidden_size) changes the number of rows",
    ),
    "truncated_direction": (
        "warning",
        "forward ends at the last step and backward at the first: take h_n of both, or "
        "output[:, last, :H] and output[:, 0, H:], or pool over all steps",
    ),
    "unread_direction": (
        "warning",
        "in h_n, h_n[-2] is forward and h_n[-1] backward in the last layer: read both, or build "
        "the network without what is not read",
    ),
    "unread_step": (
        "warning",
        "some valid steps are ignored: look for an index or a mask that is off, or for a cut",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One mistake.

    Args:
        name: a key of `ADVICE`.
        evidence: what was changed, and what happened, in numbers.
    """

    name: str
    evidence: str

    @property
    def severity(self) -> Severity:
        """`error`: logits are wrong; `warning`: a part of the network or the input is unused."""
        return ADVICE[self.name][0]

    @property
    def advice(self) -> str:
        return ADVICE[self.name][1]

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; {self.advice}"


@dataclass(frozen=True)
class Audit:
    """What an audit found, and what it could not test, with the reason."""

    findings: list[Finding] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [finding.name for finding in self.findings]

    def found(self, name: str, evidence: str) -> Audit:
        """Adds a finding, if there is evidence."""
        if evidence:
            self.findings.append(Finding(name, evidence))
        return self


def audit(
    model: Callable[..., Any],
    inputs: Tensor,
    lengths: Tensor,
    kind: str = "sequence",
    causal: bool = False,
    *,
    seed: int = 0,
) -> Audit:
    """Looks for the mistakes of `ADVICE`.

    A model in evaluation mode, with its own weights in float64 where that can be, is run some dozen
    times on random batches that are made of the values in `inputs`. It is left as it was, and so
    are the random numbers. A finding that something is *not* read is made only if random weights do
    not read it either.

    Args:
        model: an `nn.Module` or a function, `model(inputs, lengths) -> logits`; or, with a state
            that is carried on, `model(inputs, lengths, state=None) -> (logits, state)`.
        inputs: tokens `(B, T)` int64 or features `(B, T, F)`, as the model is used to; padded at
            the end.
        lengths: `(B,)` int64 on the CPU.
        kind: `sequence`: logits `(B, ...)`; `per_step`: logits `(B, T, ...)`.
        causal: a step's logits may depend on that step and earlier ones only (`per_step`).
        seed: of the random batches; the same seed, the same findings.

    Raises:
        UserError: if the model cannot be run on such inputs.
    """
    if kind not in KINDS:
        raise UserError(f"kind={kind}: {choices(kind, KINDS)}")
    if causal and kind != "per_step":
        raise UserError("causal=True needs kind='per_step': a sequence has no later logits")
    result = Audit()
    sampler = Sampler(inputs, lengths, seed)
    with Probe(model, kind, sampler, seed) as probe:
        if probe.wrong_shape:
            return result.found("row_count", probe.wrong_shape)
        if evidence := _remembers(probe):
            return result.found("state_mixup", evidence)
        probe.measure_rounding()
        result.found("batch_leak", _batch_leak(probe, result.untested))
        if not result.findings:  # else a longer row beside a row changes it anyway
            result.found("padding_leak", _padding_leak(probe, result.untested))
        if causal:
            result.found("future_leak", _future_leak(probe))
        if probe.stateful:
            result.found("state_mixup", _state_mixup(probe, result.untested))
        inside = readings(probe)
        result.found("truncated_direction", _truncated_direction(inside))
        result.found("unread_direction", _unread_direction(inside))
        result.found("unread_step", _unread_step(probe, result.untested))
        if probe.tolerance > 0.1:
            result.untested.append(
                "leaks: this network amplifies rounding, so moves of the logits by up to "
                f"{probe.tolerance:.0%} say nothing"
            )
    return result


def assert_clean(
    model: Callable[..., Any],
    inputs: Tensor,
    lengths: Tensor,
    kind: str = "sequence",
    causal: bool = False,
    *,
    seed: int = 0,
) -> None:
    """For tests: an `AssertionError` that lists what `audit` finds, if it finds anything."""
    __tracebackhide__ = True
    findings = audit(model, inputs, lengths, kind, causal, seed=seed).findings
    assert not findings, "\n".join(str(finding) for finding in findings)


def as_model(task: TrainingTask) -> Callable[..., Any]:
    """A task as `audit` takes a model; a language model carries its state."""

    def classify(inputs: Tensor, lengths: Tensor) -> Tensor:
        return task(SequenceBatch(inputs, lengths))

    def predict_next(
        inputs: Tensor, lengths: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        states = task.encoder(task.embed(SequenceBatch(inputs, lengths)), lengths, state)
        return task.head(states), states.state

    return predict_next if task.every_step else classify


# Each check gives its evidence, or nothing


def _remembers(probe: Probe) -> str:
    inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    probe.rows(probe.sampler.batch(probe.lengths))
    moved = probe.moved(before, probe.rows(inputs))
    return f"a call in between, with another batch, moves {moved}" if moved else ""


def _batch_leak(probe: Probe, untested: list[str]) -> str:
    sampler, lengths = probe.sampler, probe.lengths
    count = len(lengths)
    if count == 1:
        untested.append("batch_leak: the model takes only one row")
        return ""
    inputs = sampler.batch(lengths)
    before = probe.rows(inputs)
    for keep in sorted({0, count // 2, count - 1}):
        others = sampler.batch(lengths)
        others[keep] = inputs[keep]
        if moved := probe.moved(before, probe.rows(others), rows=[keep]):
            return f"new content in the other rows moves, of row {keep}, {moved}"
    # rows of equal length change places, because some models want them sorted by length
    places = {length: [i for i in range(count) if lengths[i] == length] for length in lengths}
    order = list(range(count))
    for rows in places.values():
        for row, other in zip(rows, reversed(rows), strict=True):
            order[row] = other
    moved = probe.moved([before[row] for row in order], probe.rows(inputs[order]))
    return f"another order of the rows moves {moved}" if moved else ""


def _padding_leak(probe: Probe, untested: list[str]) -> str:
    sampler, lengths, time = probe.sampler, probe.lengths, max(probe.lengths)
    padding = ~valid_steps(torch.tensor(lengths), time, torch.device("cpu"))
    if not bool(padding.any()):
        untested.append("padding_leak: the model takes only rows without padding")
        return ""
    inputs = sampler.batch(lengths)
    before = probe.rows(inputs)
    for spread in (1.0, 10.0):
        other = inputs.clone()
        other[padding] = sampler.content(len(lengths), time, spread)[padding]
        if moved := probe.moved(before, probe.rows(other)):
            return f"other content at padding moves {moved}"
    for length in sorted(set(lengths))[:-1]:
        padded = sampler.batch([time, length])
        tight = torch.stack([padded[0], padded[1]])[:, :length]
        try:
            before, after = (
                probe.rows(tight, [length, length]),
                probe.rows(padded, [time, length]),
            )
        except Exception as error:  # noqa: BLE001 (a model may dislike a shape in any way)
            untested.append(f"padding_leak, by the amount of padding: {one_line(error)}")
            return ""
        if moved := probe.moved(before, after, rows=[1]):
            return f"{time - length} steps of padding after a row of {length} move {moved}"
    return ""


def _future_leak(probe: Probe) -> str:
    time, count = max(probe.lengths), len(probe.lengths)
    full = [time] * count
    inputs = probe.sampler.batch(full)
    before = probe.rows(inputs, full)
    for cut in range(1, time, -(-time // 4)):
        other = inputs.clone()
        other[:, cut:] = probe.sampler.batch(full)[:, cut:]
        after = probe.rows(other, full)
        if moved := probe.moved([row[:cut] for row in before], [row[:cut] for row in after]):
            return f"other content from step {cut} on moves, at the steps before, {moved}"
    return ""


def _state_mixup(probe: Probe, untested: list[str]) -> str:
    if not probe.modules and probe.eps > MOST_EPS:
        untested.append("state_mixup: in half precision a black box may differ by rounding alone")
        return ""
    time, count = max(probe.lengths), len(probe.lengths)
    full = [time] * count
    inputs = probe.sampler.batch(full)

    def run(inputs: Tensor, window: int) -> tuple[list[Tensor], list[Tensor]]:
        state, pieces = None, []
        for piece in inputs.split(window, dim=1):
            logits, state = probe(piece, [piece.shape[1]] * count, state)
            pieces.append(logits)
        rows = probe.valid(torch.cat(pieces, dim=1), full) if probe.kind == "per_step" else []
        return rows, [part.cpu().double() for part in tensors_of(state)]

    with torch.no_grad():
        rows, states = run(inputs, time)
        for window in (1, time // 2):
            try:
                rows_now, states_now = run(inputs, window)
            except Exception as error:  # noqa: BLE001 (a model may dislike its own state in any way)
                return f"going on from its own state fails: {one_line(error)}"
            how = f"windows of {window} with the carried state, against one pass, move"
            if rows and (moved := probe.moved(rows, rows_now)):
                return f"{how} {moved}"
            if [s.shape for s in states] != [s.shape for s in states_now]:
                return f"{how} the shape of the state"
            if moved := probe.moved(states, states_now, what="the state"):
                return f"{how} {moved}"
        others = inputs.clone()  # row 0 alone stays in the first window
        others[1:, : time // 2] = probe.sampler.batch(full)[1:, : time // 2]
        rows_now, _ = run(others, time // 2)
        if rows and (moved := probe.moved(rows, rows_now, rows=[0])):
            return f"other rows of an earlier window move, of row 0, {moved}"
    return ""


def _truncated_direction(inside: list[Reading]) -> str:
    return "; ".join(
        f"{reading}: {direction} is read at step {place}, where it has seen one step only, and "
        "at none between there and its end"
        for reading in inside
        for direction in reading.truncated()
        for place in ["0" if direction == "forward" else "length - 1"]
    )


def _unread_direction(inside: list[Reading]) -> str:
    return "; ".join(
        f"{reading}: no change of the last layer's {direction} states moves a logit"
        for reading in inside
        for direction in reading.unread()
    )


def _unread_step(probe: Probe, untested: list[str]) -> str:
    for lengths in (probe.lengths, probe.long_lengths()):
        unread = _without_effect(probe, probe.sampler.batch(lengths), lengths, None)
        for draw in range(MOST_DRAWS):
            if not bool(unread.any()):
                break
            with probe.random_weights():
                # where steps are all alike, each may be the maximum
                inputs = probe.sampler.batch(lengths, constant=draw % 2 == 0)
                unread = _without_effect(probe, inputs, lengths, unread)
        if bool(unread.any()) and not probe.modules and _is_faint(probe, lengths, unread):
            untested.append("unread_step: what a step does to this black box is lost in rounding")
            break
        for row, steps in enumerate(unread):
            if bool(steps.any()):
                which = steps.nonzero().flatten().tolist()
                named = f"step {which[0]}" if len(which) == 1 else f"steps {which[0]}..{which[-1]}"
                return (
                    f"in a row of {lengths[row]} steps, no change of {named} "
                    f"({len(which)} in all) moves a logit of the row"
                )
    return ""


def _without_effect(
    probe: Probe, inputs: Tensor, lengths: list[int], suspected: Tensor | None
) -> Tensor:
    """The valid steps, `(B, T)` bool, that reach no logit, neither by gradient nor by change."""
    valid = valid_steps(torch.tensor(lengths), inputs.shape[1], torch.device("cpu"))
    unread = valid & ~probe.reached(inputs, lengths)
    if suspected is not None:
        unread &= suspected
    steps = unread.any(dim=0).nonzero().flatten().tolist()
    tested = steps[:: -(-len(steps) // MOST_STEPS)] if steps else []
    unread &= torch.isin(torch.arange(inputs.shape[1]), torch.tensor(tested, dtype=torch.int64))
    for step in tested:
        unread[:, step] &= _moves(probe, inputs, lengths, valid, step) == 0
    return unread


def _moves(probe: Probe, inputs: Tensor, lengths: list[int], valid: Tensor, step: int) -> Tensor:
    """`(B,)`: how far other content at one step moves the logits of its row."""
    before = probe.rows(inputs, lengths)
    largest = torch.zeros(len(lengths), dtype=torch.float64)
    for spread in (1.0, 10.0, 1.0, 10.0):
        other, rows = inputs.clone(), valid[:, step]
        other[rows, step] = probe.sampler.content(len(inputs), 1, spread)[rows, 0].to(other)
        after = probe.rows(other, lengths)
        moves = [(a - b).abs().max() for a, b in zip(before, after, strict=True)]
        largest = largest.maximum(torch.stack(moves))
    return largest


def _is_faint(probe: Probe, lengths: list[int], unread: Tensor) -> bool:
    """Whether the steps that do move logits move them hardly more than rounding."""
    inputs = probe.sampler.batch(lengths)
    valid = valid_steps(torch.tensor(lengths), inputs.shape[1], torch.device("cpu"))
    largest = max(float(row.abs().max()) for row in probe.rows(inputs, lengths))
    steps = range(0, inputs.shape[1], -(-inputs.shape[1] // MOST_STEPS))
    moves = torch.stack([_moves(probe, inputs, lengths, valid, s) for s in steps], dim=1)
    read = (valid & ~unread)[:, list(steps)]
    return not bool(read.any()) or float(moves[read].min()) < max(16 * probe.eps, 1e-3) * largest
