"""What an audit can find, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field

ADVICE = {
    "padding_leak": (
        "read only valid steps: gather output at length - 1, or take h_n of a packed sequence; "
        "mask padding before pooling, and divide by each row's own length"
    ),
    "batch_leak": (
        "keep rows apart: h_n is (L*D, B, H), so transpose it to (B, L*D, H) before you flatten "
        "it; if you sort rows, put back all that you read of them by the inverse, order.argsort()"
    ),
    "future_leak": (
        "let a step depend only on itself and earlier steps: use one direction, a causal mask, or "
        "convolutions padded on the left"
    ),
    "state_mixup": (
        "pass on h and c, each in its own place and with the rows in their own order, as the "
        "(L*D, B, H) that the network returned, and keep nothing between calls"
    ),
    "random_state": (
        "start from zeros or from a learned state, not from torch.randn, and pass self.training to "
        "functional dropout"
    ),
    "row_count": (
        "return logits (B, ...), or (B, T, ...) for kind=per_step: with proj_size=P, h_n is P "
        "wide, so view(-1, hidden_size) changes the number of rows"
    ),
    "truncated_direction": (
        "take h_n of both directions, or output[:, last, :H] and output[:, 0, H:], or pool over "
        "all steps: forward ends at the last step, backward at the first"
    ),
    "unread_direction": (
        "read both h_n[-2] and h_n[-1], which are forward and backward of the last layer, or build "
        "the network without the direction or layer that you don't read"
    ),
    "lost_gradient": (
        "take out detach(), .data and NumPy between the network and its logits, or say that it "
        "isn't to learn: network.requires_grad_(False)"
    ),
    "stale_state": (
        "forecast the whole horizon from the final state or a pooling, or roll forward from the "
        "last step: output[:, -h] has seen only the steps up to itself"
    ),
    "unread_step": (
        "look for an index or a mask that is off by some steps, or for a cut: valid steps are lost"
    ),
}
"""What to do about each finding, by its name."""

STREAM_ADVICE = {
    "lost_state": (
        "keep h and c of all layers, and the steps that a convolution still needs, between calls; "
        "take one direction, and no statistics over a chunk"
    ),
    "kept_state": (
        "let reset() make all that a new stream has: h, c, kept steps, counters, and running sums, "
        "for any number of rows"
    ),
    "shared_state": (
        "keep the state in the stream itself, a row for each row, not in its class, in the model "
        "or in the caller's tensors"
    ),
    "kept_graph": (
        "run it under torch.no_grad(), or keep state.detach(): else its graph grows with each call "
        "until the memory is full"
    ),
}
"""The same, of a stream."""

OPTIONS = {
    "padding_leak": (
        "; if you mask by the one value that padding always holds, audit with padding=<value>"
    )
}
"""What to try besides, where you call the audit yourself."""

# you may intend the one, and run the other without gradients; the rest are wrong logits or a lost
# direction
WARNINGS = ("unread_step", "kept_graph")


@dataclass(frozen=True)
class Finding:
    """One mistake: a key of `ADVICE` or `STREAM_ADVICE`; what was changed and what happened, in
    numbers."""

    name: str
    evidence: str

    @property
    def severity(self) -> str:
        return "warning" if self.name in WARNINGS else "error"

    @property
    def advice(self) -> str:
        return {**ADVICE, **STREAM_ADVICE}[self.name] + OPTIONS.get(self.name, "")

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; {self.advice}"


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
