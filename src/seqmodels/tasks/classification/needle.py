"""A few keywords in filler: the task that separates heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from seqmodels.arguments import Count, Passed, Sizes
from seqmodels.data.examples import Examples
from seqmodels.data.module import SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.text import Text
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.data.tokens import Tokens
from seqmodels.errors import UserError

FILLERS = 20  # different filler tokens


class Needle(SequenceDataModule):
    """Generated texts: filler plus keywords, side by side, that determine the class of the text.

    Args:
        position: where the keywords are: `start`, `middle` or `end`.
        length: the largest number of tokens in a text; the smallest is three quarters of it.
        needles: how many keywords a text has.
        num_classes: how many classes there are; all are equally frequent.
        sizes: how many texts are in the training, validation and test split.
        options: `batch_size`, `split_seed` and the other arguments of `SequenceDataModule`.

    Raises:
        UserError: for a `length` that leaves no room for filler.
    """

    def __init__(
        self,
        *,
        position: Literal["start", "middle", "end"] = "start",
        length: Count = 100,
        needles: Count = 3,
        num_classes: Annotated[int, Field(ge=2)] = 4,
        sizes: Sizes = (2000, 500, 1000),
        **options: Annotated[Any, Passed("inputs")],
    ) -> None:
        super().__init__(Tokens(TokenizerOptions(lowercase=True)), **options)
        if length * 3 // 4 <= needles:
            raise UserError(f"data.length={length} leaves no room for filler: increase it")
        self.position, self.length, self.needles = position, length, needles
        self.num_classes, self.sizes = num_classes, sizes

    @property
    def title(self) -> str:
        return f"needle, {self.position} of {self.length}"

    def read(self) -> Mapping[Split, Examples]:
        random = np.random.default_rng(self.split_seed)
        examples: dict[Split, Examples] = {}
        for split, size in zip(SPLITS, self.sizes, strict=True):
            texts = [self._text(number % self.num_classes, random) for number in range(size)]
            labels = [str(number % self.num_classes) for number in range(size)]
            examples[split] = Examples(texts, labels, f"needle {split}")
        return examples

    def read_file(self, path: str) -> Iterator[tuple[str, str | None]]:
        return Text().read_file(path)

    def read_inputs(self, path: str) -> Iterator[str]:
        return Text().read_inputs(path)

    def _text(self, label: int, random: np.random.Generator) -> str:
        filler = int(random.integers(self.length * 3 // 4, self.length + 1)) - self.needles
        words = [f"filler{number}" for number in random.integers(FILLERS, size=filler)]
        start = {"start": 0, "middle": filler // 2, "end": filler}[self.position]
        words[start:start] = [f"needle{label}"] * self.needles
        return " ".join(words)
