"""LSTM, GRU and RNN by the equations of PyTorch's documentation, one step after another.

Nothing of PyTorch's recurrent kernels is used, nor of `seqmodels.nn`, so that neither can share a
fault with this. Gradients come from autograd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
"""Those of a module of PyTorch, by PyTorch's names, such as `weight_hh_l0_reverse`."""


def run_formulas(
    cell: str,
    weights: Weights,
    inputs: Tensor,
    lengths: Sequence[int],
    states: Sequence[Tensor],
    *,
    layers: int,
    directions: int,
    factors: Tensor | None = None,
) -> list[Tensor]:
    """`output` `(B, T, D*H)`, zero at padding, and the final states, `[h_n, c_n]` or `[h_n]`.

    Args:
        cell: lstm, gru or rnn.
        inputs: `(B, T, F)`, padded at the end.
        states: the initial ones, `[h, c]` of an LSTM, else `[h]`, each `(L*D, B, ...)`.
        factors: what the dropout before the last layer multiplies, `(B, T, D*H)`; None: nothing.
    """
    time = inputs.shape[1]
    row_lengths = torch.as_tensor(lengths)
    is_valid = torch.arange(time) < row_lengths.unsqueeze(1)  # (B, T)
    mask = is_valid.unsqueeze(2).to(inputs.dtype)
    steps = inputs
    final_states: list[list[Tensor]] = []
    for layer in range(layers):
        if factors is not None and layer == layers - 1:
            steps = steps * factors
        outputs: list[Tensor] = []
        for direction in range(directions):
            place = layer * directions + direction
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            weights_of_direction = {
                name.removesuffix(suffix): weight
                for name, weight in weights.items()
                if name.endswith(suffix)
            }
            initial = [state[place] for state in states]
            # A backward direction begins at each row's own last step: it leaves padding alone.
            order = range(time - 1, -1, -1) if direction else range(time)
            output, final = _run_direction(
                cell, weights_of_direction, steps, mask, initial, list(order)
            )
            outputs.append(output)
            final_states.append(final)
        steps = torch.cat(outputs, dim=2)
    return [steps, *(torch.stack(tensors) for tensors in zip(*final_states, strict=True))]


def _run_direction(
    cell: str,
    weights: Weights,
    steps: Tensor,
    mask: Tensor,
    initial: list[Tensor],
    order: list[int],
) -> tuple[Tensor, list[Tensor]]:
    # (B, T, G*H); unbound at once, because the gradient of one slice is as large as the whole.
    products = F.linear(steps, weights["weight_ih"], weights["bias_ih"]).unbind(1)
    validity = mask.unbind(1)
    states = initial
    outputs: dict[int, Tensor] = {}
    for step in order:
        new_states = _step(cell, weights, products[step], states)
        valid = validity[step]
        states = [
            valid * new + (1 - valid) * old for new, old in zip(new_states, states, strict=True)
        ]
        outputs[step] = valid * states[0]
    ordered_outputs = [outputs[step] for step in sorted(outputs)]
    return torch.stack(ordered_outputs, dim=1), states


def _step(cell: str, weights: Weights, product: Tensor, states: list[Tensor]) -> list[Tensor]:
    h = states[0]
    recurrent = F.linear(h, weights["weight_hh"], weights["bias_hh"])
    if cell == "rnn":
        return [torch.tanh(product + recurrent)]
    if cell == "gru":
        r_input, z_input, n_input = product.chunk(3, dim=1)
        r_state, z_state, n_state = recurrent.chunk(3, dim=1)
        r = torch.sigmoid(r_input + r_state)
        z = torch.sigmoid(z_input + z_state)
        n = torch.tanh(n_input + r * n_state)
        return [(1 - z) * n + z * h]
    i, f, g, o = (product + recurrent).chunk(4, dim=1)
    c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    if "weight_hr" in weights:
        h = F.linear(h, weights["weight_hr"])
    return [h, c]
