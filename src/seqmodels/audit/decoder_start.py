"""Check that a decoder starts from the encoder's final states of the right kind and layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.probe import Probe, tensors_in
from seqmodels.nn.cell import Recurrent
from seqmodels.nn.state import parts_of, state_of


def wrong_decoder_start(probe: Probe) -> str:
    """A decoder's `c` comes from the encoder's `h`, or a layer of the decoder from one direction of
    a layer of the encoder.

    Empty for a decoder that starts from zeros, or from something else than final states.
    """
    for encoder in _encoders(probe):
        inputs = probe.sampler.batch(probe.full)
        before, directions = _first_state(probe, encoder, inputs)
        if not before:
            continue
        slots = encoder.num_layers * (2 if encoder.bidirectional else 1)
        has_c = isinstance(encoder, nn.LSTM) or "c_n" in getattr(encoder, "state_sizes", ())
        # (h and c of the decoder, h and c of the encoder, layers of the decoder, slots)
        reached = torch.zeros(len(before), 2, len(before[0]), slots, dtype=torch.bool)
        for kind, slot in product(range(1 + has_c), range(slots)):
            after, _ = _first_state(probe, encoder, inputs, (kind, slot))
            for to, (one, other) in enumerate(zip(before, after, strict=True)):
                reached[to, kind, :, slot] = (one != other).flatten(1).any(dim=1)
        if len(before) == 2:
            (h_of_h, h_of_c), (c_of_h, c_of_c) = reached.flatten(2).any(dim=2).tolist()
            if c_of_h and not c_of_c and torch.equal(*before):
                return "the decoder starts both h and c from the encoder's h_n"
            if h_of_c and not h_of_h:
                return "the decoder starts h from the encoder's c_n, and not from h_n"
        if directions == 1 and encoder.bidirectional and bool((split := _split(reached)).any()):
            to, of, layer, source = split.nonzero()[0].tolist()
            return (
                f"layer {layer + 1} of the decoder starts its {'hc'[to]} from one direction of "
                f"layer {source + 1} of the encoder's {'hc'[of]}_n, and another layer from the "
                "other: layers are taken for directions"
            )
    return ""


def _split(reached: Tensor) -> Tensor:
    """Which layers of the decoder, `(..., L', L)`, are reached from one direction of a layer of the
    encoder, where others are from the other direction."""
    by_layer = reached.unflatten(-1, (-1, 2))  # (..., L', L, D)
    used = by_layer.any(dim=-3, keepdim=True).all(dim=-1)  # in any layer of the decoder
    return by_layer.any(dim=-1) & ~by_layer.all(dim=-1) & used


def _encoders(probe: Probe) -> list[Recurrent]:
    """The recurrent networks that the model starts from zeros."""
    found: list[Recurrent] = []

    def note(module: Recurrent, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if _start_state(arguments, options) is None:
            found.append(module)

    with _hooked(probe, Recurrent, note):
        probe.rows(probe.sampler.batch(probe.full), probe.full)
    return found


def _first_state(
    probe: Probe, encoder: Recurrent, inputs: Tensor, changed: tuple[int, int] | None = None
) -> tuple[list[Tensor], int]:
    """What the first decoder starts from, `(L', B, H')` each of `h` and, for LSTM, `c`; and how
    many directions it has. With noise in one of the encoder's final states, if it is `changed`."""
    found, own = list[tuple[list[Tensor], int]](), {*encoder.modules()}
    generator = torch.Generator().manual_seed(0)

    def change(module: nn.Module, arguments: Any, result: tuple[Any, Any]) -> tuple[Any, Any]:
        output, final = result
        parts = [part.clone() for part in parts_of(final)]
        if changed is not None:
            part = parts[changed[0]][changed[1]]
            part += torch.randn(part.shape, generator=generator).to(part)
        return output, state_of(*parts)

    def note(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        state = _start_state(arguments, options)
        if state is not None and not found and module not in own:
            parts = [part.detach().clone() for part in tensors_in(state)[:2]]
            if isinstance(module, nn.RNNCellBase):
                parts = [part.unsqueeze(0) for part in parts]
            found.append((parts, 2 if getattr(module, "bidirectional", False) else 1))

    kinds = Recurrent | nn.RNNCellBase
    with encoder.register_forward_hook(change), _hooked(probe, kinds, note):
        probe.rows(inputs, probe.full)
    return found[0] if found else ([], 1)


def _start_state(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The state with which a recurrent network is called, or None."""
    return arguments[1] if len(arguments) > 1 else options.get("hx")


@contextmanager
def _hooked(probe: Probe, kinds: Any, note: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for part in probe.modules.modules():
            if isinstance(part, kinds):
                stack.enter_context(part.register_forward_pre_hook(note, with_kwargs=True))
        yield
