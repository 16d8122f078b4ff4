"""Check that a decoder starts from the encoder's final states of the right kind and layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.probe import Probe, tensors_in
from seqmodels.nn.cell import Recurrent
from seqmodels.nn.state import state_of

KINDS = ("h", "c")


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
        is_pair = isinstance(encoder, nn.LSTM) or "c_n" in getattr(encoder, "state_sizes", ())
        kinds = KINDS if is_pair else KINDS[:1]
        # reached[of decoder][of encoder]: (layers of the decoder, slots of the encoder) bool
        reached = {
            to: {of: torch.zeros(len(part), slots, dtype=torch.bool) for of in kinds}
            for to, part in zip(KINDS, before, strict=False)
        }
        for number, of in enumerate(kinds):
            for slot in range(slots):
                after, _ = _first_state(probe, encoder, inputs, (number, slot))
                for to, one, other in zip(KINDS, before, after, strict=False):
                    moved = (one != other).flatten(1).any(dim=1)
                    reached[to][of][:, slot] = moved
        if len(reached) == 2:
            sources = {(to, of) for to in KINDS for of in kinds if bool(reached[to][of].any())}
            if ("c", "h") in sources and ("c", "c") not in sources and torch.equal(*before):
                return "the decoder starts both h and c from the encoder's h_n"
            if ("h", "c") in sources and ("h", "h") not in sources:
                return "the decoder starts h from the encoder's c_n, and not from h_n"
        if directions == 1 and (evidence := _split_layers(reached, encoder)):
            return evidence
    return ""


def _split_layers(reached: dict[str, dict[str, Tensor]], encoder: Recurrent) -> str:
    if not encoder.bidirectional:
        return ""
    for to, others in reached.items():
        for of, slots in others.items():
            by_layer = slots.unflatten(1, (-1, 2))  # (L', L, D)
            used = by_layer.any(dim=0).all(dim=1)  # layers of which both directions are used
            for layer, split in enumerate(by_layer.any(dim=2) & ~by_layer.all(dim=2)):
                wrong = (split & used).nonzero().flatten().tolist()
                if wrong:
                    return (
                        f"layer {layer + 1} of the decoder starts its {to} from one direction of "
                        f"layer {wrong[0] + 1} of the encoder's {of}_n, and another layer from the "
                        "other: layers are taken for directions"
                    )
    return ""


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
        parts = [part.clone() for part in tensors_in(final)]
        if changed is not None:
            part = parts[changed[0]][changed[1]]
            part += torch.randn(part.shape, generator=generator).to(part)
        return output, state_of(*parts)

    def note(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        state = _start_state(arguments, options)
        if state is not None and not found and module not in own:
            parts = [part.detach().clone() for part in tensors_in(state)]
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
