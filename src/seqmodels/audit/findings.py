"""What an audit can find, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqmodels.mistakes import MISTAKES

# What to try besides, where you call the audit yourself.
HINTS = {
    "padding_leak": (
        "; if you mask by the one value that padding always holds, audit with padding=<value>"
    )
}


@dataclass(frozen=True)
class Finding:
    """One mistake: a key of `MISTAKES`; what was changed and what happened, in numbers."""

    name: str
    evidence: str

    @property
    def severity(self) -> str:
        return "warning" if MISTAKES[self.name].is_warning else "error"

    @property
    def cure(self) -> str:
        return MISTAKES[self.name].cure + HINTS.get(self.name, "")

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; {self.cure}"


@dataclass(frozen=True)
class Audit:
    """The mistakes found, none for a clean model; and what could not be tested, with the reason."""

    findings: list[Finding] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [finding.name for finding in self.findings]

    def assert_clean(self) -> None:
        __tracebackhide__ = True
        assert not self.findings, "\n".join(map(str, self.findings))

    def found(self, name: str, evidence: str) -> Audit:
        """Adds a finding if there is evidence; returns this audit."""
        if evidence:
            self.findings.append(Finding(name, evidence))
        return self
