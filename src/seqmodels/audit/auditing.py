"""Audit a model: does it read what it should?

Works on anything that maps `(inputs, lengths)` to logits. The audit changes a part of the input
that must not matter, and the logits must stay; it changes a part that must matter, and the logits
must move. If an `nn.LSTM`, `nn.GRU` or `nn.RNN` is inside, it changes its `output`, `h_n` and `c_n`
as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from seqmodels.audit import checks
from seqmodels.audit.findings import Audit
from seqmodels.audit.inside import readings
from seqmodels.audit.probing import open_probe, with_measured_rounding
from seqmodels.audit.sampling import Sampler
from seqmodels.errors import UserError, choices

KINDS = ("sequence", "per_step")


def audit(
    model: Callable[..., Any],
    inputs: Tensor,
    lengths: Tensor,
    kind: str = "sequence",
    causal: bool = False,
    *,
    seed: int = 0,
) -> Audit:
    """Looks for the mistakes listed in `ADVICE`.

    Runs the model some dozens of times, in evaluation mode and in float64 if it can, on random
    batches made of the values in `inputs`. Leaves the model and the random number generators as
    they were. Reports that something is *not* read only if random weights don't read it either.

    Args:
        model: an `nn.Module` or a function `model(inputs, lengths) -> logits`. If it carries a
            state, `model(inputs, lengths, state=None) -> (logits, state)`.
        inputs: tokens `(B, T)` int64 or features `(B, T, F)` such as the model gets in use, padded
            at the end.
        lengths: `(B,)` int64 on the CPU.
        kind: `sequence` for logits `(B, ...)`, `per_step` for logits `(B, T, ...)`.
        causal: whether the logits of a step may depend only on that step and earlier ones; needs
            `kind="per_step"`.
        seed: of the random batches. The same seed gives the same findings.

    Returns:
        What it found, and what it could not test.

    Raises:
        UserError: if the arguments don't fit together, or the model cannot be run on such inputs.
    """
    if kind not in KINDS:
        raise UserError(f"kind={kind}: {choices(kind, KINDS)}")
    if causal and kind != "per_step":
        raise UserError("causal=True needs kind='per_step': a sequence has no later logits")
    result = Audit()
    sampler = Sampler(inputs, lengths, seed)
    with open_probe(model, kind, sampler, seed) as probe:
        if probe.wrong_shape:
            return result.found("row_count", probe.wrong_shape)
        if evidence := checks.remembers(probe):
            return result.found("state_mixup", evidence)
        probe = with_measured_rounding(probe)
        result.found("batch_leak", checks.batch_leak(probe, result.untested))
        if not result.findings:  # a batch leak looks like a padding leak: other rows are longer
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
                f"leaks: rounding alone changes these logits by up to {probe.tolerance:.0%}, so "
                "smaller changes are ignored"
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
    """For tests: runs `audit` with the same arguments.

    Raises:
        AssertionError: listing the findings, if there are any.
        UserError: as `audit` does.
    """
    __tracebackhide__ = True
    findings = audit(model, inputs, lengths, kind, causal, seed=seed).findings
    assert not findings, "\n".join(str(finding) for finding in findings)
