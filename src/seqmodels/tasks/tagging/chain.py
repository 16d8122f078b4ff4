"""Sum and maximum over all ways to tag a sequence, where each tag depends on the one before.

The score of tags `y` of a row is the sum of `scores[t, y[t]]` over its steps, and of
`transitions[y[t - 1], y[t]]`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

Scores = Float[Tensor, "batch time tags"]
Transitions = Float[Tensor, "tags tags"]

# A transition is taken for one that is so many nats below the best one if it is further below. So
# no message can become 0, for any scores: `exp(-LOWEST)` squared is still a number.
LOWEST = {torch.float64: 300.0, torch.float32: 30.0}


def log_partition(
    scores: Scores, transitions: Transitions, lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """The logarithm of the sum of `exp(score)` over all ways to tag each row.

    It multiplies probabilities by a matrix at each step and scales them, instead of adding C * C
    logarithms, and gets the gradient from messages in both directions (Rabiner 1989, "A tutorial on
    hidden Markov models") that are sent together. So it is fast, and exact to rounding.

    Args:
        scores: `(B, T, C)`, float64 or float32; -inf for a tag that a step does not have, if it may
            have another.
        transitions: `(C, C)`, from the tag of the row to the tag of the column.
        lengths: `(B,)` on the device of `scores`: the steps of each row.
    """
    with torch.autocast(scores.device.type, enabled=False):
        return _LogPartition.apply(scores, transitions, lengths)


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, transitions: Tensor, lengths: Tensor) -> Tensor:
        batch, time = scores.shape[:2]
        steps = torch.arange(time, device=scores.device)
        valid = steps < lengths[:, None]
        backwards = torch.where(valid, lengths[:, None] - 1 - steps, steps)  # each row by itself
        backwards = backwards.unsqueeze(-1).expand_as(scores)
        largest = scores.amax(dim=-1, keepdim=True)
        weights = (scores - largest).exp()
        both = torch.stack([weights, weights.gather(1, backwards)]).permute(2, 0, 1, 3).contiguous()
        best = transitions.max()
        matrix = (transitions - best).clamp(min=-LOWEST[scores.dtype]).exp()
        matrices = torch.stack([matrix, matrix.T])
        # messages of both directions, without and with the scores of the step: (T, 2, B, C)
        before, after = torch.ones_like(both), torch.empty_like(both)
        scales = both.new_empty(time, 2, batch, 1)
        earlier = None
        for weight, rest, all_, scale in zip(both, before, after, scales, strict=True):
            if earlier is not None:
                torch.bmm(earlier, matrices, out=rest)
            torch.mul(rest, weight, out=all_)
            torch.amax(all_, dim=-1, keepdim=True, out=scale)
            earlier = all_.div_(scale)
        forward = after[:, 0].transpose(0, 1)  # (B, T, C)
        last = forward[torch.arange(batch, device=scores.device), lengths - 1]
        rest, backward = (x[:, 1].transpose(0, 1).gather(1, backwards) for x in (before, after))
        ctx.save_for_backward(forward, rest, backward, matrix, valid)
        logs = scales[:, 0].transpose(0, 1).log() + largest  # (B, T, 1)
        return (logs.squeeze(-1) * valid).sum(dim=1) + best * (lengths - 1) + last.sum(dim=-1).log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        forward, rest, backward, matrix, valid = ctx.saved_tensors
        marginals = forward * rest
        total = marginals.sum(dim=-1, keepdim=True)
        share = torch.where(valid, gradient[:, None], 0).unsqueeze(-1) / total
        # of a pair of tags, at a step and the next: forward * matrix * backward / total
        pairs = (forward[:, :-1] * share[:, :-1] * valid[:, 1:, None]).flatten(0, 1)
        counts = matrix * (pairs.T @ backward[:, 1:].flatten(0, 1))
        return marginals * share, counts, None


def best_tags(
    scores: Scores, transitions: Transitions, lengths: Int[Tensor, " batch"]
) -> Int[Tensor, "batch time"]:
    """The tags with the largest score (Viterbi 1967, "Error bounds for convolutional codes"); 0 at
    padding. `scores` and `transitions` are finite."""
    time = scores.shape[1]
    into = transitions.T.contiguous()  # the rows: into one tag, from each
    reached = [scores[:, 0]]
    for step in range(1, time):
        best = (reached[-1].unsqueeze(1) + into).amax(dim=-1)  # (B, C, C) -> (B, C)
        best -= best.amax(dim=-1, keepdim=True)  # so that long rows don't lose digits
        reached.append(best + scores[:, step])
    steps = torch.arange(time, device=scores.device)
    last = (steps == lengths[:, None] - 1).unsqueeze(-1)  # (B, T, 1)
    tags = reached[-1].argmax(dim=-1)
    chosen = [tags]
    for step in range(time - 2, -1, -1):
        following = into[tags].masked_fill(last[:, step], 0)
        tags = (reached[step] + following).argmax(dim=-1)
        chosen.append(tags)
    return torch.stack(chosen[::-1], dim=1).masked_fill(steps >= lengths[:, None], 0)
