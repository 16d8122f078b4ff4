"""Made texts whose spans depend on the words before and after: data for taggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seqmodels.data import SPLITS, Examples, SequenceDataModule, Tags, TokenizerOptions, Tokens
from tests.conftest import ROOT

ALLOWED = "allowed_targets=[tests.tagged.Tagged]"
TAGGED = ("--config-dir", str(ROOT / "tests" / "configs"), "model=tagger", "data=tagged", ALLOWED)
"""What to give train.py to train a tagger on this data."""


class Tagged(SequenceDataModule):
    """Words `a` to `f`. `a` begins a span that lasts until a `d`; its type depends on the word
    before the span."""

    def __init__(self, *, sizes: Sequence[int] = (96, 20, 24), **options: Any) -> None:
        super().__init__(Tokens(TokenizerOptions(level="space")), Tags(), **options)
        self.sizes = sizes

    def read(self) -> Mapping[Any, Examples]:
        random = np.random.default_rng(0)
        made = {}
        for split, size in zip(SPLITS, self.sizes, strict=True):
            rows = [
                random.choice([*"abcdef"], random.integers(2, 14)).tolist() for _ in range(size)
            ]
            tags = [list(tags_of(row)) for row in rows]
            made[split] = Examples([" ".join(row) for row in rows], tags, f"made {split}")
        return made


def tags_of(words: Sequence[str]) -> Iterator[str]:
    inside = ""
    for previous, word in zip(["", *words], words, strict=False):
        if word == "a":
            inside = "x" if previous in ("b", "c") else "y"
            yield f"B-{inside}"
        elif word == "d" or not inside:
            inside = ""
            yield "O"
        else:
            yield f"I-{inside}"
