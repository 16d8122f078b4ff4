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
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from seqmodels.nn.recurrence import LayerByHand, runs_by_hand
from seqmodels.nn.rows import Rows
from seqmodels.nn.state import State, parts_of, state_of

CALLS: dict[str, Any] = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh}
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
    directions = 2 if rnn.bidirectional else 1
    if state is None:
        widths = (rnn.proj_size or rnn.hidden_size, rnn.hidden_size)
        start = [
            inputs.new_zeros(rnn.num_layers * directions, inputs.shape[0], width)
            for width in (widths if rnn.mode == "LSTM" else widths[:1])
        ]
    else:
        start = [rows.take_states(part) for part in parts_of(state)]

    layer = rows.take(inputs)
    finals: list[tuple[Tensor, ...]] = []
    for number in range(rnn.num_layers):
        if number > 0 and rnn.dropout:
            kept = layer.new_ones(len(lengths), layer.shape[1]) if locked_dropout else layer
            dropped = F.dropout(kept, rnn.dropout, rnn.training)
            layer = layer * dropped.index_select(0, rows.row) if locked_dropout else dropped
        indices = range(number * directions, (number + 1) * directions)
        given = rnn.all_weights[indices.start : indices.stop]
        weights = [[w if dtype is None else w.to(dtype) for w in each] for each in given]
        if by_hand:
            h_0 = start[0][indices.start : indices.stop]
            layer, h_n = LayerByHand.apply(rnn.mode, rows, layer, h_0, *chain(*weights))
            finals += [(h,) for h in h_n]
            continue
        if rnn.mode == "LSTM" and rows.padded:
            # on a GPU as wide as a multiple of 8, which its tensor cores need
            zeros = 0 if layer.device.type == "cpu" else 7 - layer.shape[1] % 8
            layer = torch.cat([layer, F.pad(rows.padding.to(layer.dtype), (0, zeros))], dim=1)
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
    return rows.put(layer), state_of(*map(rows.put_states, states))


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
