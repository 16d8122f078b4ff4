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
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.recurrence import Calls, calls_for
from seqmodels.nn.state import State
from seqmodels.padding import valid_steps

# Measured (benchmarks/packing.py): one more block costs about as much as this many padded steps,
# and with more than 8 blocks each call gets too small to be faster.
STEPS_PER_BLOCK = 128
MOST_BLOCKS = 8
# cuDNN fails on more steps (https://github.com/pytorch/pytorch/issues/133751)
MOST_STEPS = 65_535
# sigmoid(-1e4) == 0 and sigmoid(1e4) == 1 in every floating-point type, as long as the gate's other
# inputs stay well below 1e4 in size (fp16 ends at 65504, so it can't be much larger)
SATURATED = 1e4


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


def time_blocks(lengths: Tensor) -> list[tuple[int, int, int]]:
    """Cuts a batch in time where rows end: `(start, stop, rows that have not ended)`.

    Args:
        lengths: `(B,)`, longest first.
    """
    rows, longest = len(lengths), int(lengths[0])
    padded_steps = rows * longest - int(lengths.sum())
    count = min(max(int((padded_steps / STEPS_PER_BLOCK) ** 0.5), 1), MOST_BLOCKS)
    stops = sorted({int(lengths[rows * block // count]) for block in range(count)})
    starts = [0, *stops[:-1]]
    return [(a, b, int((lengths > a).sum())) for a, b in zip(starts, stops, strict=True)]


def long_calls(longest: int, rows: int) -> list[tuple[int, int, int]]:
    """As `time_blocks`, but cuts a batch only where a call would have too many steps."""
    starts = range(0, longest, MOST_STEPS)
    return [(start, min(start + MOST_STEPS, longest), rows) for start in starts]


class _Rows:
    """A batch's rows sorted longest first, its padding, and its blocks of time.

    All tensors here are time first, `(T, B, ...)`, the layout of the cells: batch first would need
    a transpose in every call.
    """

    def __init__(
        self, lengths: Tensor, device: torch.device, *, reversible: bool, time: Any = None
    ) -> None:
        count = lengths.shape[0]
        sorted_lengths, order = lengths.sort(descending=True, stable=True)
        self.longest = int(lengths.max()) if time is None else time
        if time is not None:
            self.blocks = [(0, time, count)]
        elif device.type == "cpu":
            self.blocks = time_blocks(sorted_lengths)
        else:
            self.blocks = long_calls(self.longest, count)
        self.sorted = len(self.blocks) > 1
        if not self.sorted:
            sorted_lengths = lengths
        self.order = order.to(device, non_blocking=True)
        self.original = order.argsort().to(device, non_blocking=True)
        self.last = (sorted_lengths - 1).to(device, non_blocking=True)
        padding = ~valid_steps(sorted_lengths, self.longest, device)
        self.padding = padding.T.unsqueeze(-1).contiguous()  # (T, B, 1)
        if reversible:
            step, row = torch.arange(self.longest).unsqueeze(1), torch.arange(count)
            mirrored = torch.where(step < sorted_lengths, sorted_lengths - 1 - step, step)  # (T, B)
            self.reversal = (mirrored * count + row).flatten().to(device, non_blocking=True)

    def sort(self, x: Tensor, dim: int) -> Tensor:
        return x.index_select(dim, self.order) if self.sorted else x

    def unsort(self, x: Tensor, dim: int) -> Tensor:
        return x.index_select(dim, self.original) if self.sorted else x

    def reverse(self, x: Tensor) -> Tensor:
        """Each row reversed within its own length: `(T, B, F)`."""
        return _Permute.apply(x.flatten(0, 1), self.reversal).view_as(x)

    def at_last_step(self, x: Tensor) -> Tensor:
        """`(T, B, F) -> (B, F)` at `length - 1`."""
        index = self.last.view(1, -1, 1).expand(1, -1, x.shape[-1])
        return x.gather(0, index).squeeze(0)


def run_padded(
    rnn: nn.RNNBase,
    inputs: Tensor,
    lengths: Tensor,
    state: State | None = None,
    *,
    locked_dropout: bool = False,
    weight_dropout: float = 0.0,
    traced: Calls | None = None,
) -> tuple[Tensor, State]:
    """Same result as `rnn(pack_padded_sequence(inputs, lengths))`, padded back to `T` steps.

    Args:
        rnn: built with `batch_first=True`.
        inputs: `(B, T, F)`. The content of the padding has no effect.
        lengths: `(B,)` int64 on the CPU.
        state: `(h, c)` for LSTM, else `h`, each `(L*D, B, ...)`; None means zeros.
        locked_dropout: the dropout between layers drops the same features at all steps of a row.
        weight_dropout: the share of the weights from `h` to the next `h` to drop in training.
        traced: what to call instead, to trace a program for any lengths: it has all steps in one
            block.

    Returns:
        `output` `(B, T, D*H)`, zero at padding, and the final state in the layout of `state`.
    """
    time = None if traced is None else inputs.shape[1]
    calls = traced or calls_for(inputs, rnn.all_weights[0][0])
    rows = _Rows(lengths, inputs.device, reversible=rnn.bidirectional, time=time)
    directions = 2 if rnn.bidirectional else 1
    if state is None:
        widths = (rnn.proj_size or rnn.hidden_size, rnn.hidden_size)
        start = [
            inputs.new_zeros(rnn.num_layers * directions, inputs.shape[0], width)
            for width in (widths if rnn.mode == "LSTM" else widths[:1])
        ]
    else:
        start = [rows.sort(part, 1) for part in ([state] if isinstance(state, Tensor) else state)]

    layer = rows.sort(inputs[:, : rows.longest].transpose(0, 1), dim=1)
    layer = layer.masked_fill(rows.padding, 0.0)
    finals: list[tuple[Tensor, ...]] = []
    for number in range(rnn.num_layers):
        if number > 0 and rnn.dropout:
            if locked_dropout:  # dropout1d drops whole channels of (B, F, T)
                layer = F.dropout1d(layer.permute(1, 2, 0), rnn.dropout, rnn.training)
                layer = layer.permute(2, 0, 1)
            else:
                layer = F.dropout(layer, rnn.dropout, rnn.training)
        if rnn.mode == "LSTM":
            layer = torch.cat([layer, rows.padding.to(layer.dtype)], dim=-1)
        outputs = []
        for direction in range(directions):
            index = number * directions + direction
            weights: list[Tensor] = [*rnn.all_weights[index]]
            if weight_dropout:
                weights[1] = F.dropout(weights[1], weight_dropout, rnn.training)
            output, final = _run_direction(
                rnn,
                weights,
                rows.reverse(layer) if direction else layer,
                tuple(part[index].unsqueeze(0) for part in start),
                rows,
                calls[rnn.mode],
            )
            finals.append(final)
            outputs.append(rows.reverse(output) if direction else output)
        layer = torch.cat(outputs, dim=-1) if directions == 2 else outputs[0]

    output = rows.unsort(layer.masked_fill(rows.padding, 0.0), dim=1)
    output = F.pad(output, (0, 0, 0, 0, 0, inputs.shape[1] - rows.longest)).transpose(0, 1)
    h_n, *c_n = (rows.unsort(torch.stack(part), dim=1) for part in zip(*finals, strict=True))
    return output, (h_n, c_n[0]) if c_n else h_n


def side_by_side(weights: Sequence[Tensor]) -> list[Tensor]:
    """The same weights in one piece of memory; else cuDNN copies them at every call, and warns."""
    parts = torch.cat([weight.flatten() for weight in weights]).split([w.numel() for w in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def _run_direction(
    rnn: nn.RNNBase,
    weights: Sequence[Tensor],
    steps: Tensor,
    state: tuple[Tensor, ...],
    rows: _Rows,
    call: Callable[..., tuple[Tensor, ...]],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer, one direction: `output` `(T, B, H)`, and final `(h, c)` or `(h,)`, `(B, ...)`."""
    is_lstm = rnn.mode == "LSTM"
    if is_lstm:
        column = torch.zeros_like(weights[0][:, :1])  # gates in PyTorch's order: i, f, g, o
        column[: rnn.hidden_size] = -SATURATED
        column[rnn.hidden_size : 2 * rnn.hidden_size] = SATURATED
        weights = [torch.cat([weights[0], column], dim=1), *weights[1:]]
    if steps.device.type == "cuda":
        weights = side_by_side(weights)
    total = steps.shape[1]
    outputs: list[Tensor] = []
    ended: list[Tensor] = []  # c_n of the rows that end in each block
    running = [rows_in_block for _, _, rows_in_block in rows.blocks]
    for (start, stop, count), still in zip(rows.blocks, [*running[1:], 0], strict=True):
        state = tuple(part[:, :count] for part in state)
        output, *state_list = call(
            steps[start:stop, :count],
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
        outputs.append(F.pad(output, (0, 0, 0, total - count)) if count < total else output)
        if is_lstm:
            ended.append(state[1][0, still:])
    output = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    h_n = rows.at_last_step(output)
    return output, (h_n, torch.cat(ended[::-1])) if is_lstm else (h_n,)
