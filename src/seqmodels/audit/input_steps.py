"""Check that every input step reaches the logits: by gradients, then by changing steps."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.directions import MOST_DRAWS
from seqmodels.audit.probe import Probe, largest_of
from seqmodels.audit.random_inputs import valid_mask
from seqmodels.padding import valid_steps

MOST_STEPS = 32  # changed one by one, if gradients don't show that they are read


def unread_step(probe: Probe) -> str:
    """A valid step reaches no logit."""
    for lengths in (probe.lengths, probe.long_lengths()):
        unread = valid_mask(lengths)
        for draw in range(1 + MOST_DRAWS):
            with probe.random_weights() if draw else nullcontext():
                # a maximum reads only one of several steps, but any step if they are all alike
                inputs = probe.sampler.batch(lengths, constant=draw % 2 == 1)
                _keep_unread(probe, inputs, lengths, unread)
            if not bool(unread.any()):
                break
        if bool(unread.any()) and not probe.parameters and _is_faint(probe, lengths, unread):
            reason = "unread_step: a step moves these logits no more than rounding does"
            probe.untested.append(reason)
            break
        for row, steps in enumerate(unread):
            if bool(steps.any()):
                which = steps.nonzero().flatten().tolist()
                named = f"step {which[0]}" if len(which) == 1 else f"steps {which[0]}..{which[-1]}"
                return (
                    f"in a row of {lengths[row]} steps, no change of {named} "
                    f"({len(which)} in all) moves a logit of the row"
                )
    return ""


def _keep_unread(probe: Probe, inputs: Tensor, lengths: list[int], unread: Tensor) -> None:
    """Keeps of `unread`, `(B, T)` bool, the steps without a gradient that move no logit."""
    unread &= ~_steps_with_gradient(probe, inputs, lengths)
    steps = unread.any(dim=0).nonzero().flatten().tolist()
    tested = steps[:: -(-len(steps) // MOST_STEPS)] if steps else []
    unread &= torch.isin(torch.arange(inputs.shape[1]), torch.tensor(tested, dtype=torch.int64))
    for step in tested:
        moves = _moves(probe, inputs, lengths, step, draws=2)
        unread[:, step] &= torch.stack([row.max() == 0 for row in moves])


def _moves(
    probe: Probe, inputs: Tensor, lengths: list[int], step: int, draws: int = 1
) -> list[Tensor]:
    """How far new content at one step, small and large, moves each logit, row by row."""
    before, rows = probe.rows(inputs, lengths), valid_mask(lengths)[:, step]
    largest = [torch.zeros_like(row) for row in before]
    for spread in (1.0, 10.0) * draws:
        other = inputs.clone()
        other[rows, step] = probe.sampler.content(len(inputs), 1, spread)[rows, 0].to(other)
        both = zip(largest, before, probe.rows(other, lengths), strict=True)
        largest = [most.maximum((one - moved).abs()) for most, one, moved in both]
    return largest


def _is_faint(probe: Probe, lengths: list[int], unread: Tensor) -> bool:
    """Whether steps that do move logits hardly move them more than rounding does."""
    inputs = probe.sampler.batch(lengths)
    largest = largest_of(probe.rows(inputs, lengths))
    steps = range(0, inputs.shape[1], -(-inputs.shape[1] // MOST_STEPS))
    by_step = (_moves(probe, inputs, lengths, step, draws=2) for step in steps)
    moves = torch.stack([torch.stack([row.max() for row in rows]) for rows in by_step], dim=1)
    read = (valid_mask(lengths) & ~unread)[:, list(steps)]
    return not bool(read.any()) or float(moves[read].min()) < max(16 * probe.eps, 1e-3) * largest


def _steps_with_gradient(probe: Probe, inputs: Tensor, lengths: list[int]) -> Tensor:
    """The steps, `(B, T)` bool, from which a gradient reaches a logit of any row.

    All False if gradients cannot tell, as for a black box that embeds tokens.
    """
    leaves: list[Tensor] = []

    def leaf(embedded: Tensor) -> Tensor:
        if embedded.shape[:2] != inputs.shape[:2]:
            return embedded
        leaves.append(embedded.detach().requires_grad_())
        return leaves[-1]

    if not probe.sampler.tokens:
        inputs = leaf(inputs.to(probe.device, probe.dtype))
    with ExitStack() as hooks:
        for part in probe.modules.modules():
            if isinstance(part, nn.Embedding):
                hooks.enter_context(part.register_forward_hook(lambda *given: leaf(given[-1])))
        logits, _ = probe.call(inputs, lengths)
    reached = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    if not logits.requires_grad or not leaves:
        return reached
    # random weights, because the sum of logits may not depend on what each of them depends on
    weights = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
    if probe.kind == "per_step":  # ignore the logits at padding
        steps = valid_steps(lengths, logits.shape[1], logits.device)
        weights = weights * steps.view(*steps.shape, *[1] * (logits.dim() - 2))
    for gradient in torch.autograd.grad(logits, leaves, weights, allow_unused=True):
        if gradient is not None:
            reached |= (gradient.cpu() != 0).flatten(2).any(dim=2)
    return reached


def stale_state(probe: Probe) -> str:
    """The last valid step of a row reaches some of its logits and not others.

    Logits that share their features are all reached, or none is: then it is an `unread_step`.
    """
    if probe.kind != "sequence":
        return ""
    read: Any = False  # which logits of each row new content at its last step moves, (B, K)
    for draw in range(1 + MOST_DRAWS):
        with probe.random_weights() if draw else nullcontext():
            moves = _moves(probe, probe.sampler.batch(probe.full), probe.full, step=-1)
        read = read | (torch.stack(moves).reshape(len(moves), -1) != 0)
        if not bool((read.any(dim=1) & ~read.all(dim=1)).any()):
            return ""
    for row, reached in enumerate(read):
        if bool(reached.any()) and not bool(reached.all()):
            stale = (~reached).nonzero().flatten().tolist()
            which = ", ".join(map(str, stale[:5])) + (", ..." if len(stale) > 5 else "")
            return (
                f"in a row of {probe.full[row]} steps, new content at the newest step never moves "
                f"{len(stale)} of {len(reached)} logits (number {which}, counted from 0)"
            )
    return ""
