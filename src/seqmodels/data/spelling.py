"""The characters of words as ids: what words that training has never seen are recognised by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from seqmodels.batch import PADDING_ID, UNKNOWN_ID
from seqmodels.data.tokenizer import PADDING, UNKNOWN
from seqmodels.errors import UserError, shown

HALF = 12  # of a word with more than twice so many characters, the first and the last are read
SPECIAL = (PADDING, UNKNOWN)  # with the ids 0 and 1
# `spelled` without PyTorch, for the script of an export
IN_NUMPY = """LETTERS = {letter: n for n, letter in enumerate(FITTED.get("characters", ""), 2)}


def with_characters(ids, words):
    steps = np.zeros((len(words), 1 + 2 * HALF), np.int64)  # a word, and its characters
    for step, number, word in zip(steps, ids, words):
        spelled = [LETTERS.get(letter, 1) for letter in word[:HALF] + word[HALF:][-HALF:]]
        step[: 1 + len(spelled)] = [number, *spelled]
    return steps if LETTERS else steps[:, 0]


""".replace("2 * HALF", str(2 * HALF)).replace("HALF", str(HALF))


def spelled(ids: np.ndarray, words: Sequence[str], characters: Mapping[str, int]) -> np.ndarray:
    """`(N, 1 + 2 * HALF)`: the id of each word, and those of its characters, padded with 0; of a
    long word, of the first and the last `HALF`."""
    rows = np.full((len(words), 1 + 2 * HALF), PADDING_ID, np.int32)
    rows[:, 0] = ids
    for row, word in zip(rows, words, strict=True):
        ends = word[:HALF] + word[HALF:][-HALF:]
        row[1 : 1 + len(ends)] = [characters.get(letter, UNKNOWN_ID) for letter in ends]
    return rows


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Words or characters with their ids, which follow those of the special ones.

    Raises:
        UserError: if one is there twice.
    """
    names = [*map(str, names)]
    found = {name: number for number, name in enumerate(names, start=len(SPECIAL))}
    if len(found) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"the checkpoint has the word '{shown(twice)}' twice")
    return found
