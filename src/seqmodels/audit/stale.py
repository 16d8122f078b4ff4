"""Find forecasts that the newest step cannot change, though it changes others of the same row."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmodels.audit.inside import MOST_DRAWS
from seqmodels.audit.probing import Probe


def stale_state(probe: Probe) -> str:
    """The last valid step reaches some logits of a row and not others.

    Logits that share their features are all reached, or none is: then it is an `unread_step`.
    """
    if probe.kind != "sequence":
        return ""
    read = _read(probe)  # (B, K)
    for _ in range(MOST_DRAWS):
        if not bool((read.any(dim=1) & ~read.all(dim=1)).any()):
            return ""
        with probe.random_weights():
            read |= _read(probe)
    for row, reached in enumerate(read):
        if bool(reached.any()) and not bool(reached.all()):
            stale = (~reached).nonzero().flatten().tolist()
            which = ", ".join(map(str, stale[:5])) + (", ..." if len(stale) > 5 else "")
            return (
                f"in a row of {probe.full[row]} steps, new content at the newest step never moves "
                f"{len(stale)} of {len(reached)} logits (number {which}, counted from 0)"
            )
    return ""


def _read(probe: Probe) -> Tensor:
    """Which logits of each row new content at its last step moves, `(B, K)` bool."""
    inputs = probe.sampler.batch(probe.full)
    before = torch.stack(probe.rows(inputs, probe.full)).reshape(len(inputs), -1)
    read = torch.zeros_like(before, dtype=torch.bool)
    for spread in (1.0, 10.0):
        other = inputs.clone()
        other[:, -1] = probe.sampler.content(len(inputs), 1, spread)[:, 0].to(other)
        after = torch.stack(probe.rows(other, probe.full)).reshape(before.shape)
        read |= after != before
    return read
