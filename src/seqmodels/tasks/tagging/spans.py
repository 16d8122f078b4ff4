"""How many spans are right, by the rules of conlleval."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET, UNSEEN_TARGET
from seqmodels.data.targets import OUTSIDE, begins, parse, span_types

UNSEEN_TYPE = "never seen in training"


class SpanCounter(nn.Module):
    """How many spans of each of K types are right, were predicted, and are there: `(3, K)` int64.

    A span is right if its type and both its ends are. In tags that break their scheme, spans are
    what conlleval takes for them (`tags.begins`). A step without a target (-100) is outside of all
    spans, predicted or true. Types that training never saw are one more type, the last one, which
    is never predicted. Nothing waits for the device.

    Args:
        tags: the names of the C tags.
    """

    type_of: Tensor  # (C + 3,): of each tag; K for none
    first: Tensor  # (C + 3, C + 3): whether a span begins with a tag (column) after another (row)

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self.types = [*span_types(tags), UNSEEN_TYPE]
        # after the tags: for steps without a target or with an unseen one, outside, inside, begun
        size, names = len(self.types), [*tags, OUTSIDE, f"I-{UNSEEN_TYPE}", f"B-{UNSEEN_TYPE}"]
        kinds = [self.types.index(kind) if (kind := parse(tag)[1]) else size for tag in names]
        first = [[begins(previous, tag) for tag in names] for previous in names]
        self.register_buffer("type_of", torch.tensor(kinds), persistent=False)
        self.register_buffer("first", torch.tensor(first), persistent=False)

    def forward(
        self, made: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]
    ) -> Int[Tensor, "3 types"]:
        nothing, none = len(self.type_of) - 3, len(self.types)
        unknown = targets == PADDING_TARGET
        there = torch.where(targets < 0, nothing + UNSEEN_TARGET - targets, targets)
        made, there = (tags.masked_fill(unknown, nothing) for tags in (made, there))
        kinds, ends = self._spans(made)
        true_kinds, true_ends = self._spans(there)
        right = (kinds == true_kinds) & (ends == true_ends)
        rows = torch.stack([kinds.where(right, none), kinds, true_kinds]).flatten(1)
        counts = rows.new_zeros(3, none + 1)
        return counts.scatter_add_(1, rows, torch.ones_like(rows))[:, :-1]

    def _spans(self, tags: Tensor) -> tuple[Tensor, Tensor]:
        """For each step `(B, T)`, the type of the span that begins there, K for none, and the last
        step of the span that ends there or next."""
        none, steps = len(self.types), torch.arange(tags.shape[1], device=tags.device)
        tags = F.pad(tags, (1, 1), value=len(self.type_of) - 3)
        kinds, first = self.type_of[tags], self.first[tags[:, :-1], tags[:, 1:]]
        last = (kinds[:, 1:-1] < none) & (first[:, 1:] | (kinds[:, 2:] == none))
        ends = steps.where(last, len(steps)).flip(1).cummin(dim=1).values.flip(1)
        return kinds[:, 1:-1].where(first[:, :-1], none), ends
