"""The checks of an audit, one function per mistake. Each returns its evidence; "" for none."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmodels.audit.calling import state_tensors
from seqmodels.audit.gradients import steps_with_gradient
from seqmodels.audit.inside import MOST_DRAWS, Reading
from seqmodels.audit.probing import Probe
from seqmodels.audit.sampling import valid_mask
from seqmodels.errors import one_line

MOST_STEPS = 32  # changed one by one, if gradients don't show that they are read
MOST_EPS = 1e-3  # in coarser dtypes, two ways to the same logits differ by rounding alone


def remembers(probe: Probe) -> str:
    """A call leaves something behind that changes the next one."""
    inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    probe.rows(probe.sampler.batch(probe.lengths))
    moved = probe.moved(before, probe.rows(inputs))
    return f"a call in between, with another batch, moves {moved}" if moved else ""


def batch_leak(probe: Probe, untested: list[str]) -> str:
    """The content or the order of other rows changes a row."""
    sampler, lengths = probe.sampler, probe.lengths
    count = len(lengths)
    if count == 1:
        untested.append("batch_leak: the model takes only one row")
        return ""
    inputs = sampler.batch(lengths)
    before = probe.rows(inputs)
    for keep in sorted({0, count // 2, count - 1}):
        others = sampler.batch(lengths)
        others[keep] = inputs[keep]
        if moved := probe.moved(before, probe.rows(others), rows=[keep]):
            return f"new content in the other rows moves, of row {keep}, {moved}"
    # swap only rows of equal length, because some models take rows sorted by length
    places = {length: [i for i in range(count) if lengths[i] == length] for length in lengths}
    order = list(range(count))
    for rows in places.values():
        for row, other in zip(rows, reversed(rows), strict=True):
            order[row] = other
    moved = probe.moved([before[row] for row in order], probe.rows(inputs[order]))
    return f"another order of the rows moves {moved}" if moved else ""


def padding_leak(probe: Probe, untested: list[str]) -> str:
    """The content or the amount of padding changes a row."""
    sampler, lengths, time = probe.sampler, probe.lengths, max(probe.lengths)
    padding = ~valid_mask(lengths)
    if not bool(padding.any()):
        untested.append("padding_leak: the model takes only rows without padding")
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
        tight = torch.stack([padded[0], padded[1]])[:, :length]
        try:
            before, after = (
                probe.rows(tight, [length, length]),
                probe.rows(padded, [time, length]),
            )
        except Exception as error:  # noqa: BLE001 (a model may dislike a shape in any way)
            untested.append(f"padding_leak, by the amount of padding: {one_line(error)}")
            return ""
        if moved := probe.moved(before, after, rows=[1]):
            return f"{time - length} steps of padding after a row of {length} move {moved}"
    return ""


def future_leak(probe: Probe) -> str:
    """A later step changes the logits of an earlier one."""
    time, count = max(probe.lengths), len(probe.lengths)
    full = [time] * count
    inputs = probe.sampler.batch(full)
    before = probe.rows(inputs, full)
    for cut in range(1, time, -(-time // 4)):
        other = inputs.clone()
        other[:, cut:] = probe.sampler.batch(full)[:, cut:]
        after = probe.rows(other, full)
        if moved := probe.moved([row[:cut] for row in before], [row[:cut] for row in after]):
            return f"other content from step {cut} on moves, at earlier steps, {moved}"
    return ""


def state_mixup(probe: Probe, untested: list[str]) -> str:
    """Windows with the carried state give other logits than one pass."""
    if not probe.parameters and probe.eps > MOST_EPS:
        untested.append(
            "state_mixup: in half precision, rounding alone changes the logits of this black box"
        )
        return ""
    time, count = max(probe.lengths), len(probe.lengths)
    full = [time] * count
    inputs = probe.sampler.batch(full)

    def run(inputs: Tensor, window: int) -> tuple[list[Tensor], list[Tensor]]:
        state, pieces = None, []
        for piece in inputs.split(window, dim=1):
            logits, state = probe.call(piece, [piece.shape[1]] * count, state)
            pieces.append(logits)
        rows = probe.valid(torch.cat(pieces, dim=1), full) if probe.kind == "per_step" else []
        return rows, [part.cpu().double() for part in state_tensors(state)]

    with torch.no_grad():
        rows, states = run(inputs, time)
        for window in (1, time // 2):
            try:
                rows_now, states_now = run(inputs, window)
            except Exception as error:  # noqa: BLE001 (a model may dislike its own state in any way)
                return f"calling it with the state that it returned fails: {one_line(error)}"
            how = f"windows of {window} steps with the carried state, compared with one pass, move"
            if rows and (moved := probe.moved(rows, rows_now)):
                return f"{how} {moved}"
            if [s.shape for s in states] != [s.shape for s in states_now]:
                return f"{how} the shape of the state"
            if moved := probe.moved(states, states_now, what="the state"):
                return f"{how} {moved}"
        others = inputs.clone()  # in the first window, all rows but row 0 change
        others[1:, : time // 2] = probe.sampler.batch(full)[1:, : time // 2]
        rows_now, _ = run(others, time // 2)
        if rows and (moved := probe.moved(rows, rows_now, rows=[0])):
            return f"new content in other rows of an earlier window moves, of row 0, {moved}"
    return ""


def truncated_direction(inside: list[Reading]) -> str:
    """A direction is read where it has seen one step, and nowhere between there and its end."""
    return "; ".join(
        f"{reading}: {direction} is read at step {place}, where it has seen only one step, and at "
        "no step between there and its end"
        for reading in inside
        for direction in reading.truncated()
        for place in ["0" if direction == "forward" else "length - 1"]
    )


def unread_direction(inside: list[Reading]) -> str:
    """A direction of the last layer reaches no logit."""
    return "; ".join(
        f"{reading}: no change of the last layer's {direction} states moves a logit"
        for reading in inside
        for direction in reading.unread()
    )


def unread_step(probe: Probe, untested: list[str]) -> str:
    """A valid step reaches no logit."""
    for lengths in (probe.lengths, probe.long_lengths()):
        unread = _without_effect(probe, probe.sampler.batch(lengths), lengths, None)
        for draw in range(MOST_DRAWS):
            if not bool(unread.any()):
                break
            with probe.random_weights():
                # a maximum reads only one of several steps, but any step if they are all alike
                inputs = probe.sampler.batch(lengths, constant=draw % 2 == 0)
                unread = _without_effect(probe, inputs, lengths, unread)
        if bool(unread.any()) and not probe.parameters and _is_faint(probe, lengths, unread):
            untested.append("unread_step: a step moves these logits no more than rounding does")
            break
        for row, steps in enumerate(unread):
            if bool(steps.any()):
                which = steps.nonzero().flatten().tolist()
                named = f"step {which[0]}" if len(which) == 1 else f"steps {which[0]}..{which[-1]}"
                return (
                    f"in a row of {lengths[row]} steps, no change of {named} "
                    f"({len(which)} in all) moves a logit of the row"
                )
    return ""


def _without_effect(
    probe: Probe, inputs: Tensor, lengths: list[int], suspected: Tensor | None
) -> Tensor:
    """The valid steps, `(B, T)` bool, that have no gradient and move no logit if changed.

    Args:
        suspected: `(B, T)` bool, to test only these steps; None for all.
    """
    valid = valid_mask(lengths)
    unread = valid & ~steps_with_gradient(probe, inputs, lengths)
    if suspected is not None:
        unread &= suspected
    steps = unread.any(dim=0).nonzero().flatten().tolist()
    tested = steps[:: -(-len(steps) // MOST_STEPS)] if steps else []
    unread &= torch.isin(torch.arange(inputs.shape[1]), torch.tensor(tested, dtype=torch.int64))
    for step in tested:
        unread[:, step] &= _moves(probe, inputs, lengths, valid, step) == 0
    return unread


def _moves(probe: Probe, inputs: Tensor, lengths: list[int], valid: Tensor, step: int) -> Tensor:
    """How far new content at one step moves the logits of each row, `(B,)`."""
    before = probe.rows(inputs, lengths)
    largest = torch.zeros(len(lengths), dtype=torch.float64)
    for spread in (1.0, 10.0, 1.0, 10.0):
        other, rows = inputs.clone(), valid[:, step]
        other[rows, step] = probe.sampler.content(len(inputs), 1, spread)[rows, 0].to(other)
        after = probe.rows(other, lengths)
        moves = [(a - b).abs().max() for a, b in zip(before, after, strict=True)]
        largest = largest.maximum(torch.stack(moves))
    return largest


def _is_faint(probe: Probe, lengths: list[int], unread: Tensor) -> bool:
    """Whether steps that do move logits hardly move them more than rounding does."""
    inputs = probe.sampler.batch(lengths)
    valid = valid_mask(lengths)
    largest = max(float(row.abs().max()) for row in probe.rows(inputs, lengths))
    steps = range(0, inputs.shape[1], -(-inputs.shape[1] // MOST_STEPS))
    moves = torch.stack([_moves(probe, inputs, lengths, valid, s) for s in steps], dim=1)
    read = (valid & ~unread)[:, list(steps)]
    return not bool(read.any()) or float(moves[read].min()) < max(16 * probe.eps, 1e-3) * largest
