"""Random letters to be written backwards, such as `gtab` and `batg`: how much does a state hold?

python scripts/train.py --config-dir examples/configs experiment=seq2seq data=reversal
"""

from collections.abc import Mapping

import numpy as np

from seqmodels.data import SPLITS, Examples
from seqmodels.tasks.seq2seq import PairDataModule

LETTERS = np.array([*"abcdefghijklmnopqrst"])


class Reversal(PairDataModule):
    """Texts of random letters, and the same letters backwards.

    Args:
        length: the largest number of letters; the smallest is three quarters of it.
        sizes: how many texts the training, validation and test split have, with those that an
            earlier split has, too, which are left out.
    """

    def __init__(
        self, length: int = 10, sizes: tuple[int, int, int] = (10_000, 500, 1000), **options
    ):
        super().__init__(**options)
        self.length = length
        self.sizes = sizes

    def read(self) -> Mapping[str, Examples]:
        random = np.random.default_rng(self.split_seed)
        earlier_texts = set()
        examples = {}
        for split, size in zip(SPLITS, self.sizes, strict=True):
            texts = self._texts(size, random)
            new_texts = [text for text in dict.fromkeys(texts) if text not in earlier_texts]
            earlier_texts.update(new_texts)
            pairs = [(text, [text[::-1]]) for text in new_texts]
            examples[split] = self.examples_of(pairs, f"reversal of {self.length}, {split}")
        return examples

    def _texts(self, size: int, random: np.random.Generator) -> list[str]:
        texts = []
        for length in random.integers(self.length * 3 // 4, self.length + 1, size):
            letters = LETTERS[random.integers(len(LETTERS), size=length)]
            texts.append("".join(letters))
        return texts
