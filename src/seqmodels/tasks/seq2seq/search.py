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
"""`(carried, rows (N',)) -> carried`: chooses these rows, in this order."""

# After so many steps, finished sources are left out: to look for them waits for the device.
LOOK_EVERY = 8


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """The N sequences that a beam has kept of each source, the best first.

    Args:
        tokens: `(B, N, T)`, without the start; after the end token, the end token again.
        lengths: `(B, N)`, how many tokens stand before the end.
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
) -> Hypotheses:
    """Returns the likeliest sequences for each of `rows` sources.

    A beam keeps the sequences of each source with the best scores. Those that have ended stay among
    them as they are, until others push them out. A beam of 1 takes the likeliest token at every
    step. A sequence that is as long as allowed ends there, without an end token.

    Args:
        step, take: one step of the network, and a choice of rows of what it carries.
        carried: what the first step starts from, for all rows.
        start, end: tokens.
        beam: how many sequences to keep for each source.
        longest: the largest number of tokens, without the end token.
    """
    sources = torch.arange(rows, device=device)  # (B,): those that are still written for
    if beam > 1:
        carried = take(carried, sources.repeat_interleave(beam))
    # Of each source's beginnings only the first counts at the start: the others are the same.
    total = torch.full((rows, beam), -torch.inf, device=device)  # log-probabilities
    total[:, 0] = 0.0
    counts = torch.zeros_like(total)  # tokens, with the end
    written = torch.full((rows, beam, longest), end, device=device)
    token = torch.full((rows, beam), start, device=device)
    has_ended = torch.zeros_like(total).bool()
    # What is written for all sources, as far as it was looked at.
    all_written, all_total, all_counts = written.clone(), total.clone(), counts.clone()

    for number in range(longest):
        log_p, carried = step(token.flatten(), carried)
        size = min(beam, log_p.shape[1])  # More continuations of one sequence can't all stay.
        log_p, token = log_p.unflatten(0, (-1, beam)).topk(size, dim=2)  # (B, N, size)
        # The one continuation of an ended sequence is itself.
        log_p[has_ended] = -torch.inf
        token[has_ended] = end
        log_p[..., 0][has_ended] = 0.0

        totals = total.unsqueeze(2) + log_p
        new_counts = counts + ~has_ended
        scores = totals / new_counts.unsqueeze(2)
        kept = scores.flatten(1).topk(beam, dim=1).indices  # (B, N), of N * size continuations
        total = totals.flatten(1).gather(1, kept)
        token = token.flatten(1).gather(1, kept)
        parents = kept // size
        counts = new_counts.gather(1, parents)
        written = torch.take_along_dim(written, parents.unsqueeze(2), 1)
        written[:, :, number] = token
        has_ended = (token == end) | total.isneginf()

        # The rows of what is carried from which the next step goes on.
        first_rows = beam * torch.arange(len(sources), device=device)
        carried_rows = parents + first_rows.unsqueeze(1)
        looks = number % LOOK_EVERY == LOOK_EVERY - 1 or number == longest - 1
        if looks:
            all_written[sources] = written
            all_total[sources] = total
            all_counts[sources] = counts
            running = (~has_ended.all(dim=1)).nonzero().squeeze(1)
            if not len(running):
                break
            sources, total, counts = sources[running], total[running], counts[running]
            written, token, has_ended = written[running], token[running], has_ended[running]
            carried_rows = carried_rows[running]
        if looks or beam > 1:
            carried = take(carried, carried_rows.flatten())

    best = (all_total / all_counts).topk(beam, dim=1)
    tokens = torch.take_along_dim(all_written, best.indices.unsqueeze(2), 1)
    return Hypotheses(tokens, (tokens != end).sum(dim=2), best.values)
