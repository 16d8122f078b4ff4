"""Check that the logits of a row depend on its own steps and its own state alone, and a decoder on
the right one.

Each function returns the evidence for one mistake, or an empty string.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.directions import hook
from seqmodels.audit.probe import Probe, tensors_in
from seqmodels.audit.random_inputs import valid_mask
from seqmodels.errors import one_line
from seqmodels.nn.cell import Recurrent

MOST_EPS = 1e-3  # in coarser dtypes, two ways to the same logits differ by rounding alone


def remembers(probe: Probe) -> str:
    """A call leaves something behind that changes the next one."""
    inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    probe.rows(probe.sampler.batch(probe.lengths))
    moved = probe.moved(before, probe.rows(inputs))
    return f"a call in between, with another batch, moves {moved}" if moved else ""


def random_state(probe: Probe) -> str:
    """Two calls with other random numbers differ, and with the same ones don't."""
    inputs = probe.sampler.batch(probe.lengths)
    probe.rows(inputs)  # what a reset of a stream may keep is then the same in all
    before, same = probe.rows(inputs), probe.rows(inputs)
    probe.seed += 1
    moved = probe.moved(before, probe.rows(inputs))
    alike = moved and not probe.moved(before, same)
    return f"the same call, with other random numbers, moves {moved}" if alike else ""


def batch_leak(probe: Probe) -> str:
    """The content or the order of other rows changes a row."""
    if len(probe.lengths) == 1:
        probe.untested.append("batch_leak: the model takes only one row")
        return ""
    return mixed_rows(probe, [probe.lengths])


def mixed_rows(probe: Probe, windows: list[list[int]], orders: bool = True) -> str:
    """The content of other rows, or the order if `orders`, changes a row, in the last of windows
    with the carried state, of these lengths."""
    batches = [probe.sampler.batch(lengths) for lengths in windows]
    before = _last_rows(probe, batches, windows)
    evidence = _moved_by_other_rows(probe, batches, windows, before)
    if not evidence and orders:
        with probe.trying("batch_leak, of rows that are not the longest first"):
            evidence = _moved_by_order(probe, batches, windows, before)
    return evidence


def _moved_by_other_rows(
    probe: Probe, batches: list[Tensor], windows: list[list[int]], before: list[Tensor]
) -> str:
    count = len(windows[0])
    for keep in sorted({0, count // 2, count - 1}):
        others = [probe.sampler.batch(lengths) for lengths in windows]
        for batch, other in zip(batches, others, strict=True):
            other[keep] = batch[keep]
        order = [row if row == keep else row - 1 for row in range(count)]
        after = _last_rows(_with_targets(probe, order), others, windows)
        if moved := probe.moved(before, after, [keep]):
            return f"new content in the other rows{_where(windows)} moves, of row {keep}, {moved}"
    return ""


def _moved_by_order(
    probe: Probe, batches: list[Tensor], windows: list[list[int]], before: list[Tensor]
) -> str:
    for order in _orders(windows[0], probe.sampler.generator):
        lengths = [[window[row] for row in order] for window in windows]
        ordered = [batch[order] for batch in batches]
        after = _last_rows(_with_targets(probe, order), ordered, lengths)
        if moved := probe.moved([before[row] for row in order], after):
            rows = f"another order of the rows (lengths {lengths[0]})"
            return f"{rows}{_where(windows)} moves {moved}"
    return ""


def _where(windows: list[list[int]]) -> str:
    return " in windows with the carried state" if len(windows) > 1 else ""


def _orders(lengths: list[int], generator: torch.Generator) -> list[list[int]]:
    """Rows of equal length swapped, then orders in which the longest row is not the first.

    A sort of rolled rows is not its own inverse, so taking one for the other shows.
    """
    rows = list(range(len(lengths)))
    same = {length: [row for row in rows if lengths[row] == length] for length in lengths}
    swapped = [same[length].pop() for length in lengths]
    return [swapped, _rolled(rows, 1), torch.randperm(len(rows), generator=generator).tolist()]


def _rolled(values: list[int], by: int) -> list[int]:
    return values[-by:] + values[:-by]


def _with_targets(probe: Probe, order: list[int]) -> Probe:
    """The probe, with the targets of its rows in this order."""
    return probe if probe.targets is None else replace(probe, targets=probe.targets[order])


def _last_rows(probe: Probe, batches: list[Tensor], windows: list[list[int]]) -> list[Tensor]:
    """The logits of each row in the last window."""
    logits, state = torch.empty(0), None
    with torch.no_grad():
        for batch, lengths in zip(batches, windows, strict=True):
            logits, state = probe.call(batch, lengths, state)
    return probe.valid(logits, windows[-1])


def padding_leak(probe: Probe, alone: bool = True) -> str:
    """The content or the amount of padding changes a row; `alone` says whether no valid step of
    another row may."""
    sampler, lengths, time = probe.sampler, probe.lengths, max(probe.lengths)
    padding = ~valid_mask(lengths)
    if sampler.unpadded:
        return ""
    if not bool(padding.any()):
        probe.untested.append("padding_leak: the model takes only rows without padding")
        return ""
    inputs = sampler.batch(lengths)
    before = probe.rows(inputs)
    for spread in () if sampler.padding_is_fixed else (1.0, 10.0):
        other = inputs.clone()
        other[padding] = sampler.content(len(lengths), time, spread)[padding]
        if moved := probe.moved(before, probe.rows(other)):
            return f"other content at padding moves {moved}"
    if not alone:
        more = sampler.batch([time, 1])[1:, 1:].expand_as(inputs[:, 1:])
        moved = probe.moved(before, probe.rows(torch.cat([inputs, more], dim=1)))
        return f"{time - 1} more steps of padding move {moved}" if moved else ""
    with probe.trying("padding_leak, by the amount of padding"):
        for length in sorted(set(lengths))[:-1]:
            padded = sampler.batch([time, length])
            before = probe.rows(padded[:, :length], [length, length])
            after = probe.rows(padded, [time, length])
            if moved := probe.moved(before, after, rows=[1]):
                return f"{time - length} steps of padding after a row of {length} move {moved}"
    return ""


def future_leak(probe: Probe) -> str:
    """A later step, or in a decoder a later token of the target, changes the logits of an earlier
    one."""
    targets, lengths = probe.targets, probe.lengths if probe.targets is not None else probe.full
    inputs = probe.sampler.batch(lengths)
    before, steps = probe.rows(inputs, lengths), (inputs if targets is None else targets).shape[1]
    for cut in range(1, steps, -(-steps // 4)):
        if targets is None:
            what = f"content from step {cut} on moves"
            after = probe.rows(_from(cut, inputs, probe.sampler.batch(lengths)), lengths)
        else:
            what = f"target tokens from step {cut} on move"
            others = targets[:, torch.randperm(steps, generator=probe.sampler.generator)]
            after = replace(probe, targets=_from(cut, targets, others)).rows(inputs)
        if moved := probe.moved([row[:cut] for row in before], [row[:cut] for row in after]):
            return f"other {what}, at earlier steps, {moved}"
    return ""


def _from(cut: int, rows: Tensor, others: Tensor) -> Tensor:
    return torch.cat([rows[:, :cut], others[:, cut:]], dim=1)


def state_mixup(probe: Probe) -> str:
    """Windows with the carried state give other logits than one pass."""
    if not probe.parameters and probe.eps > MOST_EPS:
        reason = "in half precision, rounding alone changes the logits of this black box"
        probe.untested.append(f"state_mixup: {reason}")
        return ""
    full, half = probe.full, max(max(probe.full) // 2, 1)
    inputs = probe.sampler.batch(full)

    def run(inputs: Tensor, window: int) -> tuple[list[Tensor], list[Tensor]]:
        state, windows = None, []
        for inputs_of_window in inputs.split(window, dim=1):
            lengths = [inputs_of_window.shape[1]] * len(full)
            logits, state = probe.call(inputs_of_window, lengths, state)
            windows.append(logits)
        rows = probe.valid(torch.cat(windows, dim=1), full) if probe.kind == "per_step" else []
        return rows, [tensor.cpu().double() for tensor in tensors_in(state)]

    with torch.no_grad():
        rows, states = run(inputs, max(full))
        for window in (1, half):
            try:
                rows_now, states_now = run(inputs, window)
            except Exception as error:  # noqa: BLE001 (a model may refuse its own state in any way)
                return f"calling it with the state that it returned fails: {one_line(error)}"
            how = f"windows of {window} steps with the carried state, compared with one pass, move"
            if rows and (moved := probe.moved(rows, rows_now)):
                return f"{how} {moved}"
            if moved := probe.moved(states, states_now, what="the state"):
                return f"{how} {moved}"
    # a model may sort the rows of each window by its length: in each of these, by another order;
    # half as long as a batch, because two windows take a whole one's steps
    short = [-(-length // 2) for length in probe.lengths]
    rolled = [_rolled(short, 1), _rolled(short, 2)]
    with probe.trying("state_mixup, of windows of several lengths"):
        return mixed_rows(probe, [[half] * len(full)] * 2) or mixed_rows(probe, rolled)
    return ""


def wrong_decoder_start(probe: Probe) -> str:
    """A decoder's `c` comes from the encoder's `h`, or a layer of the decoder from one direction of
    a layer of the encoder.

    Empty for a decoder that starts from zeros, or from something else than final states.
    """
    starts, zeros = _run_with_zeros(probe)
    for encoder in [network for network, state in starts if not state]:
        parts = {*encoder.modules()}
        decoder, start = next(
            ((network, state) for network, state in starts if state and network not in parts),
            (encoder, []),
        )
        if not isinstance(encoder, Recurrent) or not start:
            continue
        reached = _reached(start, zeros[encoder])
        evidence = _wrong_kind(start, reached)
        if not evidence and encoder.bidirectional and not getattr(decoder, "bidirectional", False):
            evidence = _layers_for_directions(reached)
        if evidence:
            return evidence
    return ""


# Each network that runs, with the `h` and `c`, `(L, B, H)`, that it is given.
Starts = list[tuple[nn.Module, list[Tensor]]]


def _run_with_zeros(probe: Probe) -> tuple[Starts, dict[nn.Module, Tensor]]:
    """What each network starts from, and zeros `(2, L*D, 1, 1)` that are added to its final `h` and
    `c`, to follow them by their gradients."""
    starts: Starts = []
    zeros: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        state = arguments[1] if len(arguments) > 1 else options.get("hx")
        parts = [part.clone() for part in tensors_in(state)[:2]]
        if isinstance(module, nn.RNNCellBase):
            parts = [part.unsqueeze(0) for part in parts]
        starts.append((module, parts))

    def add(module: Recurrent, output: Any, parts: list[Tensor]) -> Any:
        has_c = isinstance(module, nn.LSTM) or "c_n" in getattr(module, "state_sizes", ())
        new = parts[0].new_zeros(2, len(parts[0]), 1, 1, requires_grad=True)
        for kind, zero in enumerate(zeros.setdefault(module, new)[: 1 + has_c]):
            parts[kind] = parts[kind] + zero
        return output

    with ExitStack() as hooks:
        for part in probe.modules.modules():
            if isinstance(part, Recurrent | nn.RNNCellBase):
                hooks.enter_context(part.register_forward_pre_hook(note, with_kwargs=True))
            if isinstance(part, Recurrent):
                hooks.enter_context(hook(part, partial(add, part)))
        probe.call(probe.sampler.batch(probe.full), probe.full)
    return starts, zeros


def _wrong_kind(start: list[Tensor], reached: Tensor) -> str:
    """Whether `c` comes from `h`, or `h` from `c`."""
    if len(start) != 2:
        return ""
    (h_of_h, h_of_c), (c_of_h, c_of_c) = reached.flatten(2).any(dim=2).tolist()
    if c_of_h and not c_of_c and torch.equal(*start):
        return "the decoder starts both h and c from the encoder's h_n"
    if h_of_c and not h_of_h:
        return "the decoder starts h from the encoder's c_n, and not from h_n"
    return ""


def _layers_for_directions(reached: Tensor) -> str:
    for to, of, layer, source in _split(reached).nonzero().tolist():
        return (
            f"layer {layer + 1} of the decoder starts its {'hc'[to]} from one direction of "
            f"layer {source + 1} of the encoder's {'hc'[of]}_n, and another layer from the "
            "other: layers are taken for directions"
        )
    return ""


def _reached(starts: list[Tensor], zeros: Tensor) -> Tensor:
    """From what a gradient comes: `(h and c of the decoder, h and c of the encoder, L', L*D)`."""
    reached = torch.zeros(len(starts), 2, len(starts[0]), zeros.shape[1], dtype=torch.bool)
    for to, start in enumerate(starts):
        noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(0)).to(start)
        for layer in range(len(start)) if start.requires_grad else ():
            [gradient] = torch.autograd.grad(
                start[layer], zeros, noise[layer], retain_graph=True, materialize_grads=True
            )
            reached[to, :, layer] = gradient.flatten(1) != 0
    return reached


def _split(reached: Tensor) -> Tensor:
    """Which layers of the decoder, `(..., L', L)`, are reached from one direction of a layer of the
    encoder, where others are from the other direction."""
    by_layer = reached.unflatten(-1, (-1, 2))  # (..., L', L, D)
    used = by_layer.any(dim=-3, keepdim=True).all(dim=-1)  # in any of the decoder's layers
    return by_layer.any(dim=-1) & ~by_layer.all(dim=-1) & used
