"""Attribute a prediction to the steps that a model has read: any `(inputs, lengths) -> logits`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmodels.audit.isolation import isolated
from seqmodels.audit.modules import find_modules
from seqmodels.batch import PADDING_TARGET
from seqmodels.device import exact
from seqmodels.errors import UserError, choices
from seqmodels.padding import Lengths, valid_steps

Function = Callable[[Tensor, Tensor], Tensor]
Read = Callable[[Tensor, Tensor, Tensor], Tensor]  # of rows, lengths and classes that count: (B,)
METHODS = ("integrated_gradients", "left_out")
FEWEST, MOST = 16, 512  # points of an integral
TOLERANCE, ROUNDING = 0.01, 8  # of a difference of logits; of the eps of logits' type
STRETCHES, COPIES = 20, 128  # of a series, to leave out; rows to read at once


class Attributions(list[Tensor]):
    """For each row a tensor `(T, F)`, or `(T,)` of tokens: how much each step adds to the logit.
    `missing` `(B,)` is what the integrated gradients of a row lack of the difference of its logits;
    0 where that is at most 1 % of it."""

    missing: Tensor


def attribute(
    function: Function,
    inputs: Tensor,
    lengths: Lengths,
    of: int | Tensor | None = None,
    step: int | None = None,
    *,
    method: str = "integrated_gradients",
    baseline: str | Tensor | Sequence[Any] = "zero",
    most: int = MOST,
) -> Attributions:
    """How much each step of each row, and each of its features, adds to one logit.

    Integrated gradients (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365) follow the
    straight line from the baseline to the row, and sum to its logit less the baseline's. The points
    on the line double, up to `most`, until that holds to 1 %. The model runs in evaluation mode.

    Args:
        function: to logits `(B, C)`, or `(B, T, C)` at every step.
        inputs: features `(B, T, F)`; to leave out, also tokens `(B, T)`.
        of: a class, or one for each row `(B,)` or step `(B, T)`; None: what is predicted.
        step: where there are logits at every step, the one that counts, from 0, or -1 for each
            row's last; None: the mean over all of them.
        method: `integrated_gradients`; or `left_out`: by how much the logit falls without a token,
            or if a straight line replaces a twentieth of a feature's steps, which share the change.
        baseline: where integrated gradients begin: `zero`, or a number for each feature.
        most: points on a line.

    Raises:
        UserError: for an unknown method, class or step, or another number of baselines.
    """
    if method not in METHODS:
        raise UserError(f"method={method}: {choices(method, METHODS)}")
    lengths, features = torch.as_tensor(lengths), inputs.shape[2:]
    inputs, gradients = inputs[:, : int(lengths.max())], method == METHODS[0]
    if gradients and not inputs.is_floating_point():
        raise UserError("no line leads from token to token: embed them, or set method=left_out")
    if gradients and baseline != "zero" and np.shape(baseline) != features:
        given = baseline if isinstance(baseline, str) else np.shape(baseline)
        raise UserError(f"baseline is {given}: give zero, or a number for each of {features[0]}")
    start = torch.zeros(features) if isinstance(baseline, str) else torch.as_tensor(baseline)
    with isolated(find_modules(function)):
        with torch.no_grad():
            classes = counted(function(inputs, lengths), lengths, of, step)
        read: Read = partial(chosen, function)
        if gradients:
            whole, missing = integrate(read, inputs, lengths, classes, start.to(inputs), most)
            rows = [row[:end] for row, end in zip(whole, lengths, strict=True)]
        else:
            each, missing = zip(inputs, classes, lengths, strict=True), torch.zeros(len(inputs))
            rows = [left_out(read, row[:end], own[:end]) for row, own, end in each]
    found = Attributions(row.float().cpu() for row in rows)
    found.missing = missing.float().cpu()
    return found


def counted(logits: Tensor, lengths: Tensor, of: int | Tensor | None, step: int | None) -> Tensor:
    """The class that counts of each row `(B, 1)`, or at each step `(B, T)`: -100 where none."""
    classes = logits.argmax(dim=-1)
    if isinstance(of, int) and not 0 <= of < logits.shape[-1]:
        raise UserError(f"of={of}: there are {logits.shape[-1]} classes, counted from 0")
    if of is not None:
        of = torch.as_tensor(of).to(classes)
        classes = (of.unsqueeze(1) if of.dim() == 1 < classes.dim() else of).expand_as(classes)
    if logits.dim() == 2:
        return classes.unsqueeze(1)
    there = valid_steps(lengths, classes.shape[1], classes.device)
    if step is not None:
        if not -1 <= step < (shortest := int(lengths.min())):
            raise UserError(f"step={step}: the shortest row has {shortest} steps, counted from 0")
        number = lengths.to(classes).unsqueeze(1) if step < 0 else 1 + step
        there &= there.cumsum(dim=1) == number
    return classes.where(there, PADDING_TARGET)


def chosen(function: Function, inputs: Tensor, lengths: Tensor, classes: Tensor) -> Tensor:
    """The logit of each row's class, `(B,)`; of several steps, the mean."""
    logits = exact(function(inputs, lengths))
    logits = logits.unsqueeze(1) if logits.dim() == 2 else logits
    classes = classes[:, : logits.shape[1]]
    values = logits.gather(2, classes.clamp(min=0).unsqueeze(2)).squeeze(2)
    return (values * (classes >= 0)).sum(dim=1) / (classes >= 0).sum(dim=1).clamp(min=1)


def integrate(
    read: Read, inputs: Tensor, lengths: Tensor, classes: Tensor, start: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """The integrated gradients of padded rows, and what the sum of each lacks."""
    way, left, count = exact(inputs - start), torch.arange(len(inputs)), FEWEST
    with torch.no_grad():
        end, begin = (read(each, lengths, classes) for each in (inputs, start.expand_as(inputs)))
    found, missing = torch.zeros_like(way), torch.zeros_like(end)
    rounding = ROUNDING * torch.finfo(inputs.dtype).eps
    allowed = TOLERANCE * (end - begin).abs() + rounding * (end.abs() + begin.abs())
    while len(left) and count <= most:
        total, parts = torch.zeros_like(way[left]), ceil(count * len(left) / COPIES)
        points, weights = np.polynomial.legendre.leggauss(count)
        for some in np.array_split(np.stack([(points + 1) / 2, weights / 2]), parts, axis=1):
            shares, weight = torch.from_numpy(some).to(way).view(2, -1, 1, 1, 1)  # (P, 1, 1, 1)
            rows = (start + shares * way[left]).to(inputs).flatten(0, 1).requires_grad_()
            alike = lengths[left].repeat(len(shares)), classes[left].repeat(len(shares), 1)
            [slopes] = torch.autograd.grad(read(rows, *alike).sum(), rows)
            total += (exact(slopes).view(len(shares), *total.shape) * weight).sum(dim=0)
        found[left] = total * way[left]
        gap = end - begin - found.flatten(1).sum(dim=1)
        missing = gap.where(gap.abs() > allowed, 0.0)
        left, count = missing.nonzero()[:, 0].cpu(), 2 * count
    return found, missing


@torch.no_grad()
def left_out(read: Read, row: Tensor, classes: Tensor) -> Tensor:
    """By how much what is read of a row falls without each token, `(T,)`, or with a straight line
    in place of some steps of a feature, `(T, F)`. Of classes at each step, those of the other
    tokens count."""

    def values(rows: Tensor, classes: Tensor) -> Tensor:
        pairs = zip(rows.split(COPIES), classes.split(COPIES), strict=True)
        made = (read(some, torch.full((len(some),), some.shape[1]), own) for some, own in pairs)
        return torch.cat([*made])

    count, every = len(row), torch.arange(len(row), device=row.device)
    if not row.is_floating_point():
        if count == 1:
            return torch.zeros(1)
        own, with_it = every == every.unsqueeze(1), classes.expand(count, -1)  # (T, T)
        kept = every.expand(count, -1)[~own].view(count, -1)  # (T, T - 1)
        without = with_it
        if len(classes) > 1:
            with_it, without = with_it.masked_fill(own, PADDING_TARGET), classes[kept]
        return values(row.expand(count, *row.shape), with_it) - values(row[kept], without)
    whole, found = values(row[None], classes[None]), list[Tensor]()
    features = torch.arange(row.shape[1], device=row.device).unsqueeze(1)
    for steps in every.chunk(STRETCHES):
        before, after = int(steps[0]) - 1, int(steps[-1]) + 1
        ends = [row[n] for n in (before, after) if 0 <= n < count] or [torch.zeros_like(row[0])]
        share = (steps - before).to(row).unsqueeze(1) / (after - before)
        copies = row.repeat(len(features), 1, 1)
        copies[features, steps, features] = torch.lerp(ends[0], ends[-1], share).T
        change = whole - values(copies, classes.expand(len(features), -1))
        found += (change / len(steps)).expand(len(steps), -1)
    return torch.stack(found)
