"""A few keywords in filler determine the class of a text: the task that separates heads.

python scripts/train.py --config-dir examples/configs data=needle model.head=max_pool
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from seqmodels.data import SPLITS, Examples, SequenceDataModule, Tokens
from seqmodels.errors import UserError

# How many different filler tokens there are.
FILLERS = 20


class Needle(SequenceDataModule):
    """Generated texts with keywords side by side; all classes are equally frequent.

    Args:
        position: where the keywords are.
        length: the largest number of tokens in a text; the smallest is three quarters of it.
        needles: how many keywords a text has.
        sizes: how many texts are in the training, validation and test split.

    Raises:
        UserError: for a `length` that leaves no room for filler.
    """

    def __init__(
        self,
        position: Literal["start", "middle", "end"] = "start",
        length: int = 100,
        needles: int = 3,
        num_classes: Annotated[int, Field(ge=2)] = 4,
        sizes: tuple[int, int, int] = (2000, 500, 1000),
        **options,
    ):
        super().__init__(Tokens(), **options)
        if length * 3 // 4 <= needles:
            raise UserError(f"data.length={length} leaves no room for filler: increase it")
        self.position = position
        self.length = length
        self.needles = needles
        self.num_classes = num_classes
        self.sizes = sizes

    @property
    def title(self) -> str:
        return f"needle, {self.position} of {self.length}"

    def read(self) -> Mapping[str, Examples]:
        random = np.random.default_rng(self.split_seed)
        examples = {}
        for split, size in zip(SPLITS, self.sizes, strict=True):
            labels = [str(number % self.num_classes) for number in range(size)]
            texts = [self._text(label, random) for label in labels]
            examples[split] = Examples(texts, labels, f"needle {split}")
        return examples

    def _text(self, label: str, random: np.random.Generator) -> str:
        length = int(random.integers(self.length * 3 // 4, self.length + 1))
        num_fillers = length - self.needles
        fillers = [f"filler{number}" for number in random.integers(FILLERS, size=num_fillers)]
        needles = [f"needle{label}"] * self.needles
        start = {"start": 0, "middle": num_fillers // 2, "end": num_fillers}[self.position]
        return " ".join([*fillers[:start], *needles, *fillers[start:]])
