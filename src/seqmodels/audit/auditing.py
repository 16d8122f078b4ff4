"""Does a model read what it should? Mistakes with tensors, found by changing its inputs.

Works on anything that maps `(inputs, lengths)` to logits. A part of the input that must not matter
is changed, and the logits must stay; a part that must matter is changed, and they must move. Where
an `nn.LSTM`, `nn.GRU` or `nn.RNN` is inside, its `output`, `h_n` and `c_n` are changed as well.
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
    with open_probe(model, kind, sampler, seed) as probe:
        if probe.wrong_shape:
            return result.found("row_count", probe.wrong_shape)
        if evidence := checks.remembers(probe):
            return result.found("state_mixup", evidence)
        probe = with_measured_rounding(probe)
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
