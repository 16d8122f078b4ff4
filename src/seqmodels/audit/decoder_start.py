"""Check that a decoder starts from the encoder's final states of the right kind and layer."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.directions import hook
from seqmodels.audit.probe import Probe, tensors_in
from seqmodels.nn.cell import Recurrent

Start = tuple[nn.Module, list[Tensor]]  # a network, and its first h and c, `(L, B, H)`, if given


def wrong_decoder_start(probe: Probe) -> str:
    """A decoder's `c` comes from the encoder's `h`, or a layer of the decoder from one direction of
    a layer of the encoder.

    Empty for a decoder that starts from zeros, or from something else than final states.
    """
    inputs = probe.sampler.batch(probe.full)
    starts = _starts(probe, inputs)
    for encoder in [network for network, state in starts if not state]:
        decoder, before = _first_decoder(starts, encoder)
        if not isinstance(encoder, Recurrent) or not before:
            continue
        reached = _reached(probe, inputs, encoder, before)
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


def _reached(probe: Probe, inputs: Tensor, encoder: Recurrent, before: list[Tensor]) -> Tensor:
    """What moves with what: `(h and c of the decoder, h and c of the encoder, L', L*D)` bool."""
    slots = encoder.num_layers * (2 if encoder.bidirectional else 1)
    has_c = isinstance(encoder, nn.LSTM) or "c_n" in getattr(encoder, "state_sizes", ())
    reached = torch.zeros(len(before), 2, len(before[0]), slots, dtype=torch.bool)
    for kind, slot in product(range(1 + has_c), range(slots)):
        with hook(encoder, partial(_with_noise, kind, slot)):
            _, after = _first_decoder(_starts(probe, inputs), encoder)
        for to, (one, other) in enumerate(zip(before, after, strict=True)):
            reached[to, kind, :, slot] = (one != other).flatten(1).any(dim=1)
    return reached


def _split(reached: Tensor) -> Tensor:
    """Which layers of the decoder, `(..., L', L)`, are reached from one direction of a layer of the
    encoder, where others are from the other direction."""
    by_layer = reached.unflatten(-1, (-1, 2))  # (..., L', L, D)
    used = by_layer.any(dim=-3, keepdim=True).all(dim=-1)  # in any layer of the decoder
    return by_layer.any(dim=-1) & ~by_layer.all(dim=-1) & used


def _starts(probe: Probe, inputs: Tensor) -> list[Start]:
    """The recurrent networks and cells that the model runs, each time with what it starts from."""
    found = list[Start]()

    def note(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        state = arguments[1] if len(arguments) > 1 else options.get("hx")
        parts = [part.detach().clone() for part in tensors_in(state)[:2]]
        is_cell = isinstance(module, nn.RNNCellBase)
        found.append((module, [part.unsqueeze(0) for part in parts] if is_cell else parts))

    with ExitStack() as hooks:
        for part in probe.modules.modules():
            if isinstance(part, Recurrent | nn.RNNCellBase):
                hooks.enter_context(part.register_forward_pre_hook(note, with_kwargs=True))
        probe.rows(inputs, probe.full)
    return found


def _first_decoder(starts: list[Start], encoder: nn.Module) -> Start:
    """The first one that starts from something, and is no part of the encoder."""
    others = (pair for pair in starts if pair[1] and pair[0] not in {*encoder.modules()})
    return next(others, (encoder, []))


def _with_noise(kind: int, slot: int, output: Any, parts: list[Tensor]) -> Any:
    """Noise in one of the final states."""
    part, generator = parts[kind][slot], torch.Generator().manual_seed(0)
    part += torch.randn(part.shape, generator=generator).to(part)
    return output
