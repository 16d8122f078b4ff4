"""Texts, and lists of words, as token ids: one after the other in flat arrays, of which each is a
view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seqmodels.arguments import Count, Name, checked
from seqmodels.batch import PADDING_ID, UNKNOWN_ID
from seqmodels.cache import cached, cached_value
from seqmodels.data.examples import digest, share
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.tokenizer import SPECIAL, Tokenizer, TokenizerOptions, batches, most_frequent
from seqmodels.data.vectors import find_vectors
from seqmodels.errors import UserError
from seqmodels.screen import show_progress

LARGE = 8_000_000  # characters of texts whose ids are kept in the cache
MOST_SHOWN = 200  # characters of a text that is only to be recognised
FORMAT = 2  # of the cached ids
HALF = 12  # of a word with more than twice so many characters, the first and the last are read

VocabularyOf = Literal["train", "vectors"]


class Tokens(InputEncoder, name="tokens"):
    """Tokenises texts, and truncates those longer than `max_length`. Raises a `UserError` for a
    wrong argument, or vectors of tokens that are not words.

    Args:
        tokenizer: how to learn the tokens, or its arguments; None takes the default options.
        max_length: the largest number of tokens a text may keep; None keeps all.
        vectors: pre-trained vectors of words: a file as `vector_rows` reads it, or `glove`. Only
            `fit` reads it: what is saved needs no file.
        vocabulary: `train` takes the words of the training texts only; `vectors` also takes words
            that only the file of vectors has, first those at its beginning, until there are
            `vocabulary_size`.
    """

    kind = "tokens"
    tokenizer: Tokenizer

    @checked("data")
    def __init__(
        self,
        tokenizer: TokenizerOptions | dict[str, Any] | None = None,
        *,
        max_length: Count | None = None,
        vectors: Name | None = None,
        vocabulary: VocabularyOf = "train",
    ) -> None:
        if not isinstance(tokenizer, TokenizerOptions):
            tokenizer = TokenizerOptions(**(tokenizer or {}))
        self.options = tokenizer
        self.given = {"tokenizer": asdict(self.options), "max_length": max_length}
        self.max_length, self.vectors_from, self.vocabulary = max_length, vectors, vocabulary
        if vocabulary == "vectors" and vectors is None:
            raise UserError("data.vocabulary=vectors: set data.vectors, to glove or a file, too")
        if vectors is not None and tokenizer.level not in ("word", "space"):
            level = f"data.tokenizer={tokenizer.level}"
            raise UserError(f"data.vectors={vectors} are of words, not for {level}: set it to word")

    def fit(self, raw: Sequence[Any]) -> None:
        fitted = self._learn(raw)
        self.load(fitted)
        if self.vectors_from is not None:
            tokens, self.vectors, self.note = find_vectors(
                self.vectors_from, self.tokenizer, add_words=self.vocabulary == "vectors"
            )
            sizes = {"vector_size": self.vectors.shape[1], "num_trained": len(self.tokenizer)}
            self.load({**fitted, "tokens": tokens, **sizes})

    def _learn(self, raw: Sequence[Any]) -> dict[str, Any]:
        def learn() -> dict[str, Any]:
            learned = Tokenizer.learn(raw, self.options)
            return {"tokens": learned.tokens, "merges": learned.merges}

        recipe = [FORMAT, content := _kept(raw), asdict(self.options)]
        return dict(cached_value("tokenizers", recipe, learn)) if content else learn()

    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> TokenRows:
        for number, text in enumerate(raw, start=first):
            if not text.strip():
                raise UserError(f"{source}: text {number} is empty; remove it or give it some text")
        total, how = sum(map(len, raw)), (self.tokenizer, self.max_length)
        return encode_rows(raw, *how, title=source, total=total, content=_kept(raw))

    def reads_whole_rows(self) -> str:
        longer = f"data.max_length={self.max_length} truncates texts"
        return f"{longer}: train with data.max_length=null" if self.max_length else ""

    def pieces(self, raw: str) -> list[tuple[str, bool]]:
        spans = self.tokenizer.spans(raw)[: self.max_length]
        found, end = list[tuple[str, bool]](), spans[0][0]
        for start, stop in spans:  # those of the bytes of one character overlap
            found += [(raw[end:start], False), (raw[max(start, end) : stop], True)]
            end = max(end, stop)
        return found

    def name(self, raw: str) -> dict[str, Any]:
        line = " ".join(raw[: 2 * MOST_SHOWN].split())
        return {"input": line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN - 1]}…"}

    def load(self, fitted: Mapping[str, Any]) -> None:
        super().load(fitted)
        self.tokenizer = Tokenizer(self.options, fitted["tokens"], fitted["merges"])
        self.num_inputs = len(self.tokenizer)
        names = ("vector_size", "num_trained")
        self.own_spec = {name: int(fitted[name]) for name in names if name in fitted}


def _kept(raw: Sequence[str]) -> str | None:
    """A hash of texts that are worth a place in the cache."""
    return digest(raw) if sum(map(len, raw)) >= LARGE else None


class Words(Tokens, name="words"):
    """Encodes lists of words: each word is one step, even one that holds punctuation or spaces.
    Raises a `UserError` for a vocabulary of vectors without vectors.

    Args:
        vectors, vocabulary: pre-trained vectors of words; `Tokens` documents them.
        characters: whether to give the characters of each word, too, in their case; see `spelled`.
        options: `lowercase`, `min_count` and `vocabulary_size` of `TokenizerOptions`, for words and
            characters.
    """

    def __init__(
        self,
        *,
        vectors: str | None = None,
        vocabulary: VocabularyOf = "train",
        characters: bool = False,
        **options: Any,
    ) -> None:
        how = TokenizerOptions("space", **options)
        super().__init__(how, vectors=vectors, vocabulary=vocabulary)
        self.given, self.spells = {**options, "characters": characters}, characters

    def _learn(self, raw: Sequence[Sequence[str]]) -> dict[str, Any]:
        normal = Tokenizer(self.options).normal
        forms = Counter(word for words in raw for word in words)
        counts, letters = Counter[str](), Counter[str]()
        for word, count in forms.items():
            counts[normal(word)] += count
            for letter in word if self.spells else "":
                letters[letter] += count
        characters = {"characters": most_frequent(letters, self.options)} if self.spells else {}
        words = [*SPECIAL, *most_frequent(counts, self.options)]
        return {"tokens": words, "merges": [], **characters}

    def encode(self, raw: Sequence[Sequence[str]], source: str, first: int = 1) -> TokenRows:
        for number, words in enumerate(raw, start=first):
            if isinstance(words, str) or not len(words) or not all(map(str.strip, words)):
                raise UserError(f"{source}: text {number} must be a list of words, none empty")
        forms = dict[str, int]()
        numbers = np.array([forms.setdefault(word, len(forms)) for words in raw for word in words])
        normal, known = self.tokenizer.normal, self.tokenizer.ids
        ids = np.array([known.get(normal(word), UNKNOWN_ID) for word in forms], np.int32)
        ends = np.cumsum([0, *map(len, raw)])
        if not self.spells:
            return TokenRows(ids[numbers], ends)
        return SpelledRows(numbers, ends, spelled(ids, [*forms], self.characters))

    def describe(self, raw: Sequence[str]) -> dict[str, Any]:
        return {"tokens": list(raw)}

    def pieces(self, raw: Sequence[str]) -> list[tuple[str, bool]]:
        return [piece for word in raw for piece in ((word, True), (" ", False))]

    name = InputEncoder.name

    def load(self, fitted: Mapping[str, Any]) -> None:
        super().load(fitted)
        if self.spells:
            names = fitted["characters"]
            self.characters = {name: number for number, name in enumerate(names, len(SPECIAL))}
            self.own_spec = {**self.own_spec, "num_characters": len(SPECIAL) + len(names)}


def unknown(count: int, total: int, source: str) -> str:
    """That most tokens of texts are unknown to the model; empty if they are not."""
    if 2 * count <= total:
        return ""
    found = f"{source}: {share(count, total, 'tokens')} are unknown to the model"
    return f"{found}: is this the right file, or text in another language or script?"


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
