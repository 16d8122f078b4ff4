"""How far a text is from one that is right, in symbols."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

WORD = re.compile(r"\w+|[^\w\s]+")


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
    places = defaultdict[str, int](int)
    for index, symbol in enumerate(a):
        places[symbol] |= 1 << index
    ones, last, distance = (1 << len(a)) - 1, 1 << (len(a) - 1), len(a)
    rises, falls = ones, 0  # down the column: where the next entry is larger, or smaller, by 1
    for symbol in b:
        equal = places.get(symbol, 0)
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
