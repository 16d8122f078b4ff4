"""Check that a decoder starts from the encoder's final states of the right kind and layer."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.directions import hook
from seqmodels.audit.probe import Probe, tensors_in
from seqmodels.nn.cell import Recurrent


def wrong_decoder_start(probe: Probe) -> str:
    """A decoder's `c` comes from the encoder's `h`, or a layer of the decoder from one direction of
    a layer of the encoder.

    Empty for a decoder that starts from zeros, or from something else than final states.
    """
    starts = list[tuple[nn.Module, list[Tensor]]]()  # networks, and h and c `(L, B, H)`, if given
    zeros: dict[nn.Module, Tensor] = {}  # added to the final h and c, `(2, L*D, 1, 1)`

    def note(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        state = arguments[1] if len(arguments) > 1 else options.get("hx")
        parts = [part.clone() for part in tensors_in(state)[:2]]
        is_cell = isinstance(module, nn.RNNCellBase)
        starts.append((module, [part.unsqueeze(0) for part in parts] if is_cell else parts))

    def add(module: Recurrent, output: Any, parts: list[Tensor]) -> Any:
        has_c = isinstance(module, nn.LSTM) or "c_n" in getattr(module, "state_sizes", ())
        new = parts[0].new_zeros(2, len(parts[0]), 1, 1, requires_grad=True)
        for kind, zero in enumerate(zeros.setdefault(module, new)[: 1 + has_c]):
            parts[kind] = parts[kind] + zero
        return output

    with ExitStack() as hooks:
        for part in probe.modules.modules():
            if isinstance(part, Recurrent | nn.RNNCellBase):
                hooks.enter_context(part.register_forward_pre_hook(note, with_kwargs=True))
            if isinstance(part, Recurrent):
                hooks.enter_context(hook(part, partial(add, part)))
        probe.call(probe.sampler.batch(probe.full), probe.full)
    for encoder in [network for network, state in starts if not state]:
        own = {*encoder.modules()}
        decoder, before = next(((m, s) for m, s in starts if s and m not in own), (encoder, []))
        if not isinstance(encoder, Recurrent) or not before:
            continue
        reached = _reached(before, zeros[encoder])
        if len(before) == 2:
            (h_of_h, h_of_c), (c_of_h, c_of_c) = reached.flatten(2).any(dim=2).tolist()
            if c_of_h and not c_of_c and torch.equal(*before):
                return "the decoder starts both h and c from the encoder's h_n"
            if h_of_c and not h_of_h:
                return "the decoder starts h from the encoder's c_n, and not from h_n"
        if encoder.bidirectional and not getattr(decoder, "bidirectional", False):
            for to, of, layer, source in _split(reached).nonzero().tolist():
                return (
                    f"layer {layer + 1} of the decoder starts its {'hc'[to]} from one direction of "
                    f"layer {source + 1} of the encoder's {'hc'[of]}_n, and another layer from the "
                    "other: layers are taken for directions"
                )
    return ""


def _reached(starts: list[Tensor], zeros: Tensor) -> Tensor:
    """From what a gradient comes: `(h and c of the decoder, h and c of the encoder, L', L*D)`."""
    reached = torch.zeros(len(starts), 2, len(starts[0]), zeros.shape[1], dtype=torch.bool)
    for to, start in enumerate(starts):
        noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(0)).to(start)
        for layer in range(len(start)) if start.requires_grad else ():
            [gradient] = torch.autograd.grad(
                start[layer], zeros, noise[layer], retain_graph=True, materialize_grads=True
            )
            reached[to, :, layer] = gradient.flatten(1) != 0
    return reached


def _split(reached: Tensor) -> Tensor:
    """Which layers of the decoder, `(..., L', L)`, are reached from one direction of a layer of the
    encoder, where others are from the other direction."""
    by_layer = reached.unflatten(-1, (-1, 2))  # (..., L', L, D)
    used = by_layer.any(dim=-3, keepdim=True).all(dim=-1)  # in any layer of the decoder
    return by_layer.any(dim=-1) & ~by_layer.all(dim=-1) & used
