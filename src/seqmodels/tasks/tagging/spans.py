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
    what conlleval takes for them (`begins`). A step without a target (-100) is outside of all
    spans, predicted or true. Types that training never saw are one more type, the last one, which
    is never predicted. Nothing waits for the device.

    Args:
        tags: the names of the C tags.
    """

    type_of_tag: Tensor  # (C + 3,): the number of each tag's type; K for none
    # (C + 3, C + 3): whether a span begins with a tag (column) that follows another (row)
    begins_after: Tensor

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self.types = [*span_types(tags), UNSEEN_TYPE]
        # Three tags follow those of the data: for a step without a target, and for one whose tag is
        # unseen, inside of a span or at its beginning.
        names = [*tags, OUTSIDE, f"I-{UNSEEN_TYPE}", f"B-{UNSEEN_TYPE}"]
        self.outside = len(tags)
        self.no_type = len(self.types)
        type_numbers = []
        for name in names:
            _, span_type = parse(name)
            type_numbers.append(self.types.index(span_type) if span_type else self.no_type)
        begins_after = [[begins(previous, name) for name in names] for previous in names]
        self.register_buffer("type_of_tag", torch.tensor(type_numbers), persistent=False)
        self.register_buffer("begins_after", torch.tensor(begins_after), persistent=False)

    def forward(
        self, predicted: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]
    ) -> Int[Tensor, "3 types"]:
        has_no_target = targets == PADDING_TARGET
        # An unseen tag is UNSEEN_TARGET or below, and one of the three that follow the data's.
        true = torch.where(targets < 0, self.outside + UNSEEN_TARGET - targets, targets)
        true = true.masked_fill(has_no_target, self.outside)
        predicted = predicted.masked_fill(has_no_target, self.outside)

        types, ends = self._spans(predicted)
        true_types, true_ends = self._spans(true)
        is_right = (types == true_types) & (ends == true_ends)
        right_types = types.where(is_right, self.no_type)
        counted = torch.stack([right_types, types, true_types]).flatten(1)  # (3, B * T)
        counts = counted.new_zeros(3, self.no_type + 1)
        counts.scatter_add_(1, counted, torch.ones_like(counted))
        return counts[:, :-1]

    def _spans(self, tags: Tensor) -> tuple[Tensor, Tensor]:
        """Returns for each step `(B, T)` the type of the span that begins there, K for none, and
        the last step of the span that ends there or next."""
        tags = F.pad(tags, (1, 1), value=self.outside)
        types = self.type_of_tag[tags]  # (B, T + 2)
        begins_here = self.begins_after[tags[:, :-1], tags[:, 1:]]  # (B, T + 1)
        is_inside = types[:, 1:-1] < self.no_type
        next_is_outside = types[:, 2:] == self.no_type
        is_last = is_inside & (begins_here[:, 1:] | next_is_outside)

        steps = torch.arange(is_last.shape[1], device=tags.device)
        last_steps = steps.where(is_last, len(steps))
        # The end that comes next is the smallest last step from here on.
        ends = last_steps.flip(1).cummin(dim=1).values.flip(1)
        return types[:, 1:-1].where(begins_here[:, :-1], self.no_type), ends
