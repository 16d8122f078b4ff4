"""Check for mistakes, one function for each. It returns the evidence, or an empty string."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmodels.audit.probing import Probe, state_tensors
from seqmodels.audit.sampling import valid_mask
from seqmodels.errors import one_line

MOST_EPS = 1e-3  # in coarser dtypes, two ways to the same logits differ by rounding alone


def remembers(probe: Probe) -> str:
    """A call leaves something behind that changes the next one."""
    inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    probe.rows(probe.sampler.batch(probe.lengths))
    moved = probe.moved(before, probe.rows(inputs))
    return f"a call in between, with another batch, moves {moved}" if moved else ""


def batch_leak(probe: Probe) -> str:
    """The content or the order of other rows changes a row."""
    sampler, lengths = probe.sampler, probe.lengths
    count = len(lengths)
    if count == 1:
        probe.untested.append("batch_leak: the model takes only one row")
        return ""
    inputs = sampler.batch(lengths)
    before = probe.rows(inputs)
    for keep in sorted({0, count // 2, count - 1}):
        others = sampler.batch(lengths)
        others[keep] = inputs[keep]
        if moved := probe.moved(before, probe.rows(others), rows=[keep]):
            return f"new content in the other rows moves, of row {keep}, {moved}"
    # swap only rows of equal length, because some models take rows sorted by length
    same = {length: [row for row in range(count) if lengths[row] == length] for length in lengths}
    order = [same[length].pop() for length in lengths]
    moved = probe.moved([before[row] for row in order], probe.rows(inputs[order]))
    return f"another order of the rows moves {moved}" if moved else ""


def padding_leak(probe: Probe) -> str:
    """The content or the amount of padding changes a row."""
    sampler, lengths, time = probe.sampler, probe.lengths, max(probe.lengths)
    padding = ~valid_mask(lengths)
    if not bool(padding.any()):
        probe.untested.append("padding_leak: the model takes only rows without padding")
        return ""
    inputs = sampler.batch(lengths)
    before = probe.rows(inputs)
    for spread in (1.0, 10.0):
        other = inputs.clone()
        other[padding] = sampler.content(len(lengths), time, spread)[padding]
        if moved := probe.moved(before, probe.rows(other)):
            return f"other content at padding moves {moved}"
    for length in sorted(set(lengths))[:-1]:
        padded = sampler.batch([time, length])
        try:
            before = probe.rows(padded[:, :length], [length, length])
            after = probe.rows(padded, [time, length])
        except Exception as error:  # noqa: BLE001 (a model may refuse a shape in any way)
            probe.untested.append(f"padding_leak, by the amount of padding: {one_line(error)}")
            return ""
        if moved := probe.moved(before, after, rows=[1]):
            return f"{time - length} steps of padding after a row of {length} move {moved}"
    return ""


def future_leak(probe: Probe) -> str:
    """A later step changes the logits of an earlier one."""
    full, time = probe.full, max(probe.full)
    inputs = probe.sampler.batch(full)
    before = probe.rows(inputs, full)
    for cut in range(1, time, -(-time // 4)):
        other = inputs.clone()
        other[:, cut:] = probe.sampler.batch(full)[:, cut:]
        after = probe.rows(other, full)
        if moved := probe.moved([row[:cut] for row in before], [row[:cut] for row in after]):
            return f"other content from step {cut} on moves, at earlier steps, {moved}"
    return ""


def target_leak(probe: Probe) -> str:
    """A later token of the target changes the logits of an earlier one."""
    assert probe.targets is not None
    inputs, targets = probe.sampler.batch(probe.lengths), probe.targets
    before = probe.rows(inputs)
    try:
        for cut in range(1, len(targets), -(-len(targets) // 4)):
            others = targets[torch.randperm(len(targets), generator=probe.sampler.generator)]
            probe.targets = torch.cat([targets[:cut], others[cut:]])
            after = probe.rows(inputs)
            if moved := probe.moved([row[:cut] for row in before], [row[:cut] for row in after]):
                return f"other target tokens from step {cut} on move, at earlier steps, {moved}"
    finally:
        probe.targets = targets
    return ""


def state_mixup(probe: Probe) -> str:
    """Windows with the carried state give other logits than one pass."""
    if not probe.parameters and probe.eps > MOST_EPS:
        reason = "in half precision, rounding alone changes the logits of this black box"
        probe.untested.append(f"state_mixup: {reason}")
        return ""
    full, half = probe.full, max(max(probe.full) // 2, 1)
    inputs = probe.sampler.batch(full)

    def run(inputs: Tensor, window: int) -> tuple[list[Tensor], list[Tensor]]:
        state, pieces = None, []
        for piece in inputs.split(window, dim=1):
            logits, state = probe.call(piece, [piece.shape[1]] * len(full), state)
            pieces.append(logits)
        rows = probe.valid(torch.cat(pieces, dim=1), full) if probe.kind == "per_step" else []
        return rows, [part.cpu().double() for part in state_tensors(state)]

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
            if [s.shape for s in states] != [s.shape for s in states_now]:
                return f"{how} the shape of the state"
            if moved := probe.moved(states, states_now, what="the state"):
                return f"{how} {moved}"
        others = inputs.clone()  # in the first window, all rows but row 0 change
        others[1:, :half] = probe.sampler.batch(full)[1:, :half]
        rows_now, _ = run(others, half)
        if rows and (moved := probe.moved(rows, rows_now, rows=[0])):
            return f"new content in other rows of an earlier window moves, of row 0, {moved}"
    return ""
