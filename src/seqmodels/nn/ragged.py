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
# In every floating-point type, sigmoid(-1e4) is 0 and sigmoid(1e4) is 1, as long as a gate's other
# inputs stay well below 1e4 in size. It can't be much larger: float16 ends at 65504.
SATURATED = 1e4
# One more block costs about as much as this many padded steps. With more than 8 blocks, each call
# gets too small to be faster. (Measured in benchmarks/packing.py.)
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
    factors: Sequence[Tensor] | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, State]:
    """Same result as `rnn(pack_padded_sequence(inputs, lengths))`, padded back to `T` steps:
    `output` `(B, T, D*H)`, zero at padding, and the final state in the layout of `state`.

    Args:
        rnn: built with `batch_first=True`.
        inputs: `(B, T, F)`. The content of the padding has no effect.
        lengths: `(B,)` int64 on the CPU.
        state: `(h, c)` for LSTM, else `h`, each `(L*D, B, ...)`; None means zeros.
        factors: of a dropout that is locked: by what the features of each row are multiplied before
            each layer but the first, `(B, D*H)`. None: it drops other features at each step.
        dtype: of `inputs`, where the weights are in another one.
    """
    by_hand = runs_by_hand(rnn, inputs)
    rows = Rows(lengths, inputs.shape[1], inputs.device, exact=by_hand)
    if state is None:
        initial_states = _zero_states(rnn, inputs)
    else:
        initial_states = [rows.take_states(tensor) for tensor in parts_of(state)]

    steps = rows.take(inputs)  # (N, F), and after a layer (N, D*H)
    directions = 2 if rnn.bidirectional else 1
    final_states: list[tuple[Tensor, ...]] = []  # (h, c) or (h,), one for each direction
    for layer in range(rnn.num_layers):
        if layer > 0:
            steps = _dropped(rnn, steps, rows, factors, layer)
        places_of_layer = slice(layer * directions, (layer + 1) * directions)
        weights_by_direction: list[Any] = rnn.all_weights[places_of_layer]
        if dtype is not None:
            weights_by_direction = [_cast(weights, dtype) for weights in weights_by_direction]
        states = [tensor[places_of_layer] for tensor in initial_states]
        if by_hand:
            weights = chain.from_iterable(weights_by_direction)
            steps, h_n = LayerByHand.apply(rnn.mode, rows, steps, states[0], *weights)
            final_states += [(h,) for h in h_n]
        else:
            steps, states_of_layer = _run_layer(rnn, weights_by_direction, steps, states, rows)
            final_states += states_of_layer

    stacked_states = [torch.stack(tensors) for tensors in zip(*final_states, strict=True)]
    output = rows.put(steps)
    states_of_batch = [rows.put_states(tensor) for tensor in stacked_states]
    return output, state_of(*states_of_batch)


def _zero_states(rnn: nn.RNNBase, inputs: Tensor) -> list[Tensor]:
    """The states of rows that begin: `[h, c]` of an LSTM, else `[h]`, each `(L*D, B, ...)`."""
    widths = [rnn.proj_size or rnn.hidden_size]
    if rnn.mode == "LSTM":
        widths.append(rnn.hidden_size)
    layers = rnn.num_layers * (2 if rnn.bidirectional else 1)
    return [inputs.new_zeros(layers, inputs.shape[0], width) for width in widths]


def _dropped(
    rnn: nn.RNNBase, steps: Tensor, rows: Rows, factors: Sequence[Tensor] | None, layer: int
) -> Tensor:
    """The dropout before this layer, `(N, F)`; with `factors`, a locked one."""
    if factors is None:
        return F.dropout(steps, rnn.dropout, rnn.training)
    factors_of_rows = rows.take_rows(factors[layer - 1])
    return steps * factors_of_rows.index_select(0, rows.row)


def _cast(weights: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [weight.to(dtype) for weight in weights]


def _run_layer(
    rnn: nn.RNNBase,
    weights_by_direction: Sequence[Sequence[Tensor]],
    steps: Tensor,
    states: Sequence[Tensor],
    rows: Rows,
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """One layer by PyTorch's operators: `(N, F) -> (N, D*H)`, and the final states of each
    direction."""
    if rnn.mode == "LSTM" and rows.padded:
        steps = _with_padding_column(steps, rows)
    outputs: list[Tensor] = []
    final_states: list[tuple[Tensor, ...]] = []
    for direction, weights in enumerate(weights_by_direction):
        state = tuple(tensor[direction].unsqueeze(0) for tensor in states)
        turned_steps = rows.turned(steps, direction)
        output, final_state = _run_direction(rnn, weights, turned_steps, state, rows)
        outputs.append(rows.turned(output, direction))
        final_states.append(final_state)
    layer_output = torch.cat(outputs, dim=1) if len(outputs) == 2 else outputs[0]
    return layer_output, final_states


def _with_padding_column(steps: Tensor, rows: Rows) -> Tensor:
    """`(N, F) -> (N, F + 1)`: the new column is 1 at padding. On a GPU, columns of zeros follow, up
    to a multiple of 8, which its tensor cores need."""
    zero_columns = 0 if steps.device.type == "cpu" else 7 - steps.shape[1] % 8
    columns = F.pad(rows.padding.to(steps.dtype), (0, zero_columns))
    return torch.cat([steps, columns], dim=1)


def _run_direction(
    rnn: nn.RNNBase, weights: Sequence[Tensor], steps: Tensor, state: tuple[Tensor, ...], rows: Rows
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer, one direction: `output` `(N, H)`, and final `(h, c)` or `(h,)`, `(B, ...)`."""
    is_lstm = rnn.mode == "LSTM"
    if is_lstm and rows.padded:
        weights = _with_saturating_column(rnn, weights, steps.shape[1])
    if steps.device.type != "cpu":
        weights = side_by_side(weights)
    shapes = [(stop - start, row_count) for start, stop, row_count in rows.blocks]
    blocks = steps.split([time * row_count for time, row_count in shapes])
    row_counts_of_next_blocks = [row_count for _, row_count in shapes[1:]]
    row_counts_of_next_blocks.append(0)

    outputs: list[Tensor] = []
    ended_c: list[Tensor] = []  # The c_n of the rows that end in each block.
    for block, shape, next_row_count in zip(blocks, shapes, row_counts_of_next_blocks, strict=True):
        row_count = shape[1]
        state = tuple(tensor[:, :row_count] for tensor in state)
        output, *state_list = CALLS[rnn.mode](
            block.unflatten(0, shape),
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
            c = state[1][0]
            ended_c.append(c[next_row_count:])

    output_of_blocks = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    h_n = output_of_blocks.index_select(0, rows.last)
    if not is_lstm:
        return output_of_blocks, (h_n,)
    ended_c.reverse()  # The longest rows end last, and come first.
    return output_of_blocks, (h_n, torch.cat(ended_c))


def _with_saturating_column(
    rnn: nn.RNNBase, weights: Sequence[Tensor], width: int
) -> Sequence[Tensor]:
    """The weights of an LSTM for steps that `_with_padding_column` has made so wide: at padding,
    the input gate is 0 and the forget gate 1."""
    w_ih = weights[0]  # (4*H, F), by gate: i, f, g, o
    columns = w_ih.new_zeros(len(w_ih), width - w_ih.shape[1])
    columns[: rnn.hidden_size, 0] = -SATURATED
    columns[rnn.hidden_size : 2 * rnn.hidden_size, 0] = SATURATED
    return [torch.cat([w_ih, columns], dim=1), *weights[1:]]


def side_by_side(weights: Sequence[Tensor]) -> list[Tensor]:
    """The same weights in one piece of memory, where cuDNN looks for them: all matrices, then all
    biases. Else it copies them at every call, and warns."""
    order = sorted(range(len(weights)), key=lambda number: weights[number].dim() == 1)
    flat_weights = [weights[number].flatten() for number in order]
    sizes = [len(flat_weight) for flat_weight in flat_weights]
    placed_weights = torch.cat(flat_weights).split(sizes)
    placed_by_number = dict(zip(order, placed_weights, strict=True))
    return [placed_by_number[number].view_as(weight) for number, weight in enumerate(weights)]


def run_in(
    dtype: torch.dtype, rnn: nn.RNNBase, inputs: Tensor | PackedSequence, state: State | None
) -> Any:
    """`rnn(inputs, state)`, with its weights in this type."""
    names = [name for name, _ in rnn.named_parameters()]
    cast_weights = [weight.to(dtype) for weight in rnn.parameters()]
    placed_weights = side_by_side(cast_weights)
    weights_by_name = dict(zip(names, placed_weights, strict=True))
    return torch.func.functional_call(rnn, weights_by_name, (inputs, state))


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
        batch = len(lengths)
        longest = int(lengths.max())
        self.shape = (batch, time)
        self.longest = longest
        self.padded = not exact and bool((lengths < longest).any())
        self.sorted = False
        if device.type == "cpu":
            descending_lengths, order = lengths.sort(descending=True, stable=True)
            if exact:
                counts = valid_steps(descending_lengths, longest).sum(0)
            else:
                self.blocks = time_blocks(descending_lengths, on_cpu=True)
                counts = _rows_at_each_step(self.blocks)
            self.counts = counts  # (longest,): how many rows each step has
            self.sorted = int(counts[-1]) < batch
        else:
            self.blocks = time_blocks(lengths, on_cpu=False)

        all_rows = torch.arange(batch, device=device)
        all_steps = torch.arange(longest, device=device)
        if self.sorted:
            length = descending_lengths
            starts = counts.cumsum(0) - counts  # (longest,): where the rows of a step begin
            step = all_steps.repeat_interleave(counts)  # (N,)
            row = torch.arange(len(step)) - starts.index_select(0, step)  # (N,)
            self.order = order  # (B,): from the batch to these rows
            self.original = order.argsort()  # (B,): and back
            self.places = order.index_select(0, row) * time + step  # (N,) in `(B * T, ...)`
        else:
            length = on_device(lengths, device)
            starts = all_steps * batch
            step = all_steps.unsqueeze(1).expand(-1, batch).flatten()
            row = all_rows.repeat(longest)
        self.row = row  # (N,)

        # A backward direction reads, in place of a valid step, its mirror image in the row.
        end = length.index_select(0, row)  # (N,)
        is_valid = step < end
        mirrored_step = torch.where(is_valid, end - 1 - step, step)
        self.reversal = starts.index_select(0, mirrored_step) + row  # (N,) in `(N, ...)`
        self.padding = ~is_valid.unsqueeze(1)  # (N, 1)
        self.last = starts.index_select(0, length - 1) + all_rows  # (B,) in `(N, ...)`

    def take(self, inputs: Tensor) -> Tensor:
        """`(B, T, F) -> (N, F)`, zero at padding."""
        if self.sorted:
            steps = inputs.flatten(0, 1).index_select(0, self.places)
        else:
            steps = inputs[:, : self.longest].transpose(0, 1).flatten(0, 1)
        return steps.masked_fill(self.padding, 0.0) if self.padded else steps

    def take_rows(self, values: Tensor) -> Tensor:
        """`(B, ...)` in the order of these rows."""
        return values.index_select(0, self.order) if self.sorted else values

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
            zeros = steps.new_zeros(batch * time, steps.shape[1])
            return zeros.index_add(0, self.places, steps).unflatten(0, self.shape)
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


def _rows_at_each_step(blocks: list[tuple[int, int, int]]) -> Tensor:
    """How many rows each step has, `(T,)`, in these blocks of `time_blocks`."""
    counts = [torch.full((stop - start,), row_count) for start, stop, row_count in blocks]
    return torch.cat(counts)


def time_blocks(lengths: Tensor, *, on_cpu: bool) -> list[tuple[int, int, int]]:
    """Cuts a batch in time: `(start, stop, rows of the block)`. On a CPU where rows end, each block
    with those that have not; elsewhere only where a call would have too many steps. `lengths` are
    on a CPU longest first."""
    row_count = len(lengths)
    longest = int(lengths.max())
    if on_cpu:
        padded_steps = row_count * longest - int(lengths.sum())
        block_count = int((padded_steps / STEPS_PER_BLOCK) ** 0.5)
        block_count = min(max(block_count, 1), MOST_BLOCKS)
        stops = {int(lengths[row_count * block // block_count]) for block in range(block_count)}
    else:
        stops = {longest, *range(MOST_STEPS, longest, MOST_STEPS)}

    blocks: list[tuple[int, int, int]] = []
    start = 0
    for stop in sorted(stops):
        running_rows = int((lengths > start).sum()) if on_cpu else row_count
        blocks.append((start, stop, running_rows))
        start = stop
    return blocks


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
    products, those of the weights' gradients too, are one for all steps. A step of the GRU:

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
        z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        q = W_hn h + b_hn
        n = tanh(W_in x + b_in + r * q)
        h = n + z * (h - n)
    """

    @staticmethod
    def forward(
        ctx: Any, mode: str, rows: Rows, steps: Tensor, h_0: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        batch, size = h_0.shape[1:]
        w_hh = torch.stack(weights[1::4])  # (D, G*H, H)
        b_hh = torch.stack(weights[3::4])  # (D, G*H)
        # `gates` holds the products with the inputs before the loop, and after it the gates.
        gates = _products_with_inputs(mode, rows, steps, weights, b_hh)  # (D, N, G*H)
        single_gates = gates.split(size, dim=2)
        q = torch.empty_like(single_gates[0])  # (D, N, H); an RNN leaves it empty
        h = torch.cat([h_0, q], dim=1)  # (D, B + N, H): h_0, then h after each step
        w = w_hh.transpose(1, 2)
        if mode == "GRU":
            r_and_z = gates[:, :, : 2 * size]
            b_n = b_hh[:, None, 2 * size :]
            w_rz, w_n = w.split([2 * size, size], dim=2)
            by_step = _steps(rows, h, r_and_z, *single_gates, q)
            for h_before, h_after, rz_t, r_t, z_t, n_t, q_t in by_step:
                rz_t.baddbmm_(h_before, w_rz).sigmoid_()
                torch.baddbmm(b_n, h_before, w_n, out=q_t)
                n_t.addcmul_(r_t, q_t).tanh_()
                torch.lerp(n_t, h_before, z_t, out=h_after)
        else:
            for h_before, h_after, gate in _steps(rows, h, gates):
                gate.baddbmm_(h_before, w)
                torch.tanh(gate, out=h_after)
        ctx.mode = mode
        ctx.rows = rows
        ctx.save_for_backward(steps, h_0, *weights, gates, q, h)
        h_after_steps = h[:, batch:]
        halves = [rows.turned(half, direction) for direction, half in enumerate(h_after_steps)]
        return torch.cat(halves, dim=1), h.index_select(1, batch + rows.last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        # `d_x` is the gradient of the loss in `x`.
        rows: Rows = ctx.rows
        is_gru = ctx.mode == "GRU"
        steps, h_0, *weights, gates, q, h = ctx.saved_tensors
        batch, size = h_0.shape[1:]
        w_hh = torch.stack(weights[1::4])
        h_before_steps = torch.cat([h_before for h_before, _ in _steps(rows, h)], dim=1)

        # `d_h` holds what comes from the output and h_n, and the loop adds what comes from later
        # steps, from the last step to the first.
        d_h = torch.zeros_like(h)
        for direction, half in enumerate(d_output.split(size, dim=1)):
            d_h[direction, batch:] = rows.turned(half, direction)
        d_h.index_add_(1, batch + rows.last, d_h_n)

        # A gate's gradient is that of h times a factor that needs no later step. `d_gates` holds
        # these factors before the loop, and after it the gradients.
        d_gates = torch.empty_like(gates)
        n_factor = torch.empty_like(q)  # The factor for what n is the tanh of.
        if is_gru:
            r, z, n = gates.split(size, dim=2)
            d_r, d_z, d_q = d_gates.split(size, dim=2)
            by_tanh(1 - z, n, grad_input=n_factor)
            torch.mul(n_factor, r, out=d_q)
            by_sigmoid(q * n_factor, r, grad_input=d_r)
            by_sigmoid(h_before_steps - n, z, grad_input=d_z)
            d_three_gates = d_gates.unflatten(2, (3, size))
            by_step = _steps(rows, d_h, d_gates, d_three_gates, z)
            for d_before, d_after, d_gates_t, d_three_gates_t, z_t in reversed(by_step):
                d_three_gates_t.mul_(d_after.unsqueeze(2))
                d_before.addcmul_(d_after, z_t).baddbmm_(d_gates_t, w_hh)
        else:
            by_tanh(torch.ones_like(n_factor), h[:, batch:], grad_input=d_gates)
            for d_before, d_after, d_gate_t in reversed(_steps(rows, d_h, d_gates)):
                d_gate_t.mul_(d_after)
                d_before.baddbmm_(d_gate_t, w_hh)

        d_w_hh = d_gates.transpose(1, 2) @ h_before_steps
        d_b_hh = d_gates.sum(1)
        if is_gru:
            # From here on, the last third of `d_gates` is the gradient of W_in x, not of q.
            d_n = d_q
            torch.mul(n_factor, d_h[:, batch:], out=d_n)
        d_steps = torch.zeros_like(steps)
        d_weights: list[Tensor] = []
        for direction, d_gate in enumerate(d_gates):
            w_ih = weights[4 * direction]
            d_steps += rows.turned(d_gate @ w_ih, direction)
            d_w_ih = d_gate.T @ rows.turned(steps, direction)
            d_b_ih = d_gate.sum(0)
            d_weights += [d_w_ih, d_w_hh[direction], d_b_ih, d_b_hh[direction]]
        return None, None, d_steps, d_h[:, :batch], *d_weights


def _products_with_inputs(
    mode: str, rows: Rows, steps: Tensor, weights: Sequence[Tensor], b_hh: Tensor
) -> Tensor:
    """`(D, N, G*H)`: what each gate gets from the inputs and the biases, for all steps at once."""
    directions, width = b_hh.shape
    products = steps.new_empty(directions, len(steps), width)
    biases = b_hh
    if mode == "GRU":  # Here b_hn is missing: r multiplies it, and the loop adds it.
        size = width // 3
        biases = F.pad(b_hh[:, : 2 * size], (0, size))
    for direction in range(directions):
        w_ih = weights[4 * direction]
        b_ih = weights[4 * direction + 2]
        turned_steps = rows.turned(steps, direction)
        bias = b_ih + biases[direction]
        torch.addmm(bias, turned_steps, w_ih.T, out=products[direction])
    return products


def _steps(rows: Rows, states: Tensor, *values: Tensor) -> list[tuple[Tensor, ...]]:
    """For each step, views: the states before it, the states after it, and each value at it.

    Args:
        states: `(D, B + N, ...)`: the initial ones, then those after each step.
        values: each `(D, N, ...)`.
    """
    counts = rows.counts.tolist()
    initial_states, *states_after = states.split([counts[0], *counts], 1)
    previous_states = [initial_states, *states_after[:-1]]
    states_before = [state[:, :count] for state, count in zip(previous_states, counts, strict=True)]
    values_by_step = [value.split(counts, 1) for value in values]
    return list(zip(states_before, states_after, *values_by_step, strict=True))
