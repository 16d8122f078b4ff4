"""A layer of `nn.GRU` or `nn.RNN` on a CPU, with a backward pass by hand.

oneDNN has neither, and PyTorch's own loop records every operation of every step. Here a layer is
one node of the graph: a step computes only what needs the step before, for both directions at once;
all other products, those of the weights' gradients too, are one for all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.rows import Rows

CALLS: Mapping[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
}
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
    """`steps` `(N, F)` and `h_0` `(D, B, H)` to `output` `(N, D*H)` and `h_n` `(D, B, H)`."""

    @staticmethod
    def forward(
        ctx: Any, mode: str, rows: Rows, steps: Tensor, h_0: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        directions, batch, size = h_0.shape
        w_hh, b_hh = (torch.stack(weights[part::4]) for part in (1, 3))
        gates = steps.new_empty(directions, len(steps), w_hh.shape[1])
        for d, (w_ih, b_ih) in enumerate(zip(weights[::4], weights[2::4], strict=True)):
            # in a GRU, r multiplies the last third of b_hh as well
            bias = F.pad(b_hh[d, : 2 * size], (0, size)) if mode == "GRU" else b_hh[d]
            torch.addmm(b_ih + bias, rows.turned(steps, d), w_ih.T, out=gates[d])
        parts, w = gates.split(size, dim=2), w_hh.transpose(1, 2)
        hidden = torch.empty_like(parts[0])  # of a GRU: what r multiplies
        h = torch.cat([h_0, hidden], dim=1)
        if mode == "GRU":
            both, b_n = gates[:, :, : 2 * size], b_hh[:, None, 2 * size :]
            w, w_n = w.split([2 * size, size], dim=2)
            for before, after, r_z, r, z, n, q in _steps(rows, h, both, *parts, hidden):
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
    def backward(ctx: Any, d_output: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        rows, (*given, gates, hidden, h) = ctx.rows, ctx.saved_tensors
        (directions, batch, size), is_gru = given[1].shape, ctx.mode == "GRU"
        if torch.is_grad_enabled():  # for the gradient of a gradient: PyTorch's own loop
            own = [x.view_as(x) for x in given]  # `h_0` may depend on the weights as well
            data, h_0, *weights = own
            results = CALLS[ctx.mode](
                data, rows.counts, h_0, weights, True, 1, 0.0, True, directions == 2
            )
            wanted = [x for x in own if x.requires_grad]
            found = iter(torch.autograd.grad(results, wanted, (d_output, d_h_n), create_graph=True))
            return None, None, *(next(found) if x.requires_grad else None for x in own)
        steps, _, *weights = given
        w_hh = torch.stack(weights[1::4])
        earlier = torch.cat([before for before, _ in _steps(rows, h)], dim=1)
        d_h = torch.zeros_like(h)
        for d, half in enumerate(d_output.split(size, dim=1)):
            d_h[d, batch:] = rows.turned(half, d)
        d_h.index_add_(1, batch + rows.last, d_h_n)
        # a gate's gradient is that of the state times what is known before the loop
        d_gates, d_n = torch.empty_like(gates), torch.empty_like(hidden)
        if is_gru:
            (r, z, n), d_parts = gates.split(size, dim=2), d_gates.split(size, dim=2)
            by_tanh(1 - z, n, grad_input=d_n)
            torch.mul(d_n, r, out=d_parts[2])
            by_sigmoid(hidden * d_n, r, grad_input=d_parts[0])
            by_sigmoid(earlier - n, z, grad_input=d_parts[1])
            threes = d_gates.unflatten(2, (3, size))
            for before, after, gate, three, z_t in reversed(_steps(rows, d_h, d_gates, threes, z)):
                three.mul_(after.unsqueeze(2))
                before.addcmul_(after, z_t).baddbmm_(gate, w_hh)
        else:
            by_tanh(torch.ones_like(d_n), h[:, batch:], grad_input=d_gates)
            for before, after, gate in reversed(_steps(rows, d_h, d_gates)):
                before.baddbmm_(gate.mul_(after), w_hh)
        d_w_hh, d_b_hh = d_gates.transpose(1, 2) @ earlier, d_gates.sum(1)
        if is_gru:  # from here on, of the products with the inputs
            torch.mul(d_n, d_h[:, batch:], out=d_parts[2])
        d_steps, d_weights = torch.zeros_like(steps), list[Tensor]()
        for d, gate in enumerate(d_gates):
            d_steps += rows.turned(gate @ weights[4 * d], d)
            d_weights += [gate.T @ rows.turned(steps, d), d_w_hh[d], gate.sum(0), d_b_hh[d]]
        return None, None, d_steps, d_h[:, :batch], *d_weights


def _steps(rows: Rows, states: Tensor, *values: Tensor) -> list[tuple[Tensor, ...]]:
    """For each step: the states before it, the states after it, its part of each value."""
    sizes = rows.counts.tolist()
    split = states.split([sizes[0], *sizes], 1)  # the initial ones come first
    before = [state[:, :size] for state, size in zip(split, sizes, strict=False)]
    return list(zip(before, split[1:], *(value.split(sizes, 1) for value in values), strict=True))
