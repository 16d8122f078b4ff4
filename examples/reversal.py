"""Random letters to be written backwards, such as `gtab` and `batg`: how much does a state hold?

python scripts/train.py --config-dir examples/configs experiment=seq2seq data=reversal
"""

from collections.abc import Mapping

import numpy as np

from seqmodels.data import SPLITS, Examples
from seqmodels.tasks.seq2seq import PairDataModule

LETTERS = np.array([*"abcdefghijklmnopqrst"])


class Reversal(PairDataModule):
    """`sizes`: how many texts are in the training, validation and test split, without those that an
    earlier split has too; `length`: the largest number of letters, and the smallest is three
    quarters of it."""

    def __init__(
        self, length: int = 10, sizes: tuple[int, int, int] = (10_000, 500, 1000), **options
    ):
        super().__init__(**options)
        self.length, self.sizes = length, sizes

    def read(self) -> Mapping[str, Examples]:
        random, seen, found = np.random.default_rng(self.split_seed), set[str](), {}
        for split, size in zip(SPLITS, self.sizes, strict=True):
            lengths = random.integers(self.length * 3 // 4, self.length + 1, size)
            texts = ("".join(LETTERS[random.integers(len(LETTERS), size=n)]) for n in lengths)
            new = [text for text in dict.fromkeys(texts) if text not in seen]
            seen.update(new)
            pairs = ((text, [text[::-1]]) for text in new)
            found[split] = self.examples_of(pairs, f"reversal of {self.length}, {split}")
        return found
