"""Tags that depend on each other: a linear-chain CRF, and decoding by the scheme of the tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seqmodels.batch import PADDING_TARGET
from seqmodels.nn.outputs import ClassOutput, Features, Mask, Output
from seqmodels.tasks.tagging.chain import best_tags, log_partition

Allowed = Sequence[Sequence[bool]]  # as `tags.allowed` gives it
PATH = ("starts", "transitions", "ends")  # what the tags of a row score besides the logits
FORBIDDEN = -1e4  # finite: where no tags follow the scheme, those with the fewest breaks are best


class CRF(Output):
    """A linear-chain conditional random field (Lafferty et al. 2001; over an LSTM: Huang et al.
    2015, https://arxiv.org/abs/1508.01991): scores whole taggings, not tags one by one.

    The loss is the negative log-likelihood of a row's tags, as a mean over known tags, not rows, so
    that it compares with a cross-entropy. A step without a tag (-100) may have any of them.

    Args:
        width: of the features.
        allowed: decode only what the scheme of the tags allows. The loss doesn't know of it, so it
            stays finite for data that breaks the scheme.
        label_smoothing: the loss is its expectation if each tag of a row were replaced, with this
            probability, by one drawn from all. With transitions of 0 that is what
            `torch.nn.functional.cross_entropy` does. Acts in training only, and not on rows with
            unknown tags.
    """

    targets = ("tag",)
    links_steps = True

    def __init__(
        self,
        width: int,
        num_tags: int,
        *,
        allowed: Allowed | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(width, num_tags)
        self.starts = nn.Parameter(torch.zeros(num_tags))
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))  # from a row, to a column
        self.ends = nn.Parameter(torch.zeros(num_tags))
        self.decoder = Decoder(num_tags, allowed)
        self.label_smoothing = label_smoothing

    def forward(self, features: Features) -> Tensor:
        return self.project(features)

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return self._loss(self(features), targets, mask)

    def losses(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return self._loss(self(features), targets, mask, by_row=True)

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.decoder(self(features), mask, self)

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        logits = self(features)
        with torch.no_grad():
            decision = self.decoder(logits, mask, self)
        return self._loss(logits, targets, mask), decision

    def _loss(self, logits: Tensor, targets: Tensor, mask: Mask, *, by_row: bool = False) -> Tensor:
        # sums over many steps lose digits in float32, which is all that MPS has
        dtype = torch.float32 if logits.device.type == "mps" else torch.float64
        scores, starts, transitions, ends = (
            x.to(dtype) for x in (logits, self.starts, self.transitions, self.ends)
        )
        valid = _valid(logits, mask)
        lengths = valid.sum(dim=1)
        scores = _with_ends(scores, lengths, starts, ends)
        known = (targets != PADDING_TARGET) & valid
        likelihood = self._score(scores, transitions, targets.clamp(min=0), valid)
        complete = known.sum(dim=1) == lengths
        # asking an accelerator whether all are known would wait for it
        if targets.device.type == "cpu" and bool(complete.all()):
            likelihood = likelihood - log_partition(scores, transitions, lengths)
        else:
            tags = torch.arange(scores.shape[-1], device=scores.device)
            other = known.unsqueeze(-1) & (tags != targets.unsqueeze(-1))
            both = torch.cat([scores.masked_fill(other, -torch.inf), scores])
            possible, every = log_partition(both, transitions, lengths.repeat(2)).chunk(2)
            likelihood = torch.where(complete, likelihood, possible) - every
        total, count = (likelihood, known.sum(1)) if by_row else (likelihood.sum(), known.sum())
        mean = -total / count.clamp(min=1)
        return mean.to(torch.promote_types(logits.dtype, torch.float32))

    def _score(self, scores: Tensor, transitions: Tensor, tags: Tensor, valid: Tensor) -> Tensor:
        """The score of these tags; of a smoothed label, its expectation. `(B,)`."""
        if self.training and (share := self.label_smoothing):
            kept = 1 - share
            scores = kept * scores + share * scores.mean(dim=-1, keepdim=True)
            from_any, to_any = transitions.mean(dim=0), transitions.mean(dim=1, keepdim=True)
            transitions = kept**2 * transitions + kept * share * (from_any + to_any)
            transitions = transitions + share**2 * from_any.mean()
        steps = scores.gather(2, tags.unsqueeze(-1)).squeeze(-1) * valid
        pairs = transitions[tags[:, :-1], tags[:, 1:]] * valid[:, 1:]
        return steps.sum(dim=1) + pairs.sum(dim=1)


class ConstrainedClasses(ClassOutput):
    """`ClassOutput` that decodes the likeliest tags of a row that the scheme of the tags allows.

    Args:
        width, num_classes, options: as `ClassOutput` takes them.
        allowed: what the scheme allows.
    """

    targets = ("tag",)
    links_steps = True

    def __init__(self, width: int, num_classes: int, allowed: Allowed, **options: Any) -> None:
        super().__init__(width, num_classes, **options)
        self.decoder = Decoder(num_classes, allowed)

    def decode(self, features: Features, mask: Mask = None) -> Tensor:
        return self.decoder(self(features), mask, self)

    def loss_and_decision(
        self, features: Features, targets: Tensor, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        loss, _ = super().loss_and_decision(features, targets, mask)
        with torch.no_grad():
            return loss, self.decode(features, mask)


class Decoder(nn.Module):
    """The best tags of a row, of those that a scheme allows.

    Args:
        allowed: None allows all.
    """

    penalties: Tensor  # (C + 1, C + 1), of what `allowed` says

    def __init__(self, num_tags: int, allowed: Allowed | None = None) -> None:
        super().__init__()
        penalties = torch.zeros(num_tags + 1, num_tags + 1)
        if allowed is not None:
            penalties[~torch.tensor(allowed)] = FORBIDDEN
        self.register_buffer("penalties", penalties, persistent=False)  # follows from the tags

    def path(self, output: nn.Module) -> list[Tensor]:
        """The `starts`, `transitions` and `ends` of an output, which may have none, with the
        penalties."""
        parts = (self.penalties[-1, :-1], self.penalties[:-1, :-1], self.penalties[:-1, -1])
        return [part + getattr(output, name, 0.0) for name, part in zip(PATH, parts, strict=True)]

    def forward(
        self, logits: Float[Tensor, "batch time tags"], mask: Mask, output: nn.Module
    ) -> Int[Tensor, "batch time"]:
        """`(B, T, C) -> (B, T)`, 0 at padding."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        lengths = _valid(logits, mask).sum(dim=1)
        starts, transitions, ends = self.path(output)
        return best_tags(_with_ends(logits, lengths, starts, ends), transitions, lengths)


def path_scores(output: Output, num_tags: int) -> dict[str, Any]:
    """`starts`, `transitions` and `ends` that an output decides by, as lists; 0 where it has none.

    They are float32 numbers, but JSON and numpy keep them exactly.
    """
    decoder: Any = getattr(output, "decoder", None) or Decoder(num_tags)
    scores = decoder.path(output)
    return {name: score.tolist() for name, score in zip(PATH, scores, strict=True)}


def _valid(logits: Tensor, mask: Mask) -> Bool[Tensor, "batch time"]:
    return logits.new_ones(logits.shape[:2], dtype=torch.bool) if mask is None else mask


def _with_ends(scores: Tensor, lengths: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Adds what a tag scores as the first of a row, and as the last."""
    steps = torch.arange(scores.shape[1], device=scores.device).unsqueeze(-1)
    last = steps == lengths[:, None, None] - 1
    return scores + torch.where(steps == 0, starts, 0) + torch.where(last, ends, 0)
