"""Audit a model: change its inputs, and check that the logits move or stay as they should."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from seqmodels.audit import directions, leaks
from seqmodels.audit.findings import Audit
from seqmodels.audit.input_steps import constant_logit, moved_outputs, stale_state, unread_step
from seqmodels.audit.isolation import training
from seqmodels.audit.onnx_graph import OnnxGraph, Run
from seqmodels.audit.probe import Probe, set_up_probe
from seqmodels.audit.random_inputs import Sampler, random_batch, target_rows
from seqmodels.audit.streams import MOST_STEPS, audit_stream
from seqmodels.errors import UserError, choices, unusable

BATCH_NORM = nn.modules.batchnorm._BatchNorm
KINDS = ("sequence", "per_step", "seq2seq")


def audit(
    model: Callable[..., Any] | str | Path,
    inputs: Any = None,
    lengths: Tensor | Iterable[SupportsIndex] | None = None,
    kind: str = "sequence",
    causal: bool = False,
    *,
    target_inputs: Tensor | None = None,
    padding: int | float | str | None = None,
    seed: int = 0,
    states: Mapping[str, str] | None = None,
    thorough: bool = True,
) -> Audit:
    """Looks for the mistakes listed in `seqmodels.mistakes`.

    Runs the model some dozens of times, in evaluation mode and in float64 if it can, on random
    batches made of the values in `inputs`. Changes what must not matter (padding, other rows, later
    steps), and the logits must stay, in training mode as well; changes what must matter (valid
    steps; `output`, `h_n` and `c_n` of an `nn.LSTM`, `nn.GRU` or `nn.RNN` inside), and they must
    move. Leaves the model and the random number generators as they were. Reports that something is
    *not* read only if random weights don't read it either.

    Args:
        model: an `nn.Module` or a function `model(inputs, lengths) -> logits`. If it has a
            parameter `state`, `model(inputs, lengths, state=None) -> (logits, state)`. If yours
            takes or gives anything else, audit a function that makes that of inputs and lengths:
            `lambda inputs, lengths: model(...)`. Or the path of an ONNX file: as `audit_onnx`.
        inputs: tokens `(B, T)` int64 or features `(B, T, F)` such as the model gets in use, padded
            at the end.
        lengths: `(B,)` integers: a tensor, a list, a tuple or an array. The model gets a tensor
            `(B,)` int64 on the CPU. None with `padding="none"`.
        kind: `sequence` for logits `(B, ...)`; `per_step` for logits `(B, T, ...)`, or `(B, T/2,
            ...)` where each is for two steps, and so on; `seq2seq` for `model(inputs, lengths,
            target_inputs=...) -> logits (B, S, V)` of the token after each of `target_inputs`.
        causal: whether the logits of a step may depend only on that step and earlier ones; needs
            `kind="per_step"`.
        target_inputs: `(B, S)` int64, with `kind="seq2seq"`: what the decoder reads in training,
            such as the start token and the target without its last token.
        padding: `"none"` for rows of one length; or the value that padding always holds, and valid
            steps never, where a model depends on it, as with `mask = inputs != 0`: then only the
            amount of padding changes. By default, padding may hold anything.
        seed: of the random batches. The same seed gives the same findings.
        states: of an ONNX file, as `audit_onnx` takes them.
        thorough: False takes a fifth of the time, for a model that is known to be right: in its own
            dtype, and in evaluation mode alone.

    Raises:
        UserError: if the arguments don't fit together, or the model cannot be run on such inputs.
    """
    if isinstance(model, str | Path):
        if target_inputs is not None:
            raise UserError("target_inputs are of a model: a graph with a decoder isn't audited")
        return audit_onnx(
            model, inputs, lengths, kind, causal, padding=padding, states=states, seed=seed
        )
    if states is not None:
        raise UserError("states are of an ONNX file: a model takes and returns its state")
    _check_kind(kind, causal, target_inputs is not None)
    sampler = Sampler(inputs, lengths, seed, padding)
    targets = None
    if target_inputs is not None:
        targets = target_rows(target_inputs, sampler.lengths, seed)
    with set_up_probe(model, kind, sampler, seed, targets, thorough) as probe:
        result = Audit(untested=probe.untested)
        # With logits of another shape, or a call that changes the next, no other check makes sense.
        if probe.wrong_shape:
            return result.found("row_count", probe.wrong_shape)
        evidence = leaks.remembers(probe)
        if evidence:
            return result.found("state_mixup", evidence)
        evidence = leaks.random_state(probe)
        if evidence:
            result.found("random_state", evidence)
            probe.quiet = True
        probe.measure_rounding()
        _look_for_leaks(probe, causal, thorough, result)
        if kind == "seq2seq":
            result.found("state_mixup", leaks.wrong_decoder_start(probe))
        # A graph says by itself that it hides its states.
        _look_for_unread(probe, not isinstance(model, OnnxGraph), result)
        share = max(probe.shares.tolist(), default=0.0)
        if share > 0.2:
            result.untested.append(
                f"leaks: rounding alone changes these logits by up to {min(share, 1):.0%} of what "
                "inputs do, so smaller changes are ignored"
            )
    return result


def _look_for_leaks(probe: Probe, causal: bool, thorough: bool, result: Audit) -> None:
    """Adds what the logits depend on, and must not."""
    for name, evidence in _leaks(probe, causal):
        result.found(name, evidence)
    if probe.stateful:
        result.found("state_mixup", leaks.state_mixup(probe))
    other_findings = set(result.names) - {"random_state"}
    if thorough and not other_findings:
        _leaks_in_training(probe, causal, result)


def _look_for_unread(probe: Probe, has_states: bool, result: Audit) -> None:
    """Adds what the logits don't depend on, and must."""
    if has_states:
        _states(probe, result)
    is_moved = moved_outputs(probe)
    result.found("constant_logit", constant_logit(probe, is_moved))
    result.found("stale_state", stale_state(probe, is_moved))
    result.found("unread_step", unread_step(probe))


def _check_kind(kind: str, causal: bool, has_targets: bool) -> None:
    if kind not in KINDS:
        raise UserError(f"kind={kind}: {choices(kind, KINDS)}")
    if causal and kind != "per_step":
        raise UserError("causal=True needs kind='per_step': a sequence has no later logits")
    if (kind == "seq2seq") != has_targets:
        raise UserError("kind='seq2seq' and target_inputs need each other")


def _states(probe: Probe, result: Audit) -> None:
    """Looks for states of recurrent networks that are not read, or not at their end, and for
    networks that no gradient reaches."""
    networks = directions.states_read(probe)
    by_hand = directions.unrolled(probe, networks)
    truncated: list[str] = []
    unread: list[str] = []
    for network in networks:
        truncated += network.truncated()
        unread += network.unread()
    truncated += directions.truncated_cells(by_hand)
    unread += directions.unread_cells(by_hand)
    result.found("truncated_direction", "; ".join(truncated))
    result.found("unread_direction", "; ".join(unread))
    result.found("lost_gradient", directions.lost_gradient(probe))
    # Of a black box, the graph shows the weights that are read, but not those that aren't.
    if not networks and not (by_hand and probe.modules):
        result.untested.append(
            "truncated_direction, unread_direction, lost_gradient: no recurrent network was seen "
            "on 3 steps or more (cells in a loop are seen by their gradients): if the model has "
            "one, audit its nn.Module, or a function that refers to it"
        )


def _leaks(probe: Probe, causal: bool) -> Iterator[tuple[str, str]]:
    """Findings of what a row may not depend on, and their evidence. A batch leak looks like a
    padding leak, because other rows are longer: the first one counts."""
    batch_leak = leaks.batch_leak(probe)
    yield "batch_leak", batch_leak
    if not batch_leak:
        yield "padding_leak", leaks.padding_leak(probe)
    if causal or probe.kind == "seq2seq":
        yield "future_leak", leaks.future_leak(probe)


def _leaks_in_training(probe: Probe, causal: bool, result: Audit) -> None:
    """Looks for the first leak that training mode alone has."""
    # What could not be tested in evaluation mode is told already.
    quiet_probe = replace(probe, quiet=True, untested=[])
    with probe.trying("leaks in training mode"):  # A model may ask for targets.
        with training(probe.modules, BATCH_NORM):
            if leaks.random_state(quiet_probe):
                name, evidence = "", ""
                probe.untested.append(
                    "leaks in training mode: its random numbers cannot be held still"
                )
            else:
                name, evidence = _first_leak(quiet_probe, causal)
        # Other rows may change the statistics of batch normalisation, but padding may not.
        has_batch_norm = any(isinstance(part, BATCH_NORM) for part in probe.modules.modules())
        if not evidence and has_batch_norm:
            with training(probe.modules):
                name = "padding_leak"
                quiet_probe.measure_spread()
                quiet_probe.measure_rounding()
                evidence = leaks.padding_leak(quiet_probe, alone=False)
        if evidence:
            result.found(name, f"in training mode, {evidence}")


def _first_leak(probe: Probe, causal: bool) -> tuple[str, str]:
    """The first finding of a leak that has evidence, and that; two empty strings for none."""
    evidence = leaks.remembers(probe)
    if evidence:
        return "state_mixup", evidence
    for name, evidence in _leaks(probe, causal):
        if evidence:
            return name, evidence
    return "", ""


def audit_onnx(
    path: Path | str,
    inputs: Tensor | None = None,
    lengths: Any = None,
    kind: str = "sequence",
    causal: bool = False,
    *,
    padding: int | float | str | None = None,
    states: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
    run: Run | None = None,
    seed: int = 0,
) -> Audit:
    """Audits an ONNX file in onnxruntime or in a runtime of yours, as `audit` does a model, whose
    arguments it takes; and as `audit_stream` does a stream, if the graph takes and gives states.

    Args:
        inputs: batch first, whatever the graph takes. None: random ones of the shape it declares.
        states: the output of each state by its input; zeros come first. None: by names such as h0
            and hn, or prev_state and new_state.
        sizes: of random inputs: what `random_batch` takes, such as `vocabulary`.
        run: your runtime: takes a dict of NumPy arrays by the names of inputs, and returns the
            outputs, by name or in the graph's order. None: onnxruntime.

    Raises:
        UserError: as `audit` does; without the extra `export`; for a file that cannot be run.
    """
    with unusable(f"{path} is not a graph that can be audited"):
        graph = OnnxGraph(path, kind, states, run)
    untested = graph.untested
    if not graph.lengths and lengths is None and padding is None:
        padding = "none"
        untested.append("padding_leak: the graph takes no lengths; if you pad, set padding=<value>")
    if inputs is None:
        input_sizes = graph.sizes | dict(sizes or {})
        inputs, lengths = random_batch(graph, **input_sizes, seed=seed, padding=padding)
        untested.append(f"inputs like yours: these are random, {input_sizes}")
    result = audit(graph, inputs, lengths, kind, causal, padding=padding, seed=seed)
    logits = graph(inputs)
    logits_again = graph(inputs)
    if not torch.allclose(logits, logits_again, rtol=1e-6, atol=0, equal_nan=True):
        return Audit().found("random_state", "the same call twice gives other logits")
    if graph.states and graph.time:
        untested.append(f"lost_state: the graph takes {graph.time} steps at a time, and no others")
    elif graph.states:
        # If the graph takes one step at a time, a row repeats it.
        rows = torch.cat([inputs[:, :MOST_STEPS]] * MOST_STEPS, dim=1)
        streamed = audit_stream(graph.stream, rows, reset=graph.reset, seed=seed)
        result.findings.extend(streamed.findings)
        untested += streamed.untested
    # What the graph says comes first.
    result.untested[:0] = untested
    return result


def assert_clean(model: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """For your tests: takes what `audit` takes, and raises an AssertionError that lists the
    findings, if any."""
    __tracebackhide__ = True
    audit(model, *arguments, **options).assert_clean()
