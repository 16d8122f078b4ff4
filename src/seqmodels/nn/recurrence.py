"""A layer of `nn.GRU` or `nn.RNN` on a CPU, with a backward pass by hand.

oneDNN has neither, and PyTorch's own loop records every operation of every step. Here a layer is
one node of the graph: a step computes only what needs the step before, and the other products,
those of the weights' gradients among them, are one for all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

Calls = Mapping[str, Callable[..., tuple[Tensor, ...]]]
CALLS: Calls = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh}
by_sigmoid = torch.ops.aten.sigmoid_backward.grad_input  # g * s * (1 - s)
by_tanh = torch.ops.aten.tanh_backward.grad_input  # g * (1 - t * t)


class _Layer(torch.autograd.Function):
    """`steps` `(T, B, F)` and `h_0` `(1, B, H)` to `output` `(T, B, H)` and `h_n` `(1, B, H)`."""

    @staticmethod
    def forward(
        ctx: Any,
        mode: str,
        steps: Tensor,
        h_0: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        time, batch, size = *steps.shape[:2], h_0.shape[2]
        # in a GRU, r multiplies the last third of b_hh as well
        bias = F.pad(b_hh[: 2 * size], (0, size)) if mode == "GRU" else b_hh
        gates = torch.addmm(b_ih + bias, steps.flatten(0, 1), w_ih.T).view(time, batch, -1)
        parts = gates.split(size, dim=2)
        h = torch.cat([h_0, torch.empty_like(parts[0])])  # the state before each step and at last
        hidden = torch.empty_like(h[1:])  # of a GRU: what r multiplies
        if mode == "GRU":
            both, b_n = gates[:, :, : 2 * size], b_hh[2 * size :]
            w, w_n = w_hh.T.split([2 * size, size], dim=1)
            for before, after, r_z, r, z, n, q in zip(h, h[1:], both, *parts, hidden, strict=False):
                r_z.addmm_(before, w).sigmoid_()
                n.addcmul_(r, torch.addmm(b_n, before, w_n, out=q)).tanh_()
                torch.lerp(n, before, z, out=after)
        else:
            for before, after, gate in zip(h, h[1:], gates, strict=False):
                torch.tanh(gate.addmm_(before, w_hh.T), out=after)
        ctx.mode = mode
        ctx.save_for_backward(steps, h_0, w_ih, w_hh, b_ih, b_hh, gates, hidden, h)
        return h[1:], h[-1:].clone()

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, d_h_n: Tensor) -> tuple[Tensor | None, ...]:
        *given, gates, hidden, h = ctx.saved_tensors
        steps, h_0, w_ih, w_hh, _, _ = given
        if torch.is_grad_enabled():  # for the gradient of a gradient: PyTorch's own loop
            own = [x.view_as(x) for x in given]  # `h_0` may depend on the weights as well
            results = CALLS[ctx.mode](*own[:2], own[2:], True, 1, 0.0, True, False, False)
            wanted = [x for x in own if x.requires_grad]
            found = iter(torch.autograd.grad(results, wanted, (d_output, d_h_n), create_graph=True))
            return None, *(next(found) if x.requires_grad else None for x in own)
        size, after = h.shape[2], h[1:]
        d_h = torch.cat([torch.zeros_like(h_0), d_output])
        d_h[-1:] += d_h_n
        # a gate's gradient is that of the state times what is known before the loop
        d_gates, d_n = torch.empty_like(gates), torch.empty_like(after)
        if ctx.mode == "GRU":
            (r, z, n), d_parts = gates.split(size, dim=2), d_gates.split(size, dim=2)
            by_tanh(1 - z, n, grad_input=d_n)
            torch.mul(d_n, r, out=d_parts[2])
            by_sigmoid(hidden * d_n, r, grad_input=d_parts[0])
            by_sigmoid(h[:-1] - n, z, grad_input=d_parts[1])
            threes = d_gates.unflatten(2, (3, size))
            for d_before, d_after, d, three, z_t in reversed(
                list(zip(d_h, d_h[1:], d_gates, threes, z, strict=False))
            ):
                three.mul_(d_after.unsqueeze(1))
                d_before.addcmul_(d_after, z_t).addmm_(d, w_hh)
        else:
            by_tanh(torch.ones_like(after), after, grad_input=d_gates)
            for d_before, d_after, d in reversed(list(zip(d_h, d_h[1:], d_gates, strict=False))):
                d_before.addmm_(d.mul_(d_after), w_hh)
        flat = d_gates.flatten(0, 1)
        d_w_hh, d_b_hh = flat.T @ h[:-1].flatten(0, 1), flat.sum(0)
        if ctx.mode == "GRU":  # from here on, of the products with the inputs
            torch.mul(d_n, d_h[1:], out=d_parts[2])
        d_w_ih, d_steps = flat.T @ steps.flatten(0, 1), (flat @ w_ih).view_as(steps)
        return None, d_steps, d_h[:1], d_w_ih, d_w_hh, flat.sum(0), d_b_hh


def _run(mode: str, steps: Tensor, h_0: Tensor, weights: Sequence[Tensor], *_: Any) -> Any:
    return _Layer.apply(mode, steps, h_0, *weights)


def calls_for(steps: Tensor, weight: Tensor) -> Calls:
    """PyTorch's operators, or those by hand where they can take their place."""
    by_hand = (
        steps.device.type == "cpu"
        and steps.dtype == weight.dtype
        and steps.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )
    return {**CALLS, **{m: partial(_run, m) for m in ("GRU", "RNN_TANH")}} if by_hand else CALLS
