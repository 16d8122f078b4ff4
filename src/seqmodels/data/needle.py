"""A few telling tokens in a stretch of filler: the task that separates heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqmodels.data.module import SPLITS, Split
from seqmodels.data.split import Examples
from seqmodels.data.text import Text
from seqmodels.errors import UserError

FILLERS = 20  # different filler tokens


class Needle(Text):
    """Made on the fly: `needles` tokens that name the class, among filler that says nothing.

    Args:
        position: where the telling tokens are: at the `start`, in the `middle`, or at the `end`.
        length: of the longest sequence, in tokens; each has between three quarters of it and all.
        needles: how many telling tokens, side by side.
        num_classes: how many classes; chance is one in so many.
        sizes: how many sequences in the training, validation and test part.
        options: as in `Text`, but for the files and columns.
    """

    def __init__(
        self,
        *,
        position: str = "start",
        length: int = 100,
        needles: int = 3,
        num_classes: int = 4,
        sizes: Sequence[int] = (2000, 500, 1000),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if position not in ("start", "middle", "end"):
            raise UserError(f"data.position is {position!r}: choose start, middle or end")
        if needles < 1 or num_classes < 2:
            raise UserError("data.needles must be at least 1 and data.num_classes at least 2")
        if length * 3 // 4 <= needles:
            raise UserError(f"data.length={length} leaves no room for filler: make it longer")
        self.position, self.length, self.needles = position, length, needles
        self.num_classes, self.sizes = num_classes, sizes

    @property
    def title(self) -> str:
        return f"needle, {self.position} of {self.length}"

    def read(self) -> Mapping[Split, Examples]:
        random = np.random.default_rng(self.split_seed)
        parts: dict[Split, Examples] = {}
        for split, size in zip(SPLITS, self.sizes, strict=True):
            made = [self._sequence(number % self.num_classes, random) for number in range(size)]
            labels = [str(number % self.num_classes) for number in range(size)]
            parts[split] = Examples(made, labels, f"needle {split}")
        return parts

    def _sequence(self, label: int, random: np.random.Generator) -> str:
        filler = int(random.integers(self.length * 3 // 4, self.length + 1)) - self.needles
        words = [f"filler{number}" for number in random.integers(FILLERS, size=filler)]
        place = {"start": 0, "middle": filler // 2, "end": filler}[self.position]
        words[place:place] = [f"needle{label}"] * self.needles
        return " ".join(words)
