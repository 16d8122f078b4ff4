"""Search for the likeliest sequences of tokens: greedily, or with a beam; many sources at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

Next = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""`(tokens (N,), carried) -> (log-probabilities (N, V), carried)`: one step for N rows."""
Take = Callable[[Any, Tensor], Any]
"""`(carried, rows (N',)) -> carried`: of these rows, in this order."""

EVERY = 8  # steps, after which finished sources are left out: to look waits for the device


@dataclass(frozen=True, eq=False)
class Found:
    """The N sequences that a beam has kept of each source, the best first.

    Args:
        tokens: `(B, N, T)`, without the start; after the end token, the end token again.
        lengths: `(B, N)`, tokens before the end.
        scores: `(B, N)`, log-probabilities divided by the length, with the end token counted; -inf
            where there is no further sequence.
    """

    tokens: Int[Tensor, "batch best time"]
    lengths: Int[Tensor, "batch best"]
    scores: Float[Tensor, "batch best"]


@torch.no_grad()
def search(
    step: Next,
    take: Take,
    carried: Any,
    rows: int,
    *,
    start: int,
    end: int,
    beam: int = 1,
    longest: int = 100,
    device: torch.device | str = "cpu",
) -> Found:
    """The likeliest sequences for each of `rows` sources.

    A beam keeps the sequences of each source with the best scores. Those that have ended stay among
    them as they are, until others push them out. A beam of 1 takes the likeliest token at every
    step. A sequence that is as long as allowed ends there, without an end token.

    Args:
        step, take: one step of the network, and a choice of rows of what it carries.
        carried: what the first step starts from, for all rows.
        start, end: tokens.
        beam: sequences to keep for each source.
        longest: the largest number of tokens, without the end token.
    """
    left = torch.arange(rows, device=device)  # the sources that are still written for
    if beam > 1:
        carried = take(carried, left.repeat_interleave(beam))
    # of the beginnings of each source only the first counts at the start: the others are the same
    total = torch.full((rows, beam), -torch.inf, device=device)
    total[:, 0] = 0.0
    counts = torch.zeros_like(total)  # tokens, with the end
    written = torch.full((rows, beam, longest), end, device=device)
    token, ended = torch.full((rows, beam), start, device=device), torch.zeros_like(total).bool()
    found = written.clone(), total.clone(), counts.clone()
    for number in range(longest):
        log_p, carried = step(token.flatten(), carried)
        size = min(beam, log_p.shape[1])  # more continuations of one cannot all stay
        log_p, token = log_p.unflatten(0, (-1, beam)).topk(size, dim=2)
        log_p[ended], token[ended] = -torch.inf, end
        log_p[..., 0][ended] = 0.0  # the one continuation of an ended sequence is itself
        sums, count = total.unsqueeze(2) + log_p, counts + ~ended
        scores = sums / count.unsqueeze(2)
        kept = scores.flatten(1).topk(beam, dim=1).indices
        total, token = sums.flatten(1).gather(1, kept), token.flatten(1).gather(1, kept)
        parents = kept // size
        counts = count.gather(1, parents)
        written = torch.take_along_dim(written, parents.unsqueeze(2), 1)
        written[:, :, number] = token
        ended = (token == end) | total.isneginf()
        origins = parents + beam * torch.arange(len(left), device=device).unsqueeze(1)
        looks = number % EVERY == EVERY - 1 or number == longest - 1
        if looks:
            for whole, part in zip(found, (written, total, counts), strict=True):
                whole[left] = part
            running = (~ended.all(dim=1)).nonzero().squeeze(1)
            if not len(running):
                break
            left, total, counts, written = (x[running] for x in (left, total, counts, written))
            token, ended, origins = (x[running] for x in (token, ended, origins))
        if looks or beam > 1:
            carried = take(carried, origins.flatten())
    written, total, counts = found
    ranked = (total / counts).topk(beam, dim=1)
    tokens = torch.take_along_dim(written, ranked.indices.unsqueeze(2), 1)
    return Found(tokens, (tokens != end).sum(dim=2), ranked.values)
