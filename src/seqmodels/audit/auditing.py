"""Audit a model: change its inputs, and check that the logits move or stay as they should."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

from torch import Tensor

from seqmodels.audit import leaks
from seqmodels.audit.decoder_start import wrong_decoder_start
from seqmodels.audit.directions import states_read
from seqmodels.audit.findings import Audit
from seqmodels.audit.input_steps import stale_state, unread_step
from seqmodels.audit.probe_setup import set_up_probe
from seqmodels.audit.random_inputs import Sampler, target_rows
from seqmodels.errors import UserError, choices

KINDS = ("sequence", "per_step", "seq2seq")


def audit(
    model: Callable[..., Any],
    inputs: Tensor,
    lengths: Tensor | Iterable[SupportsIndex],
    kind: str = "sequence",
    causal: bool = False,
    *,
    target_inputs: Tensor | None = None,
    padding: int | float | None = None,
    seed: int = 0,
) -> Audit:
    """Looks for the mistakes listed in `ADVICE`.

    Runs the model some dozens of times, in evaluation mode and in float64 if it can, on random
    batches made of the values in `inputs`. Changes what must not matter (padding, other rows, later
    steps), and the logits must stay; changes what must matter (valid steps; `output`, `h_n` and
    `c_n` of an `nn.LSTM`, `nn.GRU` or `nn.RNN` inside), and they must move. Leaves the model and
    the random number generators as they were. Reports that something is *not* read only if random
    weights don't read it either.

    Args:
        model: an `nn.Module` or a function `model(inputs, lengths) -> logits`. If it carries a
            state, `model(inputs, lengths, state=None) -> (logits, state)`.
        inputs: tokens `(B, T)` int64 or features `(B, T, F)` such as the model gets in use, padded
            at the end.
        lengths: `(B,)` integers: a tensor, a list, a tuple or an array. The model gets a tensor
            `(B,)` int64 on the CPU.
        kind: `sequence` for logits `(B, ...)`, `per_step` for logits `(B, T, ...)`; `seq2seq` for
            a `model(inputs, lengths, target_inputs) -> logits (B, S, V)` of the token after each
            of `target_inputs`.
        causal: whether the logits of a step may depend only on that step and earlier ones; needs
            `kind="per_step"`.
        target_inputs: `(B, S)` int64, with `kind="seq2seq"`: what the decoder reads in training,
            such as the start token and the target without its last token.
        padding: the value that padding always holds, and valid steps never, where a model depends
            on it, as with `mask = inputs != 0`. Then only the amount of padding changes. By
            default, padding may hold anything.
        seed: of the random batches. The same seed gives the same findings.

    Raises:
        UserError: if the arguments don't fit together, or the model cannot be run on such inputs.
    """
    if kind not in KINDS:
        raise UserError(f"kind={kind}: {choices(kind, KINDS)}")
    if causal and kind != "per_step":
        raise UserError("causal=True needs kind='per_step': a sequence has no later logits")
    if (kind == "seq2seq") != (target_inputs is not None):
        raise UserError("kind='seq2seq' and target_inputs need each other")
    sampler = Sampler(inputs, lengths, seed, padding)
    targets = None if target_inputs is None else target_rows(target_inputs, sampler.lengths, seed)
    with set_up_probe(model, kind, sampler, seed, targets) as probe:
        result = Audit(untested=probe.untested)
        if probe.wrong_shape:
            return result.found("row_count", probe.wrong_shape)
        if evidence := leaks.remembers(probe):
            return result.found("state_mixup", evidence)
        probe.measure_rounding()
        result.found("batch_leak", leaks.batch_leak(probe))
        if not result.findings:  # a batch leak looks like a padding leak: other rows are longer
            result.found("padding_leak", leaks.padding_leak(probe))
        if causal:
            result.found("future_leak", leaks.future_leak(probe))
        if probe.stateful:
            result.found("state_mixup", leaks.state_mixup(probe))
        if kind == "seq2seq":
            result.found("future_leak", leaks.target_leak(probe))
            result.found("state_mixup", wrong_decoder_start(probe))
        networks = states_read(probe)
        result.found("truncated_direction", "; ".join(t for n in networks for t in n.truncated()))
        result.found("unread_direction", "; ".join(t for n in networks for t in n.unread()))
        result.found("stale_state", stale_state(probe))
        result.found("unread_step", unread_step(probe))
        if probe.tolerance > 0.1:
            result.untested.append(
                f"leaks: rounding alone changes these logits by up to {probe.tolerance:.0%}, so "
                "smaller changes are ignored"
            )
    return result


def assert_clean(
    model: Callable[..., Any],
    inputs: Tensor,
    lengths: Tensor | Iterable[SupportsIndex],
    kind: str = "sequence",
    causal: bool = False,
    *,
    target_inputs: Tensor | None = None,
    padding: int | float | None = None,
    seed: int = 0,
) -> None:
    """For your tests: raises an AssertionError that lists the findings of `audit`, if any."""
    __tracebackhide__ = True
    more: dict[str, Any] = {"target_inputs": target_inputs, "padding": padding, "seed": seed}
    findings = audit(model, inputs, lengths, kind, causal, **more).findings
    assert not findings, "\n".join(str(finding) for finding in findings)
