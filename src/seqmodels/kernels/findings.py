"""What is wrong with a device, in a sentence for each fault, with its public thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from seqmodels.kernels import compare
from seqmodels.kernels.compare import OURS, PYTORCH, Measure
from seqmodels.kernels.precision import BFLOAT16, FLOAT32

PYTORCH_ISSUE = "https://github.com/pytorch/pytorch/issues"
# More steps in a batch than this are too many for one launch of a kernel of MIOpen.
MANY_STEPS = 65_536
LARGE_BATCH = 100


@dataclass(frozen=True)
class Fault:
    """A fault that kernels have had.

    Args:
        name: in `Finding.name`.
        sentence: what is wrong.
        thread: where others have met it, and on which device.
        remedy: what this package does about it, or what you can do.
    """

    name: str
    sentence: str
    thread: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Finding:
    """A fault of this device.

    Args:
        measures: all that are out of their bounds because of it.
    """

    fault: Fault
    measures: tuple[Measure, ...]

    @property
    def name(self) -> str:
        return self.fault.name

    def __str__(self) -> str:
        worst = max(self.measures, key=lambda measure: measure.difference)
        kinds = dict.fromkeys(measure.case.kind for measure in self.measures)
        precisions = dict.fromkeys(measure.precision.name for measure in self.measures)
        place = f"{'; '.join(kinds)} in {', '.join(precisions)}"
        if worst.error:
            return f"{place}: {self.fault.sentence}: {worst.error}"
        amount = f"off by {worst.difference:.1g}, of which rounding explains {worst.bound:.1g}"
        return f"{place}: {self.fault.sentence} ({amount}; {self._whose})"

    @property
    def _whose(self) -> str:
        whose = {measure.way.who for measure in self.measures}
        if whose == {PYTORCH}:
            return f"{PYTORCH} alone: {OURS} is right here"
        return f"{OURS} alone" if whose == {OURS} else f"{PYTORCH} and {OURS}"


FAILED = Fault("failed", "it can't be computed")
MANY = Fault(
    "many_steps",
    f"it is wrong where rows and steps of a batch multiply to more than {MANY_STEPS:,}",
    "https://github.com/ROCm/rocm-libraries/issues/10551 (ROCm)",
    "lower data.batch_size, or cut rows shorter",
)
LARGE = Fault(
    "large_batch",
    f"it is wrong where a batch has more than {LARGE_BATCH} rows",
    f"{PYTORCH_ISSUE}/177834 (ROCm)",
    f"set data.batch_size={LARGE_BATCH}",
)
TRAIN_GRAPH = Fault(
    "dropout_in_evaluation",
    "after a training step, evaluation of a batch of the same shape still drops",
    f"{PYTORCH_ISSUE}/180744 (MPS)",
    f"{OURS} drops between layers by itself, so that no kernel with dropout is called",
)
NO_DROPOUT_IN_GRADIENT = Fault(
    "gradient_without_dropout",
    "gradients aren't those of what the dropout between layers left",
    f"{PYTORCH_ISSUE}/190056 (MPS)",
    f"{OURS} drops between layers by itself, so that no kernel with dropout is called",
)
MASK = Fault(
    "wrong_masks",
    "dropout between layers drops another share than asked for, or the same at each call",
    "https://github.com/pytorch/pytorch/pull/185351 (MPS)",
    f"{OURS} drops between layers by itself, so that no kernel with dropout is called",
)
HALF = Fault(
    "half_precision",
    "it has the digits of half precision, though its numbers are in float32",
    "https://github.com/pytorch/pytorch/pull/40737 (TF32 on CUDA)",
    f"look for a setting that allows it; under autocast to bfloat16, {OURS} says the type itself",
)
WRONG_END = Fault(
    "wrong_end",
    "the backward direction has its steps in the order of the other end",
    f"{PYTORCH_ISSUE}/94754 (two directions on MPS)",
    "train with trainer=cpu, or with a head of one direction",
)
ONE_DIRECTION = Fault(
    "one_direction",
    "with two directions, it is wrong in one of them",
    f"{PYTORCH_ISSUE}/94754 (MPS)",
    "train with trainer=cpu, or with a head of one direction",
)
OTHER_ROWS = Fault(
    "other_rows",
    "a row among others differs from the same row alone: it reads what isn't its own",
    f"{PYTORCH_ISSUE}/180744 (another cause, on MPS)",
    "train with trainer=cpu",
)
WRONG_DROPOUT = Fault(
    "dropout",
    "in training with dropout, states aren't those of any mask",
    f"{PYTORCH_ISSUE}/173640 (MPS)",
    f"{OURS} drops between layers by itself, so that no kernel with dropout is called",
)
WRONG_GRADIENT = Fault(
    "gradient", "gradients are wrong, of states that are right", "", "train with trainer=cpu"
)
WRONG = Fault("forward", "states are wrong", "", "train with trainer=cpu")


def find(measures: Sequence[Measure]) -> list[Finding]:
    """The faults that explain what is out of its bounds. Each measure is explained once, by the
    first fault that fits it: the most special come first."""
    findings: list[Finding] = []
    unexplained = [measure for measure in measures if measure.is_wrong]
    for fault, explains in _RULES:
        explained = [measure for measure in unexplained if explains(measure, measures)]
        if explained:
            findings.append(Finding(fault, tuple(explained)))
            unexplained = [measure for measure in unexplained if measure not in explained]
    return findings


def _alike(measure: Measure, measures: Iterable[Measure]) -> list[Measure]:
    """What was compared of the same cell, in the same precision and by the same module."""
    key = (measure.case.kind, measure.precision, measure.way.who)
    return [
        other
        for other in measures
        if (other.case.kind, other.precision, other.way.who) == key and not other.case.dropout
    ]


def _network(measure: Measure) -> tuple[object, ...]:
    case = measure.case
    network = (case.kind, case.layers, case.directions, case.dropout)
    return (*network, measure.precision, measure.way.who)


def _is_of_many_steps(measure: Measure, measures: Sequence[Measure]) -> bool:
    if measure.case.steps <= MANY_STEPS:
        return False
    smaller = [m for m in _alike(measure, measures) if m.case.steps <= MANY_STEPS]
    return not any(other.is_wrong for other in smaller)


def _is_of_large_batches(measure: Measure, measures: Sequence[Measure]) -> bool:
    if measure.case.batch <= LARGE_BATCH or measure.case.dropout:
        return False
    smaller = [m for m in _alike(measure, measures) if m.case.batch <= LARGE_BATCH]
    return bool(smaller) and not any(other.is_wrong for other in smaller)


def _is_half(measure: Measure, measures: Sequence[Measure]) -> bool:
    """If all that a network computes in float32 is off, but not by more than bfloat16 is."""
    if measure.precision is not FLOAT32:
        return False
    states = [m for m in _alike(measure, measures) if m.what == compare.FORWARD]
    return bool(states) and all(
        m.is_wrong and m.difference <= BFLOAT16.forward_bound(m.case.width, m.case.layers)
        for m in states
    )


def _has_one_wrong_direction(measure: Measure, measures: Sequence[Measure]) -> bool:
    """If the forward pass of this network is right in one direction, with some batch."""
    forward = [
        other
        for other in measures
        if other.what in (compare.FORWARD, compare.DROPPED, compare.AFTER)
        and _network(other) == _network(measure)
    ]
    return any(
        other.is_wrong and len(other.differences) == 2 and min(other.differences) <= other.bound
        for other in forward
    )


def _is_at_wrong_end(measure: Measure, measures: Sequence[Measure]) -> bool:
    if not _has_one_wrong_direction(measure, measures):
        return False
    return any(other.is_at_wrong_end for other in _alike(measure, measures))


def _depends_on_other_rows(measure: Measure, measures: Sequence[Measure]) -> bool:
    alike = _alike(measure, measures)
    depends = any(other.is_wrong and other.what == compare.ALONE for other in alike)
    single = [m for m in alike if m.case.batch == 1 and m.what == compare.FORWARD]
    return depends and measure.case.batch > 1 and not any(m.is_wrong for m in single)


def _is(*what: str) -> Callable[[Measure, Sequence[Measure]], bool]:
    return lambda measure, _: measure.what in what


_RULES: list[tuple[Fault, Callable[[Measure, Sequence[Measure]], bool]]] = [
    (FAILED, lambda measure, _: bool(measure.error)),
    (MANY, _is_of_many_steps),
    (LARGE, _is_of_large_batches),
    (HALF, _is_half),
    (WRONG_END, _is_at_wrong_end),
    (OTHER_ROWS, _depends_on_other_rows),
    (ONE_DIRECTION, _has_one_wrong_direction),
    (TRAIN_GRAPH, _is(compare.AFTER)),
    (WRONG_DROPOUT, _is(compare.DROPPED)),
    (NO_DROPOUT_IN_GRADIENT, _is(compare.DROPPED_GRADIENTS)),
    (MASK, _is(compare.MASKS)),
    (WRONG, _is(compare.FORWARD, compare.ALONE)),
    (WRONG_GRADIENT, _is(compare.GRADIENTS)),
]
