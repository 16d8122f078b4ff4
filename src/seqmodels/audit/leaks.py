"""Check that the logits of a row depend on its own steps and its own state alone, and a decoder on
the right one.

Each function returns the evidence for one mistake, or an empty string.
"""

from __future__ import annotations

import math
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

# In dtypes with a larger rounding unit, two ways to the same logits differ by rounding alone.
MOST_EPS = 1e-3

# The logits of each row.
Rows = list[Tensor]


def remembers(probe: Probe) -> str:
    """A call leaves something behind that changes the next one."""
    inputs = probe.sampler.batch(probe.lengths)
    other_inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    probe.rows(other_inputs)
    moved = probe.moved(before, probe.rows(inputs))
    return f"a call in between, with another batch, moves {moved}" if moved else ""


def random_state(probe: Probe) -> str:
    """Two calls with other random numbers differ, and with the same ones don't."""
    inputs = probe.sampler.batch(probe.lengths)
    # A reset of a stream may keep something. After this call, it is the same in all others.
    probe.rows(inputs)
    before = probe.rows(inputs)
    rows_with_same_numbers = probe.rows(inputs)
    probe.seed += 1
    moved = probe.moved(before, probe.rows(inputs))
    if moved and not probe.moved(before, rows_with_same_numbers):
        return f"the same call, with other random numbers, moves {moved}"
    return ""


def batch_leak(probe: Probe) -> str:
    """The content or the order of other rows changes a row."""
    if len(probe.lengths) == 1:
        probe.untested.append("batch_leak: the model takes only one row")
        return ""
    return mixed_rows(probe, [probe.lengths])


def mixed_rows(probe: Probe, windows: list[list[int]], orders: bool = True) -> str:
    """The content of other rows, or the order if `orders`, changes a row in the last of some
    windows with the carried state.

    Args:
        windows: the lengths of the rows in each window.
    """
    batches = [probe.sampler.batch(lengths) for lengths in windows]
    before = _last_rows(probe, batches, windows)
    evidence = _moved_by_other_rows(probe, batches, windows, before)
    if not evidence and orders:
        with probe.trying("batch_leak, of rows that are not the longest first"):
            evidence = _moved_by_order(probe, batches, windows, before)
    return evidence


def _moved_by_other_rows(
    probe: Probe, batches: list[Tensor], windows: list[list[int]], before: Rows
) -> str:
    """One row keeps its content and all others get a new one."""
    count = len(windows[0])
    for kept_row in sorted({0, count // 2, count - 1}):
        new_batches = [probe.sampler.batch(lengths) for lengths in windows]
        for batch, new_batch in zip(batches, new_batches, strict=True):
            new_batch[kept_row] = batch[kept_row]
        # The kept row keeps its target, and each other row gets that of the row before it.
        target_order = [row - 1 for row in range(count)]
        target_order[kept_row] = kept_row
        after = _last_rows(_with_targets(probe, target_order), new_batches, windows)
        moved = probe.moved(before, after, [kept_row])
        if moved:
            return (
                f"new content in the other rows{_in_windows(windows)} moves, of row {kept_row}, "
                f"{moved}"
            )
    return ""


def _moved_by_order(
    probe: Probe, batches: list[Tensor], windows: list[list[int]], before: Rows
) -> str:
    """The rows stay as they are, but come in another order."""
    for order in _orders(windows[0], probe.sampler.generator):
        ordered_windows = [[lengths[row] for row in order] for lengths in windows]
        ordered_batches = [batch[order] for batch in batches]
        after = _last_rows(_with_targets(probe, order), ordered_batches, ordered_windows)
        ordered_before = [before[row] for row in order]
        moved = probe.moved(ordered_before, after)
        if moved:
            return (
                f"another order of the rows (lengths {ordered_windows[0]})"
                f"{_in_windows(windows)} moves {moved}"
            )
    return ""


def _in_windows(windows: list[list[int]]) -> str:
    return " in windows with the carried state" if len(windows) > 1 else ""


def _orders(lengths: list[int], generator: torch.Generator) -> list[list[int]]:
    """Rows of equal length swapped, then orders in which the longest row is not the first.

    A sort of rolled rows is not its own inverse, so taking one for the other shows.
    """
    rows = list(range(len(lengths)))
    rows_by_length: dict[int, list[int]] = {}
    for row in rows:
        rows_by_length.setdefault(lengths[row], []).append(row)
    swapped = [rows_by_length[length].pop() for length in lengths]
    shuffled = torch.randperm(len(rows), generator=generator).tolist()
    return [swapped, _rolled(rows, 1), shuffled]


def _rolled(values: list[int], by: int) -> list[int]:
    return values[-by:] + values[:-by]


def _with_targets(probe: Probe, order: list[int]) -> Probe:
    """The probe, with the targets of its rows in this order."""
    return probe if probe.targets is None else replace(probe, targets=probe.targets[order])


def _last_rows(probe: Probe, batches: list[Tensor], windows: list[list[int]]) -> Rows:
    """The logits of each row in the last window."""
    logits, state = torch.empty(0), None
    with torch.no_grad():
        for batch, lengths in zip(batches, windows, strict=True):
            logits, state = probe.call(batch, lengths, state)
    return probe.valid(logits, windows[-1])


def padding_leak(probe: Probe, alone: bool = True) -> str:
    """The content or the amount of padding changes a row; `alone` says whether no valid step of
    another row may."""
    if probe.sampler.unpadded:
        return ""
    if len(set(probe.lengths)) == 1:
        probe.untested.append("padding_leak: the model takes only rows without padding")
        return ""
    inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    if not probe.sampler.padding_is_fixed:
        evidence = _moved_by_padding(probe, inputs, before)
        if evidence:
            return evidence
    if not alone:
        return _moved_by_longer_padding(probe, inputs, before)
    with probe.trying("padding_leak, by the amount of padding"):
        return _moved_by_any_padding(probe)
    return ""


def _moved_by_padding(probe: Probe, inputs: Tensor, before: Rows) -> str:
    """The content of padding changes, a little and a lot."""
    padding = ~valid_mask(probe.lengths)
    batch, time = padding.shape
    for spread in (1.0, 10.0):
        content = probe.sampler.content(batch, time, spread)
        new_inputs = inputs.clone()
        new_inputs[padding] = content[padding]
        moved = probe.moved(before, probe.rows(new_inputs))
        if moved:
            return f"other content at padding moves {moved}"
    return ""


def _moved_by_longer_padding(probe: Probe, inputs: Tensor, before: Rows) -> str:
    """All rows get more padding, and keep their valid steps."""
    time = inputs.shape[1]
    padding_of_one_row = probe.sampler.batch([time, 1])[1:, 1:]
    padding = padding_of_one_row.expand_as(inputs[:, 1:])
    moved = probe.moved(before, probe.rows(torch.cat([inputs, padding], dim=1)))
    return f"{time - 1} more steps of padding move {moved}" if moved else ""


def _moved_by_any_padding(probe: Probe) -> str:
    """A row has no padding, and then some, because the row beside it is longer."""
    time = max(probe.lengths)
    shorter_lengths = sorted(set(probe.lengths))[:-1]
    for length in shorter_lengths:
        padded_rows = probe.sampler.batch([time, length])
        before = probe.rows(padded_rows[:, :length], [length, length])
        after = probe.rows(padded_rows, [time, length])
        moved = probe.moved(before, after, rows=[1])
        if moved:
            return f"{time - length} steps of padding after a row of {length} move {moved}"
    return ""


def future_leak(probe: Probe) -> str:
    """A later step, or in a decoder a later token of the target, changes the logits of an earlier
    one."""
    if probe.targets is None:
        return _moved_by_later_steps(probe)
    return _moved_by_later_targets(probe, probe.targets)


def _moved_by_later_steps(probe: Probe) -> str:
    inputs = probe.sampler.batch(probe.full)
    before = probe.rows(inputs, probe.full)
    for cut in _cuts(inputs.shape[1], probe.stride):
        new_inputs = _from(cut, inputs, probe.sampler.batch(probe.full))
        after = probe.rows(new_inputs, probe.full)
        moved = _moved_before(cut, probe, before, after)
        if moved:
            return f"other content from step {cut} on moves, at earlier steps, {moved}"
    return ""


def _moved_by_later_targets(probe: Probe, targets: Tensor) -> str:
    inputs = probe.sampler.batch(probe.lengths)
    before = probe.rows(inputs)
    steps = targets.shape[1]
    for cut in _cuts(steps):
        order = torch.randperm(steps, generator=probe.sampler.generator)
        new_targets = _from(cut, targets, targets[:, order])
        after = replace(probe, targets=new_targets).rows(inputs)
        moved = _moved_before(cut, probe, before, after)
        if moved:
            return f"other target tokens from step {cut} on move, at earlier steps, {moved}"
    return ""


def _cuts(steps: int, first: int = 1) -> range:
    """Where to begin with other content: up to four places, none of them before the first one."""
    return range(first, steps, math.ceil(steps / 4))


def _moved_before(cut: int, probe: Probe, before: Rows, after: Rows) -> str:
    [count] = probe.logit_counts([cut])
    earlier_before = [row[:count] for row in before]
    earlier_after = [row[:count] for row in after]
    return probe.moved(earlier_before, earlier_after)


def _from(cut: int, rows: Tensor, new_rows: Tensor) -> Tensor:
    return torch.cat([rows[:, :cut], new_rows[:, cut:]], dim=1)


def state_mixup(probe: Probe) -> str:
    """Windows with the carried state give other logits than one pass."""
    if not probe.parameters and probe.eps > MOST_EPS:
        reason = "in half precision, rounding alone changes the logits of this black box"
        probe.untested.append(f"state_mixup: {reason}")
        return ""
    if probe.stride > 1:
        probe.untested.append("state_mixup: there is no logit for each step of a window")
        return ""
    longest = max(probe.full)
    half = max(longest // 2, 1)
    inputs = probe.sampler.batch(probe.full)
    with torch.no_grad():
        whole_rows, whole_state = _in_windows_of(longest, probe, inputs)
        for window in (1, half):
            try:
                rows, state = _in_windows_of(window, probe, inputs)
            except Exception as error:  # noqa: BLE001 (a model may refuse its own state in any way)
                return f"calling it with the state that it returned fails: {one_line(error)}"
            moved = ""
            if rows:
                moved = probe.moved(whole_rows, rows)
            if not moved:
                moved = _moved_state(probe, whole_state, state)
            if moved:
                return (
                    f"windows of {window} steps with the carried state, compared with one pass, "
                    f"move {moved}"
                )
    # A model may sort the rows of each window by their lengths. In the last two windows, these are
    # in different orders. They are half as long as a batch, because two windows take its steps.
    half_lengths = [math.ceil(length / 2) for length in probe.lengths]
    rolled_lengths = [_rolled(half_lengths, 1), _rolled(half_lengths, 2)]
    with probe.trying("state_mixup, of windows of several lengths"):
        equal_lengths = [[half] * len(probe.full)] * 2
        return mixed_rows(probe, equal_lengths) or mixed_rows(probe, rolled_lengths)
    return ""


def _moved_state(probe: Probe, before: list[Tensor], after: list[Tensor]) -> str:
    """How far a state moved, in words; empty if none of its tensors moved farther than rounding
    moves the logits, relative to the spread of each."""
    if len(before) != len(after):
        return "the shape of the state"
    share = float(probe.shares.median()) if probe.shares.numel() else 1e-5
    for tensor, tensor_after in zip(before, after, strict=True):
        tolerance = share * (tensor.max() - tensor.min())
        probe_of_tensor = replace(probe, tolerance=tolerance)
        moved = probe_of_tensor.moved([tensor], [tensor_after], what="the state")
        if moved:
            return moved
    return ""


def _in_windows_of(steps: int, probe: Probe, inputs: Tensor) -> tuple[Rows, list[Tensor]]:
    """The logits of whole rows, run in windows of so many steps with the carried state, and the
    tensors of the last state. There are no logits of rows if the model gives none per step."""
    state = None
    logits_of_windows = []
    for inputs_of_window in inputs.split(steps, dim=1):
        lengths = [inputs_of_window.shape[1]] * len(inputs)
        logits, state = probe.call(inputs_of_window, lengths, state)
        logits_of_windows.append(logits)
    rows: Rows = []
    if probe.kind == "per_step":
        rows = probe.valid(torch.cat(logits_of_windows, dim=1), probe.full)
    return rows, [tensor.cpu().double() for tensor in tensors_in(state)]


def wrong_decoder_start(probe: Probe) -> str:
    """A decoder's `c` comes from the encoder's `h`, or a layer of the decoder from one direction of
    a layer of the encoder.

    Empty for a decoder that starts from zeros, or from something else than final states.
    """
    starts, zeros_by_network = _run_with_zeros(probe)
    for encoder, encoder_start in starts:
        if encoder_start or not isinstance(encoder, Recurrent):
            continue
        decoder, start = _decoder_of(encoder, starts)
        if decoder is None:
            continue
        reached = _reached(start, zeros_by_network[encoder])
        evidence = _wrong_tensor(start, reached)
        if not evidence and encoder.bidirectional and not getattr(decoder, "bidirectional", False):
            evidence = _layers_for_directions(reached)
        if evidence:
            return evidence
    return ""


# Each network that runs, with the `h` and `c`, `(L, B, H)`, that it is given.
Starts = list[tuple[nn.Module, list[Tensor]]]


def _decoder_of(encoder: nn.Module, starts: Starts) -> tuple[nn.Module | None, list[Tensor]]:
    """The first network that is given a state and is not in the encoder, and that state."""
    encoder_modules = {*encoder.modules()}
    for network, start in starts:
        if start and network not in encoder_modules:
            return network, start
    return None, []


def _run_with_zeros(probe: Probe) -> tuple[Starts, dict[nn.Module, Tensor]]:
    """What each network starts from, and zeros `(2, L*D, 1, 1)` that are added to its final `h` and
    `c`, to follow them by their gradients."""
    starts: Starts = []
    zeros_by_network: dict[nn.Module, Tensor] = {}

    def note_start(network: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        state = arguments[1] if len(arguments) > 1 else options.get("hx")
        h_and_c = [tensor.clone() for tensor in tensors_in(state)[:2]]
        if isinstance(network, nn.RNNCellBase):
            h_and_c = [tensor.unsqueeze(0) for tensor in h_and_c]
        starts.append((network, h_and_c))

    def add_zeros(network: Recurrent, output: Any, final_states: list[Tensor]) -> Any:
        if network not in zeros_by_network:
            h_n = final_states[0]
            zeros_by_network[network] = h_n.new_zeros(2, len(h_n), 1, 1, requires_grad=True)
        zeros_of_h, zeros_of_c = zeros_by_network[network]
        final_states[0] = final_states[0] + zeros_of_h
        if isinstance(network, nn.LSTM) or "c_n" in getattr(network, "state_sizes", ()):
            final_states[1] = final_states[1] + zeros_of_c
        return output

    with ExitStack() as hooks:
        for module in probe.modules.modules():
            if isinstance(module, Recurrent | nn.RNNCellBase):
                hooks.enter_context(module.register_forward_pre_hook(note_start, with_kwargs=True))
            if isinstance(module, Recurrent):
                hooks.enter_context(hook(module, partial(add_zeros, module)))
        probe.call(probe.sampler.batch(probe.full), probe.full)
    return starts, zeros_by_network


def _wrong_tensor(start: list[Tensor], reached: Tensor) -> str:
    """Whether `c` comes from `h`, or `h` from `c`."""
    if len(start) != 2:
        return ""
    (h_from_h, h_from_c), (c_from_h, c_from_c) = reached.flatten(2).any(dim=2).tolist()
    if c_from_h and not c_from_c and torch.equal(*start):
        return "the decoder starts both h and c from the encoder's h_n"
    if h_from_c and not h_from_h:
        return "the decoder starts h from the encoder's c_n, and not from h_n"
    return ""


def _layers_for_directions(reached: Tensor) -> str:
    """Whether a layer of the decoder starts from one direction, and another from the other."""
    places = _from_one_direction(reached).nonzero().tolist()
    if not places:
        return ""
    decoder_tensor, encoder_tensor, decoder_layer, encoder_layer = places[0]
    return (
        f"layer {decoder_layer + 1} of the decoder starts its {'hc'[decoder_tensor]} from one "
        f"direction of layer {encoder_layer + 1} of the encoder's {'hc'[encoder_tensor]}_n, and "
        "another layer from the other: layers are taken for directions"
    )


def _reached(starts: list[Tensor], zeros: Tensor) -> Tensor:
    """From what a gradient comes: `(h and c of the decoder, h and c of the encoder, L', L*D)`."""
    reached = torch.zeros(len(starts), 2, len(starts[0]), zeros.shape[1], dtype=torch.bool)
    for number, start in enumerate(starts):
        if not start.requires_grad:
            continue
        generator = torch.Generator().manual_seed(0)
        factors = torch.randn(start.shape, generator=generator).to(start)
        for layer in range(len(start)):
            [gradient] = torch.autograd.grad(
                start[layer], zeros, factors[layer], retain_graph=True, materialize_grads=True
            )
            reached[number, :, layer] = gradient.flatten(1) != 0
    return reached


def _from_one_direction(reached: Tensor) -> Tensor:
    """Which layers of the decoder, `(..., L', L)`, are reached from one direction of a layer of the
    encoder, where others are from the other direction."""
    by_direction = reached.unflatten(-1, (-1, 2))  # (..., L', L, D)
    from_any = by_direction.any(dim=-1)  # (..., L', L)
    from_all = by_direction.all(dim=-1)
    # Both directions of an encoder's layer reach some layer of the decoder.
    both_reach = by_direction.any(dim=-3, keepdim=True).all(dim=-1)  # (..., 1, L)
    return from_any & ~from_all & both_reach
