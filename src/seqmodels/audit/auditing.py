"""Does a model read what it should? Mistakes with tensors, found by changing its inputs.

Works on anything that maps `(inputs, lengths)` to logits. A part of the input that must not matter
is changed, and the logits must stay; a part that must matter is changed, and they must move. Where
an `nn.LSTM`, `nn.GRU` or `nn.RNN` is inside, its `output`, `h_n` and `c_n` are changed as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from seqmodels.audit import checks
from seqmodels.audit.inside import readings
from seqmodels.audit.probing import Probe
from seqmodels.audit.sampling import Sampler
from seqmodels.errors import UserError, choices

Severity = Literal["error", "warning"]

KINDS = ("sequence", "per_step")

# name: (severity, what to do). An error makes the logits wrong, or loses a direction that was asked
# for; a warning leaves steps unused, which may be what a person wants.
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
        "error",
        "forward ends at the last step and backward at the first: take h_n of both, or "
        "output[:, last, :H] and output[:, 0, H:], or pool over all steps",
    ),
    "unread_direction": (
        "error",
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
        """`error`: logits are wrong, or a direction is lost; `warning`: steps are unused."""
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
        if evidence := checks.remembers(probe):
            return result.found("state_mixup", evidence)
        probe.measure_rounding()
        result.found("batch_leak", checks.batch_leak(probe, result.untested))
        if not result.findings:  # else a longer row beside a row changes it anyway
            result.found("padding_leak", checks.padding_leak(probe, result.untested))
        if causal:
            result.found("future_leak", checks.future_leak(probe))
        if probe.stateful:
            result.found("state_mixup", checks.state_mixup(probe, result.untested))
        inside = readings(probe)
        result.found("truncated_direction", checks.truncated_direction(inside))
        result.found("unread_direction", checks.unread_direction(inside))
        result.found("unread_step", checks.unread_step(probe, result.untested))
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
