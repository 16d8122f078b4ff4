"""Sequences of token ids, one after the other in flat arrays: each is a view of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from itertools import pairwise
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import PADDING_ID, UNKNOWN_ID
from seqmodels.data.columns import release
from seqmodels.data.tokenizer import SPECIAL
from seqmodels.errors import UserError, shown

HALF = 12  # of a word with more than twice so many characters, the first and the last are read


class TokenRows(Sequence[Tensor]):
    """Sequences of token ids, one after the other; each as a tensor `(T,)` int64.

    Args:
        ids: of all sequences, unsigned integers.
        ends: where each sequence begins, and where the last one ends.
        truncated: how many of them lack tokens of their text.
    """

    def __init__(self, ids: np.ndarray, ends: np.ndarray, truncated: int = 0) -> None:
        self.ids, self.ends, self.truncated = ids, ends, truncated

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        row = range(len(self))[index]
        tokens = slice(self.ends[row], self.ends[row + 1])
        return torch.from_numpy(self._sequence(tokens).astype(np.int64))

    def _sequence(self, tokens: slice) -> np.ndarray:
        return self.ids[tokens]

    def padded(self, rows: np.ndarray) -> Tensor:
        """These sequences as `(B, T)` int64, padded with 0: all at once, because a tensor for each
        costs as much as the forward pass of a small model."""
        starts = self.ends[rows]
        lengths = self.ends[rows + 1] - starts
        steps = np.arange(lengths.max())
        valid = steps < lengths[:, None]
        batch = np.zeros(valid.shape, dtype=np.int64)
        batch[valid] = self.ids[(starts[:, None] + steps)[valid]]
        return torch.from_numpy(batch)

    @property
    def lengths(self) -> Tensor:
        """`(N,)` int64."""
        found = torch.from_numpy(np.diff(self.ends))
        release()
        return found

    def split_long(self, most: int) -> TokenRows:
        """These sequences, each split where it has more than so many tokens."""
        lengths = np.diff(self.ends).tolist()
        firsts = zip(self.ends.tolist(), lengths, strict=False)
        starts = [first + part.start for first, length in firsts for part in _parts(length, most)]
        rows = copy(self)
        rows.ends = np.append(starts, self.ends[-1])
        return rows

    def count(self, token: int) -> int:
        """How often the token occurs."""
        found = int((self.ids == token).sum())
        release()
        return found


class SpelledRows(TokenRows):
    """Sequences of words with their characters: each a tensor `(T, 1 + K)` int64, of a word's id
    and the ids of its K characters, padded with 0 to the longest word of the sequence.

    Args:
        forms: the words, as `TokenRows` takes tokens: which row of `spelled` each is.
        ends, truncated: see `TokenRows`.
        spelled: of all different words, as the function `spelled` gives them.
    """

    def __init__(
        self, forms: np.ndarray, ends: np.ndarray, spelled: np.ndarray, truncated: int = 0
    ) -> None:
        super().__init__(forms, ends, truncated)
        self.spelled = spelled

    def _sequence(self, tokens: slice) -> np.ndarray:
        words = self.spelled[self.ids[tokens]]
        longest = int((words[:, 1:] != 0).sum(axis=1).max())
        return words[:, : 1 + longest]

    def count(self, token: int) -> int:
        found = int((self.spelled[:, 0] == token)[self.ids].sum())
        release()
        return found


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


def split_long(sequences: Sequence[Any], most: int | None) -> Sequence[Any]:
    """Splits each sequence, such as a tensor `(T, ...)`, into as few consecutive ones as have at
    most `most` steps; their lengths differ by one at most. None splits nothing."""
    if most is None:
        return sequences
    if isinstance(sequences, TokenRows):
        return sequences.split_long(most)
    return [long[part] for long in sequences for part in _parts(len(long), most)]


def _parts(length: int, most: int) -> list[slice]:
    count = -(-length // most)
    ends = [length // count * n + min(n, length % count) for n in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]
