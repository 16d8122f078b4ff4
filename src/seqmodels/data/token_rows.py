"""Sequences of token ids, one after the other in flat arrays: each is a view of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import PADDING_ID, UNKNOWN_ID
from seqmodels.cache import cached
from seqmodels.data.tokenizer import Tokenizer, batches
from seqmodels.screen import show_progress

FORMAT = 2  # of the cached files
HALF = 12  # of a word with more than twice so many characters, the first and the last are read


class TokenRows(Sequence[Tensor]):
    """Sequences of token ids, one after the other; each as a tensor `(T,)` int64."""

    def __init__(self, ids: np.ndarray, ends: np.ndarray, truncated: int = 0) -> None:
        self.ids = ids  # of all sequences, unsigned integers, in memory or on disk
        self.ends = ends  # where each sequence begins, and where the last one ends
        self.truncated = truncated  # how many of them lack tokens of their text

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices
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
        return torch.from_numpy(np.diff(self.ends))

    def count(self, token: int) -> int:
        """How often the token occurs."""
        return sum(int((block == token).sum()) for block in self.blocks())

    def blocks(self, size: int = 1 << 24) -> Iterable[np.ndarray]:
        """The ids of all sequences, so many at a time: they may not fit in memory."""
        return (self.ids[start : start + size] for start in range(0, len(self.ids), size))


class SpelledRows(TokenRows):
    """Sequences of words with their characters: each a tensor `(T, 1 + K)` int64, of a word's id
    and the ids of its K characters, padded with 0 to the longest word of the sequence.

    Args:
        forms: the words, as `TokenRows` takes tokens: which row of `spelled` each is.
        ends: see `TokenRows`.
        spelled: of all different words, as the function `spelled` gives them.
    """

    def __init__(self, forms: np.ndarray, ends: np.ndarray, spelled: np.ndarray) -> None:
        super().__init__(forms, ends)
        self.spelled = spelled

    def _sequence(self, tokens: slice) -> np.ndarray:
        words = self.spelled[self.ids[tokens]]
        longest = int((words[:, 1:] != 0).sum(axis=1).max())
        return words[:, : 1 + longest]

    def count(self, token: int) -> int:
        return int((self.spelled[:, 0] == token)[self.ids].sum())


def spelled(ids: np.ndarray, words: Sequence[str], characters: Mapping[str, int]) -> np.ndarray:
    """`(N, 1 + 2 * HALF)`: the id of each word, and those of its characters, padded with 0; of a
    long word, of the first and the last `HALF`."""
    rows = np.full((len(words), 1 + 2 * HALF), PADDING_ID, np.int32)
    rows[:, 0] = ids
    for row, word in zip(rows, words, strict=True):
        ends = word[:HALF] + word[HALF:][-HALF:]
        row[1 : 1 + len(ends)] = [characters.get(letter, UNKNOWN_ID) for letter in ends]
    return rows


def encode_rows(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    most: int | None = None,
    *,
    title: str,
    total: int,
    content: str | None = None,
    start: Sequence[int] = (),
) -> TokenRows:
    """The token ids of each text. Raises a `UserError` if the cache cannot be written.

    Args:
        most: truncate longer texts to so many tokens; None keeps all.
        title, total: what to call them while they are encoded, and how many characters they have.
        content: a hash of the texts, to keep their ids in the cache, and read them from there;
            None: they stay in memory.
        start: ids to write before those of the first text.
    """
    dtype = np.min_scalar_type(len(tokenizer) - 1)

    def encode(file: BufferedIOBase) -> dict[str, Any]:
        file.write(np.array(start, dtype).tobytes())
        counts, truncated = [np.array([len(start)])], 0
        with show_progress(f"encoding {title}", total) as advance:
            for batch in batches(texts):
                ids, lengths = tokenizer.encode(batch)
                if most is not None and (longer := int((lengths > most).sum())):
                    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
                    ids, lengths = ids[np.arange(len(ids)) - starts < most], lengths.clip(max=most)
                    truncated += longer
                file.write(ids.data)
                counts.append(lengths)
                advance(sum(map(len, batch)))
        return {"ends": np.concatenate(counts).cumsum(), "truncated": truncated}

    def write(folder: Path) -> None:
        with (folder / "ids").open("wb") as file:
            np.savez(folder / "rows.npz", **encode(file))

    if content is None:
        memory = BytesIO()
        rows = encode(memory)
        return TokenRows(np.frombuffer(memory.getbuffer(), dtype), **rows)
    folder = cached("rows", [FORMAT, content, tokenizer.state(), most, *start], write)
    with np.load(folder / "rows.npz") as rows:
        ids = np.memmap(folder / "ids", dtype, "r")
        return TokenRows(ids, rows["ends"], int(rows["truncated"]))
