"""Check that the logits of a row depend on its own steps and its own state alone.

Each function returns the evidence for one mistake, or an empty string.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from seqmodels.audit.probe import Probe, tensors_in
from seqmodels.audit.random_inputs import valid_mask
from seqmodels.errors import one_line

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
    where = " in windows with the carried state" if len(windows) > 1 else ""
    before, count = _last_rows(probe, batches, windows), len(windows[0])
    for keep in sorted({0, count // 2, count - 1}):
        others = [probe.sampler.batch(lengths) for lengths in windows]
        for batch, other in zip(batches, others, strict=True):
            other[keep] = batch[keep]
        order = [row if row == keep else row - 1 for row in range(count)]
        after = _last_rows(_with_targets(probe, order), others, windows)
        if moved := probe.moved(before, after, [keep]):
            return f"new content in the other rows{where} moves, of row {keep}, {moved}"
    with probe.trying("batch_leak, of rows that are not the longest first"):
        for order in _orders(windows[0], probe.sampler.generator) if orders else ():
            lengths = [[own[row] for row in order] for own in windows]
            ordered = [batch[order] for batch in batches]
            after = _last_rows(_with_targets(probe, order), ordered, lengths)
            if moved := probe.moved([before[row] for row in order], after):
                return f"another order of the rows (lengths {lengths[0]}){where} moves {moved}"
    return ""


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
