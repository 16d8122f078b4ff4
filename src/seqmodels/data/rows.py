"""Texts, labels and token ids as flat arrays: a million of them are not a million objects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from typing import Any, TypeVar, overload

import numpy as np
import torch
import xxhash
from torch import Tensor

from seqmodels.data.arrays import release

T = TypeVar("T")
STEP = 16_384  # rows to look up at a time


class Rows(Sequence[str]):
    """Some rows of a table's column.

    Args:
        rows: `(N,)` int64, which ones.
        key: what the column depends on, if it lies in the cache.
    """

    def __init__(self, rows: np.ndarray, key: Any = None) -> None:
        self.rows, self.key = rows, key

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), STEP):
            yield from self._found(self.rows[first : first + STEP])

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        [found] = self._found(self.rows[index, None])
        return found

    def take(self, indices: np.ndarray) -> Rows:
        """The rows at these indices."""
        return self._of(self.rows[indices])

    @property
    def identity(self) -> Any:
        """What these rows depend on, as plain values; None if they are in memory only."""
        return None if self.key is None else [self.key, xxhash.xxh3_128_hexdigest(self.rows.data)]

    @abstractmethod
    def _of(self, rows: np.ndarray) -> Rows:
        """These rows of the same column."""

    @abstractmethod
    def _found(self, rows: np.ndarray) -> Iterable[str]:
        """What stands in these rows."""


class Texts(Rows):
    """Texts in UTF-8, one after the other.

    Args:
        content: `(bytes,)` uint8.
        ends: where each text begins, and where the last one ends.
        rows, key: as in `Rows`; None: all rows.
    """

    def __init__(
        self, content: np.ndarray, ends: np.ndarray, rows: np.ndarray | None = None, key: Any = None
    ) -> None:
        super().__init__(np.arange(len(ends) - 1) if rows is None else rows, key)
        self.content, self.ends = content, ends

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        self._release()

    def arrow(self) -> Iterator[Any]:
        """The texts as arrays of Arrow, many at a time; none becomes an object of Python."""
        import pyarrow as pa

        for first in range(0, len(self), STEP):
            rows = self.rows[first : first + STEP]
            starts, lengths = self.ends[rows], self.ends[rows + 1] - self.ends[rows]
            ends = np.append(0, np.cumsum(lengths))
            places = np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])
            content = pa.py_buffer(self.content[places])
            yield pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(ends), content)
        self._release()

    def _release(self) -> None:
        release(self.content)
        release(self.ends)

    def _of(self, rows: np.ndarray) -> Rows:
        return type(self)(self.content, self.ends, rows, self.key)

    def utf8(self) -> Iterator[memoryview]:
        """The texts in UTF-8."""
        for first in range(0, len(self), STEP):
            yield from self._content(self.rows[first : first + STEP])
        self._release()

    def _found(self, rows: np.ndarray) -> Iterator[str]:
        return (str(content, "utf-8") for content in self._content(rows))

    def _content(self, rows: np.ndarray) -> Iterator[memoryview]:
        content = memoryview(self.content.data)
        places = zip(self.ends[rows].tolist(), self.ends[rows + 1].tolist(), strict=True)
        return (content[start:stop] for start, stop in places)


class Labels(Rows):
    """Labels, each as the number of its name.

    Args:
        names: the different labels, in any order.
        numbers: of each label among the names.
        rows, key: as in `Rows`; None: all rows.
    """

    def __init__(
        self,
        names: Sequence[str],
        numbers: np.ndarray,
        rows: np.ndarray | None = None,
        key: Any = None,
    ) -> None:
        super().__init__(np.arange(len(numbers)) if rows is None else rows, key)
        self.names, self.numbers = names, numbers

    @classmethod
    def of(cls, labels: Sequence[str]) -> Labels:
        """Any labels in this form."""
        if isinstance(labels, Labels):
            return labels
        found = Numbered[str]()
        numbers = found.of(labels, len(labels))
        return cls([*found], numbers)

    def distinct(self) -> dict[str, np.ndarray]:
        """The names that occur, sorted, with the indices of each among these rows."""
        numbers = self.numbers[self.rows]
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        members = np.split(order, starts[1:])
        names = (self.names[number] for number in found.tolist())
        return dict(sorted(zip(names, members, strict=True)))

    def _of(self, rows: np.ndarray) -> Rows:
        return type(self)(self.names, self.numbers, rows, self.key)

    def _found(self, rows: np.ndarray) -> list[str]:
        found, places = np.unique(self.numbers[rows], return_inverse=True)
        names = [*take(self.names, found)]
        return [names[place] for place in places.tolist()]


class Numbered(dict[T, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: T) -> int:
        self[key] = number = len(self)
        return number

    def of(self, keys: Iterable[T], count: int) -> np.ndarray:
        """The number of each of so many keys, `(count,)` int32."""
        return np.fromiter(map(self.__getitem__, keys), np.int32, count)

    def since(self, number: int) -> list[T]:
        """The keys from this number on."""
        return [*islice(reversed(self), len(self) - number)][::-1]


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
        start, stop = self.ends[row], self.ends[row + 1]
        return torch.from_numpy(self.ids[start:stop].astype(np.int64))

    @property
    def lengths(self) -> Tensor:
        """`(N,)` int64."""
        found = torch.from_numpy(np.diff(self.ends))
        release(self.ends)
        return found

    def cut(self, most: int) -> TokenRows:
        """These sequences in pieces of at most so many tokens, as `pieces` cuts them."""
        lengths = np.diff(self.ends)
        counts = -(-lengths // most)  # of pieces
        of_row = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(of_row)) - (np.cumsum(counts) - counts)[of_row]
        shortest, longer = np.divmod(lengths, counts)
        starts = self.ends[of_row] + number * shortest[of_row] + np.minimum(number, longer[of_row])
        rows = copy(self)
        rows.ends = np.append(starts, self.ends[-1])
        return rows

    def count(self, token: int) -> int:
        """How often the token occurs."""
        found = int((self.ids == token).sum())
        release(self.ids)
        return found


class SpelledRows(TokenRows):
    """Sequences of words with their characters: each a tensor `(T, 1 + K)` int64 of the ids of the
    words and those of their characters, padded with 0 to the longest word of the sequence.

    Args:
        ids, ends: as in `TokenRows`, of the words.
        forms: of all words, the row of `spellings` with their characters.
        spellings: `(different words, most characters)`, padded with 0.
    """

    def __init__(
        self, ids: np.ndarray, ends: np.ndarray, forms: np.ndarray, spellings: np.ndarray
    ) -> None:
        super().__init__(ids, ends)
        self.forms, self.spellings = forms, spellings

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Any:
        words = super().__getitem__(index)
        if isinstance(index, slice):
            return words
        row = range(len(self))[index]
        spelled = self.spellings[self.forms[self.ends[row] : self.ends[row + 1]]]
        longest = int((spelled != 0).sum(axis=1).max())
        return torch.from_numpy(np.column_stack([words, spelled[:, :longest]]).astype(np.int64))


def pieces(sequences: Sequence[Tensor], most: int | None) -> Sequence[Tensor]:
    """Cuts each sequence, `(T, ...)`, into as few consecutive pieces as have at most `most` steps;
    their lengths differ by one at most. None cuts nothing."""
    if most is None:
        return sequences
    if isinstance(sequences, TokenRows):
        return sequences.cut(most)
    return [part for each in sequences for part in each.tensor_split(-(-len(each) // most))]


def identity(values: Sequence[Any]) -> Any:
    """What values depend on that lie in the cache, as plain values; None for others."""
    return values.identity if isinstance(values, Rows) else None


def take(values: Sequence[Any], indices: np.ndarray) -> Sequence[Any]:
    """The values at these indices."""
    if isinstance(values, Rows):
        return values.take(indices)
    return [values[index] for index in indices.tolist()]
