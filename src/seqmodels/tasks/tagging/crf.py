"""A linear-chain conditional random field: it scores whole taggings, not tags one by one.

The score of tags `y` of a row is the sum of `scores[t, y[t]]` over its steps, of
`path[y[t - 1], y[t]]`, and of what the first and the last tag score as such: `path[-1, y[0]]` and
`path[y[-1], -1]`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
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
        width: the width of the features.
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
        costs, num_known = self._costs(logits, targets, mask)
        best = self._best(logits.detach(), mask)
        return Score(costs / num_known.clamp(min=1), num_known, best)

    def _costs(self, logits: Tensor, targets: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Returns the negative log-likelihood of each row, and its number of known tags."""
        # In float32, long rows lose digits, and `exp(-700)` is 0.
        scores = exact(logits)
        path = exact(self.transitions)
        lengths = _lengths(logits, mask)
        is_known = targets >= 0
        tags = targets.clamp(min=0)
        num_known = is_known.sum(dim=1)
        # To ask an accelerator whether all tags are known would wait for it.
        if targets.device.type == "cpu" and torch.equal(num_known, lengths):
            log_sum_of_all = log_partition(scores, path, lengths)
            log_sum_of_right = score_of_tags(scores, path, tags, is_known, lengths)
        else:
            # A step with a tag has no other; one without a tag may have any of them.
            is_wrong = is_known.unsqueeze(2).expand_as(scores)
            is_wrong = is_wrong.scatter(2, tags.unsqueeze(2), False)
            right_scores = scores.masked_fill(is_wrong, -torch.inf)
            log_sums = log_partition(torch.cat([scores, right_scores]), path, lengths.repeat(2))
            log_sum_of_all, log_sum_of_right = log_sums.chunk(2)
        return (log_sum_of_all - log_sum_of_right).to(full(logits).dtype), num_known

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self._best(self(features), mask)

    def _best(self, logits: Tensor, mask: Mask) -> Tensor:
        path = self.transitions.detach()
        return best_tags(logits.to(path.dtype), path, _lengths(logits, mask))

    def decision(self) -> dict[str, Any]:
        """Returns what decides besides the logits, for an export: what each tag scores as the first
        of a row, after another, and as the last."""
        path = self.transitions.detach()
        return {
            "starts": path[-1, :-1].tolist(),
            "transitions": path[:-1, :-1].tolist(),
            "ends": path[:-1, -1].tolist(),
        }


def score_of_tags(
    scores: Scores,
    path: Path,
    tags: Int[Tensor, "batch time"],
    is_known: Bool[Tensor, "batch time"],
    lengths: Lengths,
) -> Float[Tensor, " batch"]:
    """Returns the score of each row's own tags, which are known up to its end."""
    tag_scores = scores.gather(2, tags.unsqueeze(2)).squeeze(2)
    previous_tags = F.pad(tags[:, :-1], (1, 0), value=-1)
    step_scores = tag_scores + path[previous_tags, tags]
    last_tags = tags.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
    return (step_scores * is_known).sum(dim=1) + path[last_tags, -1]


def log_partition(scores: Scores, path: Path, lengths: Lengths) -> Float[Tensor, " batch"]:
    """Returns the logarithm of the sum of `exp(score)` over all ways to tag each row.

    It multiplies probabilities by a matrix at each step and scales them, which is faster than to
    add C * C logarithms. `scores` are -inf for a tag that a step does not have, if it may have
    another.
    """
    largest_scores = scores.detach().amax(dim=2, keepdim=True)
    path_factors = path.exp()
    # We unbind the steps because the gradient of each `[:, step]` would be as large as all.
    first_factors, *later_factors = (scores - largest_scores).exp().unbind(dim=1)
    # The share of each tag in the sum over all ways up to a step, (B, C), and its scale, (B, 1).
    shares = [first_factors * path_factors[-1, :-1]]
    scales = [torch.ones_like(largest_scores[:, 0])]
    for factors in later_factors:
        sums = (shares[-1] @ path_factors[:-1, :-1]) * factors
        scales.append(sums.detach().amax(dim=1, keepdim=True))
        shares.append(sums / scales[-1])

    rows = torch.arange(scores.shape[0], device=scores.device)
    steps = torch.arange(scores.shape[1], device=scores.device)
    is_valid = steps < lengths[:, None]
    log_scales = (torch.stack(scales, dim=1).log() + largest_scores).squeeze(2) * is_valid
    last_shares = torch.stack(shares, dim=1)[rows, lengths - 1]
    ended = last_shares @ path_factors[:-1, -1]
    return log_scales.sum(dim=1) + ended.log()


def best_tags(scores: Scores, path: Path, lengths: Lengths) -> Int[Tensor, "batch time"]:
    """Returns the tags with the largest score (Viterbi 1967, "Error bounds for convolutional
    codes"); 0 at padding. `scores` and `path` are finite."""
    path_into = path[:-1, :-1].T.contiguous()  # (C, C): into a tag (row), from each (column)
    end_scores = path[:-1, -1]
    first_scores, *later_scores = scores.unbind(dim=1)
    # The score of the best way up to a step that ends in each tag, (B, C).
    best_scores = [first_scores + path[-1, :-1]]
    for step_scores in later_scores:
        best = (best_scores[-1].unsqueeze(1) + path_into).amax(dim=2)  # (B, C, C) -> (B, C)
        best -= best.amax(dim=1, keepdim=True)  # Without this, long rows lose digits.
        best_scores.append(best + step_scores)

    steps = torch.arange(scores.shape[1], device=scores.device)
    is_last = (steps == lengths[:, None] - 1).unsqueeze(2)
    tags_from_the_end = [(best_scores.pop() + end_scores).argmax(dim=1)]
    for step in range(len(best_scores) - 1, -1, -1):
        scores_after = end_scores.where(is_last[:, step], path_into[tags_from_the_end[-1]])
        tags_from_the_end.append((best_scores[step] + scores_after).argmax(dim=1))
    tags = torch.stack(tags_from_the_end[::-1], dim=1)
    return tags.masked_fill(steps >= lengths[:, None], 0)


def _lengths(logits: Tensor, mask: Mask) -> Lengths:
    if mask is None:
        return logits.new_full(logits.shape[:1], logits.shape[1], dtype=torch.int64)
    return mask.sum(dim=1)
