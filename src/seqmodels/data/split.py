"""Cuts a part off a labelled set, the same way every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqmodels.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Raw inputs (texts, or series as `(T, F)` arrays) and a label for each."""

    inputs: Sequence[Any]
    labels: Sequence[str]
    source: str

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Sequence[int]) -> Examples:
        """The examples at these indices."""
        return Examples(
            [self.inputs[i] for i in indices], [self.labels[i] for i in indices], self.source
        )


def cut(examples: Examples, fraction: float, seed: int, part: str) -> tuple[Examples, Examples]:
    """Cuts `fraction` of each class off, at random: `(what remains, what was cut off)`.

    A class with one example stays whole in what remains.

    Raises:
        UserError: if the fraction leaves nothing on one side.
    """
    if not 0 < fraction < 1:
        raise UserError(f"data.{part}_fraction is {fraction}: it must lie between 0 and 1")
    random = np.random.default_rng(seed)
    by_class: dict[str, list[int]] = {}
    for index, label in enumerate(examples.labels):
        by_class.setdefault(label, []).append(index)
    chosen: set[int] = set()
    for label in sorted(by_class):
        members = by_class[label]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen.update(random.permutation(members)[:count].tolist())
    if not chosen:
        raise UserError(
            f"cannot cut a {part} part from {examples.source}: no class has two examples; "
            f"give data.{part}"
        )
    remaining = [i for i in range(len(examples)) if i not in chosen]
    return examples.take(remaining), examples.take(sorted(chosen))
