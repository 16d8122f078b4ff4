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
batch stays whole there. On a CPU, a GRU and an RNN, which oneDNN lacks, run by hand, without any
padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.recurrence import CALLS, LayerByHand, runs_by_hand
from seqmodels.nn.rows import Rows
from seqmodels.nn.state import State, parts_of, state_of

# sigmoid(-1e4) == 0 and sigmoid(1e4) == 1 in every floating-point type, as long as the gate's other
# inputs stay well below 1e4 in size (fp16 ends at 65504, so it can't be much larger)
SATURATED = 1e4


def run_padded(
    rnn: nn.RNNBase,
    inputs: Tensor,
    lengths: Tensor,
    state: State | None = None,
    *,
    locked_dropout: bool = False,
) -> tuple[Tensor, State]:
    """Same result as `rnn(pack_padded_sequence(inputs, lengths))`, padded back to `T` steps.

    Args:
        rnn: built with `batch_first=True`.
        inputs: `(B, T, F)`. The content of the padding has no effect.
        lengths: `(B,)` int64 on the CPU.
        state: `(h, c)` for LSTM, else `h`, each `(L*D, B, ...)`; None means zeros.
        locked_dropout: the dropout between layers drops the same features at all steps of a row.

    Returns:
        `output` `(B, T, D*H)`, zero at padding, and the final state in the layout of `state`.
    """
    by_hand = runs_by_hand(rnn, inputs)
    rows = Rows(lengths, inputs.shape[1], inputs.device, exact=by_hand)
    directions = 2 if rnn.bidirectional else 1
    if state is None:
        widths = (rnn.proj_size or rnn.hidden_size, rnn.hidden_size)
        start = [
            inputs.new_zeros(rnn.num_layers * directions, inputs.shape[0], width)
            for width in (widths if rnn.mode == "LSTM" else widths[:1])
        ]
    else:
        start = [part.index_select(1, rows.order) for part in parts_of(state)]

    layer = rows.take(inputs)
    finals: list[tuple[Tensor, ...]] = []
    for number in range(rnn.num_layers):
        if number > 0 and rnn.dropout:
            if locked_dropout:
                mask = F.dropout(
                    layer.new_ones(len(lengths), layer.shape[1]), rnn.dropout, rnn.training
                )
                layer = layer * mask.index_select(0, rows.row)
            else:
                layer = F.dropout(layer, rnn.dropout, rnn.training)
        indices = range(number * directions, (number + 1) * directions)
        weights = rnn.all_weights[indices.start : indices.stop]
        if by_hand:
            h_0 = start[0][indices.start : indices.stop]
            layer, h_n = LayerByHand.apply(rnn.mode, rows, layer, h_0, *chain(*weights))
            finals += [(h,) for h in h_n]
            continue
        if rnn.mode == "LSTM":
            layer = torch.cat([layer, rows.padding.to(layer.dtype)], dim=1)
        outputs = []
        for direction, index in enumerate(indices):
            output, final = _run_direction(
                rnn,
                weights[direction],
                rows.turned(layer, direction),
                tuple(part[index].unsqueeze(0) for part in start),
                rows,
            )
            finals.append(final)
            outputs.append(rows.turned(output, direction))
        layer = torch.cat(outputs, dim=1) if directions == 2 else outputs[0]

    states = (torch.stack(part) for part in zip(*finals, strict=True))
    return rows.put(layer), state_of(*(x.index_select(1, rows.original) for x in states))


def side_by_side(weights: Sequence[Tensor]) -> list[Tensor]:
    """The same weights in one piece of memory; else cuDNN copies them at every call, and warns."""
    parts = torch.cat([weight.flatten() for weight in weights]).split([w.numel() for w in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def _run_direction(
    rnn: nn.RNNBase,
    weights: Sequence[Tensor],
    steps: Tensor,
    state: tuple[Tensor, ...],
    rows: Rows,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer, one direction: `output` `(N, H)`, and final `(h, c)` or `(h,)`, `(B, ...)`."""
    is_lstm = rnn.mode == "LSTM"
    if is_lstm:
        column = torch.zeros_like(weights[0][:, :1])  # gates in PyTorch's order: i, f, g, o
        column[: rnn.hidden_size] = -SATURATED
        column[rnn.hidden_size : 2 * rnn.hidden_size] = SATURATED
        weights = [torch.cat([weights[0], column], dim=1), *weights[1:]]
    if steps.device.type == "cuda":
        weights = side_by_side(weights)
    outputs: list[Tensor] = []
    ended: list[Tensor] = []  # c_n of the rows that end in each block
    shapes = [(stop - start, count) for start, stop, count in rows.blocks]
    still_running = [*(count for _, count in shapes[1:]), 0]
    parts = steps.split([length * count for length, count in shapes])
    for part, (length, count), still in zip(parts, shapes, still_running, strict=True):
        state = tuple(x[:, :count] for x in state)
        output, *state_list = CALLS[rnn.mode](
            part.unflatten(0, (length, count)),
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
