"""How good written texts are. Every score is made of counts that add up over rows, so several
processes measure what one does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from seqmodels.data.tokenizer import LEVELS
from seqmodels.errors import UserError, choices

WORD = re.compile(r"\w+|[^\w\s]+")
References = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Score:
    """A score from counts.

    Args:
        size: how many counts there are.
        count: `(text, references, level) -> counts`, of one row.
        compute: `sum of the counts -> score`, as a share.
    """

    size: int
    count: Callable[[str, tuple[str, ...], str], list[int]]
    compute: Callable[[list[int]], float]


def symbols(text: str, level: str) -> list[str]:
    """The symbols that errors are counted by, for texts of this `level` of `TokenizerOptions`:
    words and runs of punctuation for `word`, what white space separates for `space`, and otherwise
    characters."""
    if level == "word":
        return WORD.findall(text)
    return text.split() if level == "space" else [*text]


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The fewest symbols to insert, delete or replace to make `b` of `a` (Levenshtein).

    A column of the usual table is a few operations on whole numbers of `len(a)` bits, which hold
    the differences between neighbours (Hyyrö 2003, after Myers 1999,
    https://doi.org/10.1145/316542.316550). torchmetrics searches near the diagonal only, and finds
    too much where one text has a long beginning that the other lacks.
    """
    if not a:
        return len(b)
    positions = defaultdict[str, int](int)
    for index, symbol in enumerate(a):
        positions[symbol] |= 1 << index
    ones, last, distance = (1 << len(a)) - 1, 1 << (len(a) - 1), len(a)
    rises, falls = ones, 0  # down the column: where the next entry is larger, or smaller, by 1
    for symbol in b:
        equal = positions.get(symbol, 0)
        across = (((equal & rises) + rises) ^ rises) | equal
        right_rises = falls | (ones & ~(across | rises))  # from one column to the next
        right_falls = rises & across
        distance += bool(right_rises & last) - bool(right_falls & last)
        right_rises, right_falls = (right_rises << 1) | 1, right_falls << 1
        down = equal | falls
        rises = (right_falls | ~(down | right_rises)) & ones
        falls = right_rises & down & ones
    return distance


def nearest(text: str, references: Sequence[str], level: str) -> tuple[int, int]:
    """The edit distance to the nearest reference, and how many symbols this has; the longest one of
    several."""
    found = symbols(text, level)
    pairs = (
        (edit_distance(found, right), len(right))
        for right in (symbols(reference, level) for reference in references)
    )
    return min(pairs, key=lambda pair: (pair[0], -pair[1]))


@cache
def _scorer() -> Any:
    from sacrebleu.metrics import BLEU  # slow to import

    return BLEU()  # with its own defaults


def _bleu_counts(text: str, references: tuple[str, ...], level: str) -> list[int]:
    row = _scorer().corpus_score([text], [[reference] for reference in references])
    return [row.sys_len, row.ref_len, *row.counts, *row.totals]


def _bleu(counts: list[int]) -> float:
    found = _scorer().compute_bleu(counts[2:6], counts[6:], *counts[:2], smooth_method="exp")
    return float(found.score) / 100


def _chrf_counts(text: str, references: tuple[str, ...], level: str) -> list[int]:
    # for 1 to 6 characters, how many n-grams the text has, the reference has, and both have;
    # sacrebleu gives the scores in public, and not these counts
    from sacrebleu.metrics.helpers import extract_all_char_ngrams as n_grams

    rows = [
        [
            count
            for ours, theirs in zip(n_grams(text, 6), n_grams(reference, 6), strict=True)
            for count in (ours.total() * bool(theirs), theirs.total(), (ours & theirs).total())
        ]
        for reference in references
    ]
    return max(rows, key=_chrf)


def _chrf(counts: list[int]) -> float:
    # F2 of the mean precision and the mean recall (Popović 2015, https://aclanthology.org/W15-3049)
    triples = zip(counts[::3], counts[1::3], counts[2::3], strict=True)
    each = [(both / ours, both / theirs) for ours, theirs, both in triples if ours and theirs]
    precision, recall = np.mean(each or [(0.0, 0.0)], axis=0).tolist()
    return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0


def _share(counts: list[int]) -> float:
    return counts[0] / counts[1] if counts[1] else float("nan")


SCORES: dict[str, Score] = {
    "exact_match": Score(2, lambda text, right, level: [text in right, 1], _share),
    "symbol_error_rate": Score(
        2, lambda text, right, level: [*nearest(text, right, level)], _share
    ),
    "bleu": Score(10, _bleu_counts, _bleu),
    "chrf": Score(18, _chrf_counts, _chrf),
}
"""Each by its name in `METRICS`:

- `exact_match`: the share of rows that are equal to one of their references;
- `symbol_error_rate`: edit distance to the nearest reference, by its length, over all rows;
- `bleu`, `chrf`: what `sacrebleu` computes of all rows, with its defaults.
"""

SYMBOLS = ("exact_match", "symbol_error_rate")
PROSE = ("exact_match", "bleu", "chrf")
SCORES_OF = {level: PROSE if level in ("word", "bpe") else SYMBOLS for level in LEVELS}
"""The usual ones, by the level of the target's tokenizer."""


def check_scores(names: Iterable[str]) -> None:
    """Raises UserError for an unknown name."""
    for name in names:
        if name not in SCORES:
            raise UserError(f"unknown score {name}: {choices(name, SCORES)}")


class TextScores:
    """Scores of texts, from their counts in each row.

    Args:
        names: of `SCORES`.
        level: of the target's tokenizer; says what a symbol is.

    Raises:
        UserError: for an unknown name.
    """

    def __init__(self, names: Sequence[str], level: str) -> None:
        check_scores(names)
        self.names, self.level = [*names], level
        self.ends = [*accumulate((SCORES[name].size for name in names), initial=0)]  # of counts

    def counts(self, texts: Sequence[str], references: References) -> Int[Tensor, "batch counts"]:
        """The counts of every row, which add up to what `scores` take."""
        rows = [
            [
                number
                for name in self.names
                for number in SCORES[name].count(text, right, self.level)
            ]
            for text, right in zip(texts, references, strict=True)
        ]
        return torch.tensor(rows, dtype=torch.int64).view(len(rows), self.ends[-1])

    def scores(self, counts: Int[Tensor, " counts"]) -> dict[str, Tensor]:
        """Each by its name, from the counts of all rows together."""
        parts = (counts[slice(*ends)].tolist() for ends in pairwise(self.ends))
        pairs = zip(self.names, parts, strict=True)
        return {
            name: torch.tensor(SCORES[name].compute(part), dtype=torch.float64)
            for name, part in pairs
        }
