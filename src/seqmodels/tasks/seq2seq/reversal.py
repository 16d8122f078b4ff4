"""Made-up letters to be written backwards: how much does a state hold?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from seqmodels.arguments import Sizes
from seqmodels.data.examples import Examples
from seqmodels.data.module import SPLITS, Split
from seqmodels.tasks.seq2seq.pairs import PairDataModule

LETTERS = "abcdefghijklmnopqrst"


class Reversal(PairDataModule):
    """Random letters, to be written from the last to the first: `gtab` gives `batg`.

    Args:
        length: the largest number of letters; the smallest is three quarters of it.
        sizes: how many texts are in the training, validation and test split.
        options: `batch_size`, `split_seed` and the other arguments of `PairDataModule`.
    """

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=4)] = 10,
        sizes: Sizes = (10_000, 500, 1000),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.length, self.sizes = length, sizes

    @property
    def title(self) -> str:
        return f"reversal of {self.length}"

    def read(self) -> Mapping[Split, Examples]:
        random, letters = np.random.default_rng(self.split_seed), np.array([*LETTERS])
        examples: dict[Split, Examples] = {}
        seen: set[str] = set()
        for split, size in zip(SPLITS, self.sizes, strict=True):
            lengths = random.integers(self.length * 3 // 4, self.length + 1, size)
            texts = ("".join(letters[random.integers(len(letters), size=n)]) for n in lengths)
            new = [text for text in dict.fromkeys(texts) if text not in seen]
            seen.update(new)
            pairs = ((text, [text[::-1]]) for text in new)
            examples[split] = self.examples_of(pairs, f"{self.title}, {split}")
        return examples
