"""Tags that mark spans: `B-NP` begins one, `I-NP` is inside one, `O` is outside of all.

In BIO (IOB2) every span begins with B. In IOB1, only one right after another of its type does. In
BIOES a span ends with E, and a span of one step is S; in BILOU these two are L and U.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, UNSEEN_TARGET
from seqmodels.data.targets import NamedTargets, missing

OUTSIDE = "O"
SPAN_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
SAME = {"L": "E", "U": "S"}


def parse(tag: str) -> tuple[str, str]:
    """`B-NP` -> `("B", "NP")`, with E and S for L and U; of any other tag, `("O", "")`."""
    found = SPAN_TAG.fullmatch(tag)
    return (SAME.get(found[1], found[1]), found[2]) if found else (OUTSIDE, "")


def mark_spans(tags: Iterable[str]) -> bool:
    """Whether tags mark spans, as `NN` and `VB` don't."""
    return any(parse(tag)[0] in ("B", "I") for tag in tags)


def span_types(tags: Iterable[str]) -> list[str]:
    """`["O", "B-VP", "B-NP", "I-NP"]` -> `["NP", "VP"]`."""
    return sorted({kind for _, kind in map(parse, tags)} - {""})


def begins(previous: str, tag: str) -> bool:
    """Whether a span begins with a tag after another, by the rules of conlleval, which makes the
    best of tags that break their scheme (https://www.clips.uantwerpen.be/conll2000/chunking)."""
    (before, kind), (now, its_kind) = parse(previous), parse(tag)
    continues = before in ("B", "I") and now in ("I", "E") and kind == its_kind
    return now != OUTSIDE and not continues


class Tags(NamedTargets):
    """One tag per step. A raw target is the list of an example's tags, None or nan where one is not
    known; encoded, `(T,)` int64, -100 there.

    A tag of a span that training never saw is -2 inside the span and -3 where one begins, so that
    it counts as a span that the model has missed.
    """

    per = "step"
    target = "tag"
    word = "tag"

    def fit(self, raw: Sequence[Any], source: str) -> None:
        self._learn(self._present_names(raw), source, "tagging needs at least two tags")

    def _present_names(self, raw: Sequence[Any]) -> list[str]:
        return [str(tag) for tags in raw for tag in tags if not missing(tag)]

    def encode(self, raw: Sequence[Any], source: str) -> list[Tensor]:
        return [torch.tensor(self._numbers(tags), dtype=torch.int64) for tags in raw]

    def _numbers(self, raw: Iterable[Any]) -> list[int]:
        tags = ["" if missing(tag) else str(tag) for tag in raw]
        known = {**self.names, "": PADDING_TARGET}
        numbers = [known.get(tag, UNSEEN_TARGET) for tag in tags]
        if UNSEEN_TARGET in numbers:
            for step, (previous, tag) in enumerate(pairwise([OUTSIDE, *tags])):
                if numbers[step] == UNSEEN_TARGET and parse(tag)[0] != OUTSIDE:
                    numbers[step] -= 2 if begins(previous, tag) else 1
        return numbers
