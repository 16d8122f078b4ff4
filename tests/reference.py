"""LSTM, GRU and RNN cell by cell, as their equations stand in PyTorch's documentation.

Slow on purpose: one row at a time, at that row's own length, one step after the other. No padding,
no packing, no `nn.LSTM`. Reads a `state_dict` of `nn.LSTM`, `nn.GRU` or `nn.RNN`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # (h, c) for LSTM, (h,) for GRU and RNN


def lstm_step(x: Tensor, state: State, weights: Mapping[str, Tensor]) -> State:
    """https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html"""
    h, c = state
    w_ii, w_if, w_ig, w_io = weights["weight_ih"].chunk(4)
    w_hi, w_hf, w_hg, w_ho = weights["weight_hh"].chunk(4)
    b_ii, b_if, b_ig, b_io = weights["bias_ih"].chunk(4)
    b_hi, b_hf, b_hg, b_ho = weights["bias_hh"].chunk(4)
    i = torch.sigmoid(w_ii @ x + b_ii + w_hi @ h + b_hi)
    f = torch.sigmoid(w_if @ x + b_if + w_hf @ h + b_hf)
    g = torch.tanh(w_ig @ x + b_ig + w_hg @ h + b_hg)
    o = torch.sigmoid(w_io @ x + b_io + w_ho @ h + b_ho)
    c = f * c + i * g
    h = o * torch.tanh(c)
    if "weight_hr" in weights:  # proj_size > 0
        h = weights["weight_hr"] @ h
    return h, c


def gru_step(x: Tensor, state: State, weights: Mapping[str, Tensor]) -> State:
    """https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html"""
    (h,) = state
    w_ir, w_iz, w_in = weights["weight_ih"].chunk(3)
    w_hr, w_hz, w_hn = weights["weight_hh"].chunk(3)
    b_ir, b_iz, b_in = weights["bias_ih"].chunk(3)
    b_hr, b_hz, b_hn = weights["bias_hh"].chunk(3)
    r = torch.sigmoid(w_ir @ x + b_ir + w_hr @ h + b_hr)
    z = torch.sigmoid(w_iz @ x + b_iz + w_hz @ h + b_hz)
    n = torch.tanh(w_in @ x + b_in + r * (w_hn @ h + b_hn))
    return ((1 - z) * n + z * h,)


def rnn_step(x: Tensor, state: State, weights: Mapping[str, Tensor]) -> State:
    """https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html"""
    (h,) = state
    w_ih, w_hh = weights["weight_ih"], weights["weight_hh"]
    return (torch.tanh(w_ih @ x + weights["bias_ih"] + w_hh @ h + weights["bias_hh"]),)


STEPS = {"lstm": lstm_step, "gru": gru_step, "rnn": rnn_step}


def weights_of(state_dict: Mapping[str, Tensor], layer: int, backward: bool) -> dict[str, Tensor]:
    """The weights of one layer and direction, without the suffix of their names."""
    suffix = f"_l{layer}" + ("_reverse" if backward else "")
    return {
        name.removesuffix(suffix): value
        for name, value in state_dict.items()
        if name.endswith(suffix)
    }


def zero_state(cell: str, weights: Mapping[str, Tensor]) -> State:
    """Zeros as wide as `h` and, for LSTM, `c`."""
    w_hh = weights["weight_hh"]
    h = w_hh.new_zeros(w_hh.shape[1])
    return (h, w_hh.new_zeros(w_hh.shape[0] // 4)) if cell == "lstm" else (h,)


def run_row(
    cell: str, state_dict: Mapping[str, Tensor], row: Tensor, state: Sequence[Tensor] | None = None
) -> tuple[Tensor, list[State]]:
    """One sequence without padding.

    Args:
        row: `(T, F)`.
        state: `h`, and for LSTM `c`, each `(L*D, ...)`, in PyTorch's order of layers and
            directions; None starts from zeros.

    Returns:
        `output` `(T, D*H)` of the last layer, and for each layer and direction its final state.
    """
    layers = sum(name.startswith("weight_ih") for name in state_dict)
    bidirectional = "weight_ih_l0_reverse" in state_dict
    directions = 2 if bidirectional else 1
    finals: list[State] = []
    steps = list(row)
    for layer in range(layers // directions):
        halves = []
        for backward in [False, True][:directions]:
            weights = weights_of(state_dict, layer, backward)
            if state is None:
                now = zero_state(cell, weights)
            else:
                now = tuple(part[layer * directions + backward] for part in state)
            half: list[Tensor] = []
            for x in reversed(steps) if backward else steps:
                now = STEPS[cell](x, now, weights)
                half.append(now[0])
            halves.append(half[::-1] if backward else half)
            finals.append(now)
        steps = [torch.cat(parts) for parts in zip(*halves, strict=True)]
    return torch.stack(steps), finals


def run_reference(
    cell: str,
    state_dict: Mapping[str, Tensor],
    inputs: Tensor,
    lengths: Sequence[int],
    state: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A padded batch, row by row.

    Args:
        inputs: `(B, T, F)`.
        state: `h`, and for LSTM `c`, each `(L*D, B, ...)`.

    Returns:
        `output` `(B, T, D*H)`, zero at padding; `h_n` and `c_n` `(L*D, B, ...)`, `c_n` None but
        for LSTM.
    """
    outputs, finals = [], []
    for b, length in enumerate(lengths):
        start = None if state is None else [part[:, b] for part in state]
        output, final = run_row(cell, state_dict, inputs[b, :length], start)
        padding = output.new_zeros(inputs.shape[1] - length, output.shape[1])
        outputs.append(torch.cat([output, padding]))
        finals.append(final)
    h_n = torch.stack([torch.stack([part[0] for part in final]) for final in finals], dim=1)
    c_n = None
    if cell == "lstm":
        c_n = torch.stack([torch.stack([part[1] for part in final]) for final in finals], dim=1)
    return torch.stack(outputs), h_n, c_n
