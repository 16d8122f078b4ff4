"""Search for the likeliest sequences of tokens: greedy, or with a beam; many sources at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.errors import UserError

Next = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""`(tokens (N,), carried) -> (log-probabilities (N, V), carried)`: one step for N rows."""
Take = Callable[[Any, Tensor], Any]
"""`(carried, rows (N',)) -> carried`: of these rows, in this order."""

MOST_TOKENS = 10_000  # in a text, which a stranger's model may never end
MOST_NUMBERS = 1 << 28  # at a time: log-probabilities of a step, or tokens of all beginnings
EVERY = 8  # steps, after which finished sources are left out: to look waits for the device


@dataclass(frozen=True, eq=False)
class Found:
    """The best sequences of each source, the best first.

    Args:
        tokens: `(B, N, T)`, without the start; after the end token, the end token again.
        lengths: `(B, N)`, tokens before the end.
        scores: `(B, N)`, log-probabilities divided by `length ** length_penalty`, with the end
            token counted; -inf where there is no further sequence.
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
    best: int = 1,
    longest: int = 100,
    length_penalty: float = 1.0,
    device: torch.device | str = "cpu",
) -> Found:
    """The likeliest sequences for each of `rows` sources.

    A beam of 1 takes the likeliest token at every step. A wider one keeps so many beginnings of
    each source, and stops when no beginning can become better than what has ended. A sequence
    that is as long as allowed ends there, without an end token.

    Args:
        step, take: one step of the network, and a choice of rows of what it carries.
        carried: what the first step starts from, for all rows.
        start, end: tokens.
        beam: beginnings to keep for each source.
        best: how many sequences to return for each; at most `beam`.
        longest: the largest number of tokens, without the end token.
        length_penalty: the power of the length that a log-probability is divided by (Wu et al.
            2016, https://arxiv.org/abs/1609.08144, without their constant); 0 prefers short ones.

    Raises:
        UserError: for a beam, a number of sequences or a length below 1, or more than fit.
    """
    for name, value in (("beam", beam), ("best", best), ("longest", longest)):
        if value < 1:
            raise UserError(f"{name} is {value}: it must be at least 1")
    if best > beam:
        raise UserError(
            f"best is {best}, but a beam of {beam} finds at most {beam} sequences: set beam={best}"
        )
    check_size(rows * beam, longest)
    task = _Task(step, take, start, end, longest, length_penalty)
    token = torch.full((rows,), start, device=device)
    return _greedy(task, carried, token) if beam == 1 else _beam(task, carried, token, beam, best)


def check_size(beginnings: int, most: int) -> None:
    """Raises a UserError where so many beginnings, of so many numbers each, fill the memory."""
    if beginnings * most > MOST_NUMBERS:
        raise UserError(
            f"{beginnings:,} beginnings with {most:,} numbers each fill the memory: lower beam or "
            "batch_size"
        )


@dataclass
class _Task:
    """What both ways of searching need to know; as `search` documents it."""

    step: Next
    take: Take
    start: int
    end: int
    longest: int
    length_penalty: float

    def score(self, log_p: Tensor, count: Tensor | int) -> Tensor:
        return log_p / torch.as_tensor(count).to(log_p) ** self.length_penalty


def _greedy(task: _Task, carried: Any, token: Tensor) -> Found:
    rows = len(token)
    written = token.new_full((rows, task.longest), task.end)
    lengths = torch.zeros_like(token)
    total = torch.zeros(rows, device=token.device)
    sources, running = torch.arange(rows, device=token.device), torch.ones_like(token).bool()
    for number in range(task.longest):
        log_p, carried = task.step(token, carried)
        value, token = log_p.max(dim=-1)
        token = token.where(running, task.end)
        total[sources] += value.where(running, 0.0)
        running = token != task.end
        written[sources, number] = token
        lengths[sources] += running.long()
        if number % EVERY == EVERY - 1:
            left = running.nonzero().squeeze(1)
            if not len(left):
                break
            sources, token, running = sources[left], token[left], running[left]
            carried = task.take(carried, left)
    count = (lengths + 1).clamp(max=task.longest)  # with the end token
    return Found(written[:, None], lengths[:, None], task.score(total, count)[:, None])


def _beam(task: _Task, carried: Any, token: Tensor, beam: int, best: int) -> Found:
    rows, device = len(token), token.device
    sources = torch.arange(rows, device=device)
    carried = task.take(carried, sources.repeat_interleave(beam))
    found = Found(
        token.new_full((rows, best, task.longest), task.end),
        token.new_zeros(rows, best),
        torch.full((rows, best), -torch.inf, device=device),
    )
    # of the beginnings of each source only the first counts at the start: the others are the same
    log_p = torch.full((rows, beam), -torch.inf, device=device)
    log_p[:, 0] = 0.0
    written = token.new_full((rows, beam, task.longest), task.end)
    token = token.repeat_interleave(beam)
    ends, scores, lengths = found.tokens, found.scores, found.lengths  # of the sources that run
    for number in range(task.longest):
        running = len(sources)
        each, carried = task.step(token, carried)
        size = each.shape[-1]
        each = (log_p.unsqueeze(2) + each.view(running, beam, size)).flatten(1)  # (B, K*V)
        # at most one continuation of each beginning ends, so half of these do not
        values, indices = each.topk(min(2 * beam, each.shape[1]), dim=1)
        parents, tokens = indices // size, indices % size
        ended = tokens == task.end
        whole = torch.take_along_dim(written, parents.unsqueeze(2), 1)
        whole[:, :, number] = tokens

        last = number == task.longest - 1
        offered = task.score(values, number + 1)
        offered = offered.where(torch.tensor(last, device=device) | ended, -torch.inf)
        scores, kept = torch.cat([scores, offered], dim=1).topk(best, dim=1)
        ends = torch.take_along_dim(torch.cat([ends, whole], dim=1), kept.unsqueeze(2), 1)
        counts = number + 1 - ended.long()
        lengths = torch.cat([lengths, counts], dim=1).gather(1, kept)
        found.tokens[sources], found.scores[sources], found.lengths[sources] = ends, scores, lengths

        log_p, chosen = values.masked_fill(ended, -torch.inf).topk(beam, dim=1)
        written = torch.take_along_dim(whole, chosen.unsqueeze(2), 1)
        token = tokens.gather(1, chosen).flatten()
        first = torch.arange(running, device=device).unsqueeze(1) * beam
        origins = (first + parents.gather(1, chosen)).flatten()
        if number % EVERY == EVERY - 1:
            # log-probabilities only fall, so this is the best that a beginning can become
            left = (task.score(log_p[:, 0], task.longest) > scores[:, -1]).nonzero().squeeze(1)
            if not len(left):
                break
            sources, log_p, written = sources[left], log_p[left], written[left]
            ends, scores, lengths = ends[left], scores[left], lengths[left]
            token = token.view(running, beam)[left].flatten()
            origins = origins.view(running, beam)[left].flatten()
        carried = task.take(carried, origins)
    return found
