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
    """Returns the counts of every row, which add up to what `text_scores` takes."""
    rows = []
    for text, row_references in zip(texts, references, strict=True):
        is_equal = text in row_references
        rows.append([is_equal, 1, *_counts_of_second_score(text, row_references, level)])
    return torch.tensor(rows, dtype=torch.int64)


def _counts_of_second_score(text: str, references: tuple[str, ...], level: str) -> Sequence[int]:
    if level not in PROSE:
        return nearest(text, references, level)
    score = _bleu_scorer().corpus_score([text], [[reference] for reference in references])
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def text_scores(counts: Int[Tensor, " counts"], level: str) -> dict[str, Tensor]:
    """Returns each score by its name, from the counts of all rows together."""
    num_equal, num_rows, *further_counts = counts.tolist()
    exact_match = _share(num_equal, num_rows)
    second_score = _bleu(further_counts) if level in PROSE else _share(*further_counts)
    first_name, second_name = score_names(level)
    return {
        first_name: torch.tensor(exact_match, dtype=torch.float64),
        second_name: torch.tensor(second_score, dtype=torch.float64),
    }


def _share(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")


def nearest(text: str, references: Sequence[str], level: str) -> tuple[int, int]:
    """Returns the edit distance to the nearest reference, and how many symbols this has; of several
    that are as near, the longest one."""
    text_symbols = symbols(text, level)
    candidates = []
    for reference in references:
        reference_symbols = symbols(reference, level)
        distance = edit_distance(text_symbols, reference_symbols)
        candidates.append((distance, len(reference_symbols)))
    return min(candidates, key=lambda candidate: (candidate[0], -candidate[1]))


def symbols(text: str, level: str) -> list[str]:
    """Returns the symbols that errors are counted by, for texts of this `level`: what white space
    separates for `space`, and otherwise characters."""
    return text.split() if level == "space" else [*text]


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Returns the fewest symbols to insert, delete or replace to make `b` of `a` (Levenshtein).

    torchmetrics searches near the diagonal only, and finds too much where one text has a long
    beginning that the other lacks.
    """
    symbols_of_b = np.array([*b], dtype=object)
    columns = np.arange(len(b) + 1)
    # A row of the usual table: the distance of what has been read of `a` to each `b[:column]`.
    row = columns
    for number, symbol in enumerate(a, start=1):
        deleted = row[1:] + 1
        replaced = row[:-1] + (symbols_of_b != symbol)
        without_insertions = np.append(number, np.minimum(deleted, replaced))
        # An insertion costs 1 for each column that it goes to the right.
        row = np.minimum.accumulate(without_insertions - columns) + columns
    return int(row[-1])


@cache
def _bleu_scorer() -> Any:
    from sacrebleu.metrics import BLEU  # It is slow to import.

    return BLEU()


def _bleu(counts: list[int]) -> float:
    # Of four orders of n-grams each, how many match and how many there are.
    written_length, reference_length, *ngram_counts = counts
    score = _bleu_scorer().compute_bleu(
        ngram_counts[:4], ngram_counts[4:], written_length, reference_length, smooth_method="exp"
    )
    return float(score.score) / 100
