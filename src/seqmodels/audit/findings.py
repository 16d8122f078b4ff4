"""What an audit can find, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]

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
