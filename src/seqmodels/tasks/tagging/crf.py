"""A linear-chain conditional random field: it scores whole taggings, not tags one by one.

The score of tags `y` of a row is the sum of `scores[t, y[t]]` over its steps, of
`path[y[t - 1], y[t]]`, and of what the first and the last tag score as such: `path[-1, y[0]]` and
`path[y[-1], -1]`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.device import exact
from seqmodels.nn.outputs import Features, Mask, Output, Score, full

Scores = Float[Tensor, "batch time tags"]
Path = Float[Tensor, "tags_and_end tags_and_end"]
Lengths = Int[Tensor, " batch"]


class CRF(Output):
    """A CRF (Lafferty et al. 2001; over an LSTM: Huang et al. 2015,
    https://arxiv.org/abs/1508.01991).

    The loss is the negative log-likelihood of a row's tags, as a mean over known tags, not rows, so
    that it compares with a cross-entropy. A step without a tag (-100) may have any of them.

    Args:
        width: of the features.
    """

    targets = ("tag",)
    links_steps = True

    def __init__(self, width: int, num_tags: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, num_tags)
        self.transitions = nn.Parameter(torch.zeros(num_tags + 1, num_tags + 1))

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def score(self, features: Features, targets: Tensor, mask: Mask = None) -> Score:
        logits = self(features)
        unlikely, known = self._unlikeliness(logits, targets, mask)
        return Score(unlikely / known.clamp(min=1), known, self._best(logits.detach(), mask))

    def _unlikeliness(self, logits: Tensor, targets: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """The negative log-likelihood of each row, and its number of known tags."""
        # in float64, because long rows lose digits, and `exp(-700)` is still a number
        scores, path, lengths = exact(logits), exact(self.transitions), _lengths(logits, mask)
        known, tags = targets >= 0, targets.clamp(min=0)
        count = known.sum(dim=1)
        # asking an accelerator whether all tags are known would wait for it
        if targets.device.type == "cpu" and torch.equal(count, lengths):
            every = log_partition(scores, path, lengths)
            steps = scores.gather(2, tags.unsqueeze(2)).squeeze(2)
            steps = steps + path[F.pad(tags[:, :-1], (1, 0), value=-1), tags]
            last = tags.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
            right = (steps * known).sum(dim=1) + path[last, -1]
        else:
            other = known.unsqueeze(2).expand_as(scores).scatter(2, tags.unsqueeze(2), False)
            both = torch.cat([scores, scores.masked_fill(other, -torch.inf)])
            every, right = log_partition(both, path, lengths.repeat(2)).chunk(2)
        return (every - right).to(full(logits).dtype), count

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self._best(self(features), mask)

    def _best(self, logits: Tensor, mask: Mask) -> Tensor:
        path = self.transitions.detach()
        return best_tags(logits.to(path.dtype), path, _lengths(logits, mask))

    def decision(self) -> dict[str, Any]:
        """What decides besides the logits, for an export: what each tag scores as the first of a
        row, after another, and as the last."""
        path = self.transitions.detach()
        parts = {"starts": path[-1, :-1], "transitions": path[:-1, :-1], "ends": path[:-1, -1]}
        return {name: part.tolist() for name, part in parts.items()}


def log_partition(scores: Scores, path: Path, lengths: Lengths) -> Float[Tensor, " batch"]:
    """The logarithm of the sum of `exp(score)` over all ways to tag each row.

    It multiplies probabilities by a matrix at each step and scales them, which is faster than to
    add C * C logarithms. `scores` are -inf for a tag that a step does not have, if it may have
    another.
    """
    top, into = scores.detach().amax(dim=2, keepdim=True), path.exp()
    # not `[:, step]`: the gradient of each would be as large as all
    first, *others = (scores - top).exp().unbind(dim=1)
    shares, scales = [first * into[-1, :-1]], [torch.ones_like(top[:, 0])]
    for own in others:
        after = (shares[-1] @ into[:-1, :-1]) * own
        scales.append(after.detach().amax(dim=1, keepdim=True))
        shares.append(after / scales[-1])
    row, steps = (torch.arange(n, device=scores.device) for n in scores.shape[:2])
    logs = (torch.stack(scales, dim=1).log() + top).squeeze(2) * (steps < lengths[:, None])
    ended = torch.stack(shares, dim=1)[row, lengths - 1] @ into[:-1, -1]
    return logs.sum(dim=1) + ended.log()


def best_tags(scores: Scores, path: Path, lengths: Lengths) -> Int[Tensor, "batch time"]:
    """The tags with the largest score (Viterbi 1967, "Error bounds for convolutional codes"); 0 at
    padding. `scores` and `path` are finite."""
    into, ends = path[:-1, :-1].T.contiguous(), path[:-1, -1]  # the rows: into one tag, from each
    first, *others = scores.unbind(dim=1)
    reached = [first + path[-1, :-1]]
    for own in others:
        best = (reached[-1].unsqueeze(1) + into).amax(dim=2)  # (B, C, C) -> (B, C)
        best -= best.amax(dim=1, keepdim=True)  # so that long rows don't lose digits
        reached.append(best + own)
    steps = torch.arange(scores.shape[1], device=scores.device)
    last = (steps == lengths[:, None] - 1).unsqueeze(2)
    chosen = [(reached.pop() + ends).argmax(dim=1)]
    for step in range(len(reached) - 1, -1, -1):
        following = ends.where(last[:, step], into[chosen[-1]])
        chosen.append((reached[step] + following).argmax(dim=1))
    return torch.stack(chosen[::-1], dim=1).masked_fill(steps >= lengths[:, None], 0)


def _lengths(logits: Tensor, mask: Mask) -> Lengths:
    whole = logits.new_full(logits.shape[:1], logits.shape[1], dtype=torch.int64)
    return whole if mask is None else mask.sum(dim=1)
