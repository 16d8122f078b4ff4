"""Run an `nn.LSTM`, `nn.GRU` or `nn.RNN` on rows of different lengths without packing.

On a CPU, a `PackedSequence` with unequal lengths falls off oneDNN's fused LSTM and runs step by
step, which costs more than the padding it saves. Here each layer and direction is one call on
padded rows. The result is exact, because:

- steps after a row's end never change its valid steps: forward, `h_n` is `output` at `length - 1`;
- the backward direction is a forward pass over each row reversed within its own length;
- padded steps keep `c_n`, which no `output` holds: a column that is 1 at padding drives the input
  gate to exactly 0 and the forget gate to exactly 1.

To save work on a CPU, the batch is sorted by length and cut in time into a few blocks, each with
only the rows that have not ended. On an accelerator the number of steps is what costs time, so the
batch stays whole there.

On a CPU, a GRU and an RNN run by hand, without any padding: oneDNN has neither, and PyTorch's own
loop records every operation of every step.

From top to bottom: `run_padded` goes through the layers, `_run_layer` and `_run_direction` call
PyTorch's operators over the blocks, `Rows` says where the steps lie, and `LayerByHand` takes the
place of the operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from seqmodels.device import on_device
from seqmodels.nn.cell import State, parts_of, state_of
from seqmodels.padding import valid_steps

CALLS: dict[str, Any] = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh}
# sigmoid(-1e4) == 0 and sigmoid(1e4) == 1 in every floating-point type, as long as the gate's other
# inputs stay well below 1e4 in size (fp16 ends at 65504, so it can't be much larger)
SATURATED = 1e4
# Measured (benchmarks/packing.py): one more block costs about as much as this many padded steps,
# and with more than 8 blocks each call gets too small to be faster.
STEPS_PER_BLOCK = 128
MOST_BLOCKS = 8
# cuDNN fails on more steps (https://github.com/pytorch/pytorch/issues/133751)
MOST_STEPS = 65_535


def run_padded(
    rnn: nn.RNNBase,
    inputs: Tensor,
    lengths: Tensor,
    state: State | None = None,
    *,
    locked_dropout: bool = False,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, State]:
    """Same result as `rnn(pack_padded_sequence(inputs, lengths))`, padded back to `T` steps:
    `output` `(B, T, D*H)`, zero at padding, and the final state in the layout of `state`.

    Args:
        rnn: built with `batch_first=True`.
        inputs: `(B, T, F)`. The content of the padding has no effect.
        lengths: `(B,)` int64 on the CPU.
        state: `(h, c)` for LSTM, else `h`, each `(L*D, B, ...)`; None means zeros.
        locked_dropout: as `RecurrentEncoder` documents it.
        dtype: of `inputs`, where the weights are in another one.
    """
    by_hand = runs_by_hand(rnn, inputs)
    rows = Rows(lengths, inputs.shape[1], inputs.device, exact=by_hand)
    if state is None:
        initial_states = _zero_states(rnn, inputs)
    else:
        initial_states = [rows.take_states(part) for part in parts_of(state)]

    steps = rows.take(inputs)  # (N, F), and after a layer (N, D*H)
    directions = 2 if rnn.bidirectional else 1
    final_states: list[tuple[Tensor, ...]] = []  # of each layer and direction: `(h, c)` or `(h,)`
    for layer in range(rnn.num_layers):
        if layer > 0 and rnn.dropout:
            steps = _dropped(rnn, steps, rows, locked=locked_dropout)
        of_layer = slice(layer * directions, (layer + 1) * directions)
        weights: list[Any] = rnn.all_weights[of_layer]
        if dtype is not None:
            weights = [[weight.to(dtype) for weight in direction] for direction in weights]
        states = [part[of_layer] for part in initial_states]
        if by_hand:
            steps, h_n = LayerByHand.apply(rnn.mode, rows, steps, states[0], *chain(*weights))
            final_states += [(h,) for h in h_n]
        else:
            steps, finals = _run_layer(rnn, weights, steps, states, rows)
            final_states += finals

    stacked_states = [torch.stack(part) for part in zip(*final_states, strict=True)]
    return rows.put(steps), state_of(*map(rows.put_states, stacked_states))


def _zero_states(rnn: nn.RNNBase, inputs: Tensor) -> list[Tensor]:
    """The states of rows that begin: `[h, c]` of an LSTM, else `[h]`, each `(L*D, B, ...)`."""
    widths = [rnn.proj_size or rnn.hidden_size]
    if rnn.mode == "LSTM":
        widths.append(rnn.hidden_size)
    layers = rnn.num_layers * (2 if rnn.bidirectional else 1)
    return [inputs.new_zeros(layers, inputs.shape[0], width) for width in widths]


def _dropped(rnn: nn.RNNBase, steps: Tensor, rows: Rows, *, locked: bool) -> Tensor:
    """The dropout between layers, `(N, F)`; locked, it drops the same features of a whole row."""
    if not locked:
        return F.dropout(steps, rnn.dropout, rnn.training)
    kept = F.dropout(steps.new_ones(rows.shape[0], steps.shape[1]), rnn.dropout, rnn.training)
    return steps * kept.index_select(0, rows.row)


def _run_layer(
    rnn: nn.RNNBase,
    weights: Sequence[Sequence[Tensor]],
    steps: Tensor,
    states: Sequence[Tensor],
    rows: Rows,
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """One layer by PyTorch's operators: `(N, F) -> (N, D*H)`, and the final states of each
    direction."""
    if rnn.mode == "LSTM" and rows.padded:
        # on a GPU as wide as a multiple of 8, which its tensor cores need
        zeros = 0 if steps.device.type == "cpu" else 7 - steps.shape[1] % 8
        steps = torch.cat([steps, F.pad(rows.padding.to(steps.dtype), (0, zeros))], dim=1)
    outputs: list[Tensor] = []
    finals: list[tuple[Tensor, ...]] = []
    for direction, of_direction in enumerate(weights):
        state = tuple(part[direction].unsqueeze(0) for part in states)
        turned_steps = rows.turned(steps, direction)
        output, final = _run_direction(rnn, of_direction, turned_steps, state, rows)
        outputs.append(rows.turned(output, direction))
        finals.append(final)
    return torch.cat(outputs, dim=1) if len(outputs) == 2 else outputs[0], finals


def _run_direction(
    rnn: nn.RNNBase, weights: Sequence[Tensor], steps: Tensor, state: tuple[Tensor, ...], rows: Rows
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer, one direction: `output` `(N, H)`, and final `(h, c)` or `(h,)`, `(B, ...)`."""
    is_lstm = rnn.mode == "LSTM"
    if is_lstm and rows.padded:
        added = steps.shape[1] - weights[0].shape[1]
        column = weights[0].new_zeros(len(weights[0]), added)  # gates: i, f, g, o
        column[: rnn.hidden_size, 0] = -SATURATED
        column[rnn.hidden_size : 2 * rnn.hidden_size, 0] = SATURATED
        weights = [torch.cat([weights[0], column], dim=1), *weights[1:]]
    if steps.device.type != "cpu":
        weights = side_by_side(weights)
    outputs: list[Tensor] = []
    ended: list[Tensor] = []  # c_n of the rows that end in each block
    shapes = [(stop - start, count) for start, stop, count in rows.blocks]
    still_running = [*(count for _, count in shapes[1:]), 0]
    blocks = steps.split([time * count for time, count in shapes])
    for block, (time, count), still in zip(blocks, shapes, still_running, strict=True):
        state = tuple(part[:, :count] for part in state)
        output, *state_list = CALLS[rnn.mode](
            block.unflatten(0, (time, count)),
            state if is_lstm else state[0],
            weights,
            rnn.bias,
            1,  # layers
            0.0,  # dropout between them
            rnn.training,
            False,  # bidirectional
            False,  # batch_first
        )
        state = tuple(state_list)
        outputs.append(output.flatten(0, 1))
        if is_lstm:
            ended.append(state[1][0, still:])
    output = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    h_n = output.index_select(0, rows.last)
    return output, (h_n, torch.cat(ended[::-1])) if is_lstm else (h_n,)


def side_by_side(weights: Sequence[Tensor]) -> list[Tensor]:
    """The same weights in one piece of memory, where cuDNN looks for them: all matrices, then all
    biases. Else it copies them at every call, and warns."""
    order = sorted(range(len(weights)), key=lambda n: weights[n].dim() == 1)
    sizes = [weights[n].numel() for n in order]
    parts = torch.cat([weights[n].flatten() for n in order]).split(sizes)
    placed = dict(zip(order, parts, strict=True))
    return [placed[n].view_as(weight) for n, weight in enumerate(weights)]


def run_in(
    dtype: torch.dtype, rnn: nn.RNNBase, inputs: Tensor | PackedSequence, state: State | None
) -> Any:
    """`rnn(inputs, state)`, with its weights in this type."""
    names, weights = zip(*rnn.named_parameters(), strict=True)
    cast = side_by_side([weight.to(dtype) for weight in weights])
    return torch.func.functional_call(rnn, dict(zip(names, cast, strict=True)), (inputs, state))


class Rows:
    """Where the steps of a batch lie, `(N, ...)`: time first, the longest row first, in each block
    of time only the rows that have not ended. If all rows stay to the end, as on an accelerator,
    they are not sorted, and all follows from the lengths, on the device. `N` is the sum of the rows
    in all blocks, times their steps.

    Args:
        lengths: `(B,)` on the CPU.
        time: how many steps the padded rows have.
        exact: leave no padding: each step is a block. On a CPU alone.
    """

    def __init__(self, lengths: Tensor, time: int, device: torch.device, *, exact: bool) -> None:
        batch, longest, on_cpu = len(lengths), int(lengths.max()), device.type == "cpu"
        self.shape, self.longest, self.sorted = (batch, time), longest, False
        self.padded = not exact and bool((lengths < longest).any())
        rows, steps = (torch.arange(n, device=device) for n in (batch, longest))
        if on_cpu:
            length, order = lengths.sort(descending=True, stable=True)
            if exact:
                counts = valid_steps(length, longest).sum(0)
            else:
                self.blocks = time_blocks(length, on_cpu=True)
                counts = torch.cat([torch.full((b - a,), n) for a, b, n in self.blocks])
            self.sorted, self.counts = int(counts[-1]) < batch, counts  # of rows at each step
        else:
            self.blocks = time_blocks(lengths, on_cpu=False)
        if self.sorted:
            step, starts = steps.repeat_interleave(counts), counts.cumsum(0) - counts
            row = torch.arange(len(step)) - starts.index_select(0, step)
            self.order, self.original = order, order.argsort()  # (B,) there, and back
            self.places = order.index_select(0, row) * time + step  # (N,) in `(B * T, ...)`
        else:
            step, row = steps.unsqueeze(1).expand(-1, batch).flatten(), rows.repeat(longest)
            starts, length = steps * batch, on_device(lengths, device)
        ends = length.index_select(0, row)
        mirrored = torch.where(step < ends, ends - 1 - step, step)
        self.row, self.padding = row, (step >= ends).unsqueeze(1)  # (N,), (N, 1): of each step
        self.reversal = starts.index_select(0, mirrored) + row  # (N,) in `(N, ...)`
        self.last = starts.index_select(0, length - 1) + rows  # (B,) in `(N, ...)`

    def take(self, inputs: Tensor) -> Tensor:
        """`(B, T, F) -> (N, F)`, zero at padding."""
        if self.sorted:
            steps = inputs.flatten(0, 1).index_select(0, self.places)
        else:
            steps = inputs[:, : self.longest].transpose(0, 1).flatten(0, 1)
        return steps.masked_fill(self.padding, 0.0) if self.padded else steps

    def take_states(self, states: Tensor) -> Tensor:
        """`(L*D, B, ...)` in the order of these rows."""
        return states.index_select(1, self.order) if self.sorted else states

    def put_states(self, states: Tensor) -> Tensor:
        """`(L*D, B, ...)` in the order of the batch."""
        return states.index_select(1, self.original) if self.sorted else states

    def put(self, steps: Tensor) -> Tensor:
        """`(N, F) -> (B, T, F)`, zero at padding."""
        batch, time = self.shape
        if self.padded:
            steps = steps.masked_fill(self.padding, 0.0)
        if self.sorted:
            padded = steps.new_zeros(batch * time, steps.shape[1]).index_add(0, self.places, steps)
            return padded.unflatten(0, self.shape)
        steps = steps.unflatten(0, (self.longest, batch))
        return F.pad(steps, (0, 0, 0, 0, 0, time - self.longest)).transpose(0, 1)

    def turned(self, steps: Tensor, direction: int) -> Tensor:
        """As a direction reads them, or back: each row reversed within its own length."""
        return _Permute.apply(steps, self.reversal) if direction else steps


class _Permute(torch.autograd.Function):
    """Reorders rows by an index that is its own inverse; the gradient is reordered alike."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _Permute.apply(gradient, index), None


def time_blocks(lengths: Tensor, *, on_cpu: bool) -> list[tuple[int, int, int]]:
    """Cuts a batch in time: `(start, stop, rows of the block)`. On a CPU where rows end, each block
    with those that have not; elsewhere only where a call would have too many steps. `lengths` are
    on a CPU longest first."""
    rows, longest = len(lengths), int(lengths.max())
    stops = {longest, *range(MOST_STEPS, longest, MOST_STEPS)}
    if on_cpu:
        padded_steps = rows * longest - int(lengths.sum())
        count = min(max(int((padded_steps / STEPS_PER_BLOCK) ** 0.5), 1), MOST_BLOCKS)
        stops = {int(lengths[rows * block // count]) for block in range(count)}
    starts = [0, *sorted(stops)[:-1]]
    counts = [int((lengths > start).sum()) if on_cpu else rows for start in starts]
    return list(zip(starts, sorted(stops), counts, strict=True))


by_sigmoid = torch.ops.aten.sigmoid_backward.grad_input  # g * s * (1 - s)
by_tanh = torch.ops.aten.tanh_backward.grad_input  # g * (1 - t * t)


def runs_by_hand(rnn: nn.RNNBase, inputs: Tensor) -> bool:
    """Whether `LayerByHand` can take the place of PyTorch's operators."""
    return (
        rnn.mode in ("GRU", "RNN_TANH")
        and inputs.device.type == "cpu"
        and inputs.dtype == rnn.all_weights[0][0].dtype
        and inputs.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class LayerByHand(torch.autograd.Function):
    """A layer of `nn.GRU` or `nn.RNN`, in both its directions, as one node of the graph: `steps`
    `(N, F)` and `h_0` `(D, B, H)` to `output` `(N, D*H)` and `h_n` `(D, B, H)`.

    A step computes only what needs the step before, for both directions at once; all other
    products, those of the weights' gradients too, are one for all steps.
    """

    @staticmethod
    def forward(
        ctx: Any, mode: str, rows: Rows, steps: Tensor, h_0: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        directions, batch, size = h_0.shape
        w_hh = torch.stack(weights[1::4])  # (D, G*H, H)
        b_hh = torch.stack(weights[3::4])  # (D, G*H)
        gates = steps.new_empty(directions, len(steps), w_hh.shape[1])  # (D, N, G*H)
        for d, (w_ih, b_ih) in enumerate(zip(weights[::4], weights[2::4], strict=True)):
            bias = b_hh[d]
            if mode == "GRU":  # r multiplies the last third of b_hh as well
                bias = F.pad(b_hh[d, : 2 * size], (0, size))
            torch.addmm(b_ih + bias, rows.turned(steps, d), w_ih.T, out=gates[d])
        single_gates = gates.split(size, dim=2)
        hidden = torch.empty_like(single_gates[0])  # of a GRU: what r multiplies
        h = torch.cat([h_0, hidden], dim=1)  # (D, B + N, H): the first, and that after each step
        w = w_hh.transpose(1, 2)
        if mode == "GRU":
            r_and_z = gates[:, :, : 2 * size]
            b_n = b_hh[:, None, 2 * size :]
            w, w_n = w.split([2 * size, size], dim=2)
            by_step = _steps(rows, h, r_and_z, *single_gates, hidden)
            for before, after, r_z, r, z, n, q in by_step:
                r_z.baddbmm_(before, w).sigmoid_()
                n.addcmul_(r, torch.baddbmm(b_n, before, w_n, out=q)).tanh_()
                torch.lerp(n, before, z, out=after)
        else:
            for before, after, gate in _steps(rows, h, gates):
                torch.tanh(gate.baddbmm_(before, w), out=after)
        ctx.mode, ctx.rows = mode, rows
        ctx.save_for_backward(steps, h_0, *weights, gates, hidden, h)
        output = torch.cat([rows.turned(half, d) for d, half in enumerate(h[:, batch:])], dim=1)
        return output, h.index_select(1, batch + rows.last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        rows: Rows = ctx.rows
        is_gru = ctx.mode == "GRU"
        steps, h_0, *weights, gates, hidden, h = ctx.saved_tensors
        _, batch, size = h_0.shape
        w_hh = torch.stack(weights[1::4])
        earlier = torch.cat([before for before, _ in _steps(rows, h)], dim=1)
        d_h = torch.zeros_like(h)
        for d, half in enumerate(d_output.split(size, dim=1)):
            d_h[d, batch:] = rows.turned(half, d)
        d_h.index_add_(1, batch + rows.last, d_h_n)
        # a gate's gradient is that of the state times what is known before the loop
        d_gates, d_n = torch.empty_like(gates), torch.empty_like(hidden)
        if is_gru:
            r, z, n = gates.split(size, dim=2)
            d_single_gates = d_gates.split(size, dim=2)
            by_tanh(1 - z, n, grad_input=d_n)
            torch.mul(d_n, r, out=d_single_gates[2])
            by_sigmoid(hidden * d_n, r, grad_input=d_single_gates[0])
            by_sigmoid(earlier - n, z, grad_input=d_single_gates[1])
            three_gates = d_gates.unflatten(2, (3, size))
            by_step = _steps(rows, d_h, d_gates, three_gates, z)
            for before, after, gate, three, z_t in reversed(by_step):
                three.mul_(after.unsqueeze(2))
                before.addcmul_(after, z_t).baddbmm_(gate, w_hh)
        else:
            by_tanh(torch.ones_like(d_n), h[:, batch:], grad_input=d_gates)
            for before, after, gate in reversed(_steps(rows, d_h, d_gates)):
                before.baddbmm_(gate.mul_(after), w_hh)
        d_w_hh, d_b_hh = d_gates.transpose(1, 2) @ earlier, d_gates.sum(1)
        if is_gru:  # from here on, of the products with the inputs
            torch.mul(d_n, d_h[:, batch:], out=d_single_gates[2])
        d_steps = torch.zeros_like(steps)
        d_weights = list[Tensor]()
        for d, gate in enumerate(d_gates):
            d_steps += rows.turned(gate @ weights[4 * d], d)
            d_weights += [gate.T @ rows.turned(steps, d), d_w_hh[d], gate.sum(0), d_b_hh[d]]
        return None, None, d_steps, d_h[:, :batch], *d_weights


def _steps(rows: Rows, states: Tensor, *values: Tensor) -> list[tuple[Tensor, ...]]:
    """Of each step, views: the states before it, the states after it, and each value at it."""
    counts = rows.counts.tolist()
    split_states = states.split([counts[0], *counts], 1)  # the initial ones come first
    before = [state[:, :count] for state, count in zip(split_states, counts, strict=False)]
    split_values = (value.split(counts, 1) for value in values)
    return list(zip(before, split_states[1:], *split_values, strict=True))
