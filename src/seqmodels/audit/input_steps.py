"""Check that every input step reaches the logits: by gradients, then by changing steps."""

from __future__ import annotations

import math
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.directions import MOST_DRAWS
from seqmodels.audit.probe import Probe, distance
from seqmodels.audit.random_inputs import valid_mask
from seqmodels.padding import valid_steps

# So many steps are changed one by one, if gradients don't show that they are read.
MOST_STEPS = 32
# A black box may round away what moves its logits less, in multiples of rounding.
FAINT = 32


def unread_step(probe: Probe) -> str:
    """A valid step reaches no logit."""
    for lengths in (probe.lengths, probe.long_lengths()):
        unread = _unread_steps(probe, lengths)
        if not bool(unread.any()):
            continue
        if not probe.parameters and _is_faint(probe, lengths, unread):
            reason = "unread_step: a step moves these logits no more than rounding does"
            probe.untested.append(reason)
            return ""
        row = int(unread.any(dim=1).nonzero()[0])
        steps = unread[row].nonzero().flatten().tolist()
        range_of_steps = f"step {steps[0]}"
        if len(steps) > 1:
            range_of_steps = f"steps {steps[0]}..{steps[-1]}"
        return (
            f"in a row of {lengths[row]} steps, no change of {range_of_steps} "
            f"({len(steps)} in all) moves a logit of the row"
        )
    return ""


def _unread_steps(probe: Probe, lengths: list[int]) -> Tensor:
    """The valid steps, `(B, T)` bool, that reach no logit, whatever the weights are."""
    # Where a logit is for several steps, those after the last one that is whole reach none.
    steps_after_logits = 2 * (probe.stride - 1)
    ends = [max(length - steps_after_logits, 1) for length in lengths]
    unread = valid_steps(ends, max(lengths))
    for draw in range(1 + MOST_DRAWS):
        with probe.random_weights() if draw else nullcontext():
            # A maximum reads only one of several steps, but any step if they are all alike.
            is_constant = draw % 2 == 1
            inputs = probe.sampler.batch(lengths, constant=is_constant)
            _keep_unread(probe, inputs, lengths, unread)
        if not bool(unread.any()):
            break
    return unread


def _keep_unread(probe: Probe, inputs: Tensor, lengths: list[int], unread: Tensor) -> None:
    """Keeps of `unread`, `(B, T)` bool, the steps without a gradient that move no logit."""
    unread &= ~_steps_with_gradient(probe, inputs, lengths)
    unread_steps = unread.any(dim=0).nonzero().flatten().tolist()
    stride = max(math.ceil(len(unread_steps) / MOST_STEPS), 1)
    tested_steps = unread_steps[::stride]
    is_tested = torch.zeros(inputs.shape[1], dtype=torch.bool)
    is_tested[tested_steps] = True
    unread &= is_tested
    for step in tested_steps:
        moves = _moves(probe, inputs, lengths, step, draws=2)
        is_still = [row.max() == 0 for row in moves]
        unread[:, step] &= torch.stack(is_still)


def _moves(
    probe: Probe, inputs: Tensor, lengths: list[int], step: int, draws: int = 1
) -> list[Tensor]:
    """How far new content at one step, small and large, moves each logit, row by row, relative to
    what rounding may."""
    before = probe.rows(inputs, lengths)
    rows_with_step = valid_mask(lengths)[:, step]
    moves = [torch.zeros_like(row) for row in before]
    for spread in (1.0, 10.0) * draws:
        content = probe.sampler.content(len(inputs), 1, spread)
        new_inputs = inputs.clone()
        new_inputs[rows_with_step, step] = content[rows_with_step, 0].to(inputs)
        after = probe.rows(new_inputs, lengths)
        for row, (row_before, row_after) in enumerate(zip(before, after, strict=True)):
            move = distance(row_before, row_after) / probe.limit(row_before)
            moves[row] = moves[row].maximum(move)
    return moves


def _is_faint(probe: Probe, lengths: list[int], unread: Tensor) -> bool:
    """Whether steps that do move logits hardly move them more than rounding does."""
    inputs = probe.sampler.batch(lengths)
    time = inputs.shape[1]
    steps = list(range(0, time, math.ceil(time / MOST_STEPS)))
    is_read = (valid_mask(lengths) & ~unread)[:, steps]  # (B, S)
    if not bool(is_read.any()):
        return True
    moves_by_step: list[Tensor] = []  # (B,) each
    for step in steps:
        moves = _moves(probe, inputs, lengths, step, draws=2)
        largest_moves = [row.max() for row in moves]
        moves_by_step.append(torch.stack(largest_moves))
    return float(torch.stack(moves_by_step, dim=1)[is_read].min()) < FAINT


def _steps_with_gradient(probe: Probe, inputs: Tensor, lengths: list[int]) -> Tensor:
    """The steps, `(B, T)` bool, from which a gradient reaches a logit of any row.

    All False if gradients cannot tell, as for a black box that embeds tokens.
    """
    # The gradients are taken in these: features, or what the model's embeddings give.
    leaves: list[Tensor] = []

    def leaf(features: Tensor) -> Tensor:
        if features.shape[:2] != inputs.shape[:2]:
            return features
        leaves.append(features.detach().requires_grad_())
        return leaves[-1]

    def replace_embedded(embedding: nn.Module, arguments: Any, embedded: Tensor) -> Tensor:
        return leaf(embedded)

    model_inputs = inputs
    if not probe.sampler.tokens:
        model_inputs = leaf(inputs.to(probe.device, probe.dtype))
    with ExitStack() as hooks:
        for module in probe.modules.modules():
            if isinstance(module, nn.Embedding):
                hooks.enter_context(module.register_forward_hook(replace_embedded))
        logits, _ = probe.call(model_inputs, lengths)
    has_gradient = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    if not logits.requires_grad or not leaves:
        return has_gradient
    factors = _random_factors(probe, logits, lengths)
    for gradient in torch.autograd.grad(logits, leaves, factors, allow_unused=True):
        if gradient is not None:
            # A mask of -inf may make a gradient nan, which says nothing.
            has_gradient |= (gradient.cpu().abs() > 0).flatten(2).any(dim=2)
    return has_gradient


def _random_factors(probe: Probe, logits: Tensor, lengths: list[int]) -> Tensor:
    """Factors of the logits in a sum: a sum without them may not depend on what each logit depends
    on. The logits at padding don't count."""
    factors = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
    if probe.kind == "per_step":
        counts = probe.logit_counts(lengths)
        is_valid = valid_steps(counts, logits.shape[1], logits.device)  # (B, T)
        dimensions_after_time = [1] * (logits.dim() - 2)
        factors = factors * is_valid.view(*is_valid.shape, *dimensions_after_time)
    return factors


def constant_logit(probe: Probe, is_moved: Tensor) -> str:
    """An output is the same number in all rows, whatever their content. Infinite ones are masked on
    purpose; and if all outputs are constant, no step is read, which is an `unread_step`."""
    if bool(is_moved.all()):
        return ""
    values = probe.outputs(probe.sampler.batch(probe.lengths))
    values = values.reshape(len(values), -1)
    is_constant = ~is_moved & (values == values[0]).all(dim=0)
    constant_logits = (is_constant & values[0].isfinite()).nonzero().flatten().tolist()
    if not constant_logits or bool(is_constant.all()):
        return ""
    return f"no content moves {len(constant_logits)} of {_numbered(constant_logits, values)}"


def _numbered(numbers: list[int], rows: Tensor) -> str:
    """The logits of rows `(N, K)`, with the first few of these numbers."""
    examples = ", ".join(map(str, numbers[:5]))
    if len(numbers) > 5:
        examples += ", ..."
    return f"{rows.shape[1]} logits (number {examples}, counted from 0)"


def moved_outputs(probe: Probe) -> Tensor:
    """The outputs, `(K,)` bool, that other content moves with any weights."""
    is_moved = probe.spread.flatten() > 0
    for _ in range(MOST_DRAWS):
        if bool(is_moved.all()):
            break
        with probe.random_weights():
            before = probe.outputs(probe.sampler.batch(probe.lengths))
            after = probe.outputs(probe.sampler.batch(probe.lengths))
        is_moved = is_moved | (before != after).reshape(len(before), -1).any(dim=0)
    return is_moved


def stale_state(probe: Probe, is_moved: Tensor) -> str:
    """The last valid step of a row reaches some of the logits that depend on content, not others.

    Logits that share their features are all reached, or none is: then it is an `unread_step`.
    """
    if probe.kind != "sequence":
        return ""
    reached = _logits_of_last_step(probe, is_moved)
    if reached is None:
        return ""
    is_stale = ~reached & is_moved
    row = int(_is_partly_true(reached, is_moved).nonzero()[0])
    stale_logits = is_stale[row].nonzero().flatten().tolist()
    return (
        f"in a row of {probe.full[row]} steps, new content at the newest step never moves "
        f"{len(stale_logits)} of {_numbered(stale_logits, reached)}"
    )


def _logits_of_last_step(probe: Probe, is_moved: Tensor) -> Tensor | None:
    """The logits, `(B, K)` bool, that new content at the last step of their row moves with any
    weights; None as soon as these are all or none in each row of those that `is_moved`, `(K,)`."""
    reached: Tensor | None = None
    for draw in range(1 + MOST_DRAWS):
        with probe.random_weights() if draw else nullcontext():
            inputs = probe.sampler.batch(probe.full)
            moves = _moves(probe, inputs, probe.full, step=-1)
        moved_rows = torch.stack(moves).reshape(len(moves), -1) != 0
        reached = moved_rows if reached is None else reached | moved_rows
        if not bool(_is_partly_true(reached, is_moved).any()):
            return None
    return reached


def _is_partly_true(rows: Tensor, counts: Tensor) -> Tensor:
    """The rows, `(B,)` bool, of which some values are True and some are not, of those that
    count."""
    return (rows & counts).any(dim=1) & (~rows & counts).any(dim=1)
