"""How good written texts are. Every score is made of counts that add up over rows, so several
processes measure what one does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

PROSE = ("word", "bpe")  # levels of `TokenizerOptions` whose texts are scored by BLEU


def score_names(level: str) -> tuple[str, str]:
    """The scores of texts of this `level` of `TokenizerOptions`, by their names in `METRICS`.

    - `exact_match`: the share of rows that are equal to one of their references;
    - `bleu`, of words and byte pairs: what `sacrebleu` computes of all rows, with its defaults;
    - `symbol_error_rate`, of other symbols: the edit distance to the nearest reference, by its
      length, over all rows.
    """
    return "exact_match", "bleu" if level in PROSE else "symbol_error_rate"


def text_counts(
    texts: Sequence[str], references: Sequence[tuple[str, ...]], level: str
) -> Int[Tensor, "batch counts"]:
    """The counts of every row, which add up to what `text_scores` takes."""
    rows = [
        [text in right, 1, *_second_counts(text, right, level)]
        for text, right in zip(texts, references, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.int64)


def _second_counts(text: str, references: tuple[str, ...], level: str) -> Sequence[int]:
    if level in PROSE:
        row = _bleu_scorer().corpus_score([text], [[reference] for reference in references])
        return [row.sys_len, row.ref_len, *row.counts, *row.totals]
    return nearest(text, references, level)


def text_scores(counts: Int[Tensor, " counts"], level: str) -> dict[str, Tensor]:
    """Each score by its name, from the counts of all rows together."""
    equal, rows, *others = counts.tolist()
    values = _share(equal, rows), _bleu(others) if level in PROSE else _share(*others)
    exact = (torch.tensor(value, dtype=torch.float64) for value in values)
    return dict(zip(score_names(level), exact, strict=True))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def nearest(text: str, references: Sequence[str], level: str) -> tuple[int, int]:
    """The edit distance to the nearest reference, and how many symbols this has; the longest one of
    several."""
    found = symbols(text, level)
    rights = [symbols(reference, level) for reference in references]
    pairs = ((edit_distance(found, right), len(right)) for right in rights)
    return min(pairs, key=lambda pair: (pair[0], -pair[1]))


def symbols(text: str, level: str) -> list[str]:
    """The symbols that errors are counted by, for texts of this `level`: what white space separates
    for `space`, and otherwise characters."""
    return text.split() if level == "space" else [*text]


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The fewest symbols to insert, delete or replace to make `b` of `a` (Levenshtein).

    torchmetrics searches near the diagonal only, and finds too much where one text has a long
    beginning that the other lacks.
    """
    symbols, steps = np.array([*b], dtype=object), np.arange(len(b) + 1)
    row = steps  # of the usual table: the distance of what has been read of `a` to each `b[:n]`
    for number, symbol in enumerate(a, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (symbols != symbol))
        row = np.minimum.accumulate(np.append(number, best) - steps) + steps  # and insertions
    return int(row[-1])


@cache
def _bleu_scorer() -> Any:
    from sacrebleu.metrics import BLEU  # slow to import

    return BLEU()  # with its own defaults


def _bleu(counts: list[int]) -> float:
    ours, theirs, *orders = counts
    scorer = _bleu_scorer()
    found = scorer.compute_bleu(orders[:4], orders[4:], ours, theirs, smooth_method="exp")
    return float(found.score) / 100
