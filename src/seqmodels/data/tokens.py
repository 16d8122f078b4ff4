"""Texts, and lists of words, as token ids: one after the other in flat arrays, of which each is a
view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from io import BufferedIOBase, BytesIO
from itertools import chain
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

# Of texts with at least so many characters, the tokenizer and the ids are kept in the cache.
LARGE = 8_000_000
# A text that is only to be recognised is cut at so many characters.
MOST_SHOWN = 200
# The version of cached tokenizers and ids: raise it when either is made in another way.
FORMAT = 2
# Of a long word, so many characters at its beginning and at its end are read.
HALF = 12

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
        self.arguments = {"tokenizer": asdict(self.options), "max_length": max_length}
        self.max_length = max_length
        self.vectors_from = vectors
        self.vocabulary = vocabulary
        if vocabulary == "vectors" and vectors is None:
            raise UserError("data.vocabulary=vectors: set data.vectors, to glove or a file, too")
        if vectors is not None and tokenizer.level not in ("word", "space"):
            raise UserError(
                f"data.vectors={vectors} are of words, not for data.tokenizer={tokenizer.level}: "
                "set it to word"
            )

    def fit(self, raw: Sequence[Any]) -> None:
        fitted = self._learn(raw)
        self.load(fitted)
        if self.vectors_from is None:
            return
        tokens, self.vectors, self.note = find_vectors(
            self.vectors_from, self.tokenizer, add_words=self.vocabulary == "vectors"
        )
        self.load(
            {
                **fitted,
                "tokens": tokens,
                "vector_size": self.vectors.shape[1],
                "num_trained": len(self.tokenizer),
            }
        )

    def _learn(self, raw: Sequence[Any]) -> dict[str, Any]:
        """What `load` needs of a tokenizer that learns from these texts, without vectors."""

        def learn() -> dict[str, Any]:
            tokenizer = Tokenizer.learn(raw, self.options)
            return {"tokens": tokenizer.tokens, "merges": tokenizer.merges}

        content = _hash_of_large(raw)
        if content is None:
            return learn()
        recipe = [FORMAT, content, asdict(self.options)]
        return dict(cached_value("tokenizers", recipe, learn))

    def encode(self, raw: Sequence[Any], source: str, first: int = 1) -> TokenRows:
        for number, text in enumerate(raw, start=first):
            if not text.strip():
                raise UserError(f"{source}: text {number} is empty; remove it or give it some text")
        return encode_rows(
            raw,
            self.tokenizer,
            self.max_length,
            title=source,
            total=_character_count(raw),
            content=_hash_of_large(raw),
        )

    def reads_whole_rows(self) -> str:
        if self.max_length is None:
            return ""
        return f"data.max_length={self.max_length} truncates texts: train with data.max_length=null"

    def pieces(self, raw: str) -> list[tuple[str, bool]]:
        spans = self.tokenizer.spans(raw)[: self.max_length]
        pieces = list[tuple[str, bool]]()
        end, _ = spans[0]  # The end of the piece before.
        for start, stop in spans:
            pieces.append((raw[end:start], False))
            # Tokens that are bytes of one character overlap: the first of them has its text.
            pieces.append((raw[max(start, end) : stop], True))
            end = max(end, stop)
        return pieces

    def name(self, raw: str) -> dict[str, Any]:
        line = " ".join(raw[: 2 * MOST_SHOWN].split())
        if len(line) > MOST_SHOWN:
            line = line[: MOST_SHOWN - 1] + "…"
        return {"input": line}

    def load(self, fitted: Mapping[str, Any]) -> None:
        super().load(fitted)
        self.tokenizer = Tokenizer(self.options, fitted["tokens"], fitted["merges"])
        self.num_inputs = len(self.tokenizer)
        names = ("vector_size", "num_trained")
        self.further_spec = {name: int(fitted[name]) for name in names if name in fitted}


def _hash_of_large(texts: Sequence[str]) -> str | None:
    """A hash of texts that are worth a place in the cache; None if they are too small."""
    if _character_count(texts) < LARGE:
        return None
    return digest(texts)


def _character_count(texts: Sequence[str]) -> int:
    return sum(map(len, texts))


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
        tokenizer = TokenizerOptions("space", **options)
        super().__init__(tokenizer, vectors=vectors, vocabulary=vocabulary)
        self.arguments = {**options, "characters": characters}
        self.spells = characters

    def _learn(self, raw: Sequence[Sequence[str]]) -> dict[str, Any]:
        normal = Tokenizer(self.options).normal
        token_counts = Counter[str]()
        letter_counts = Counter[str]()
        # Each different word is read once, however often it occurs.
        for word, count in Counter(chain.from_iterable(raw)).items():
            token_counts[normal(word)] += count
            if self.spells:
                for letter in word:
                    letter_counts[letter] += count
        tokens = [*SPECIAL, *most_frequent(token_counts, self.options)]
        fitted = {"tokens": tokens, "merges": []}
        if self.spells:
            fitted["characters"] = most_frequent(letter_counts, self.options)
        return fitted

    def encode(self, raw: Sequence[Sequence[str]], source: str, first: int = 1) -> TokenRows:
        for number, words in enumerate(raw, start=first):
            if isinstance(words, str) or not len(words) or not all(map(str.strip, words)):
                raise UserError(f"{source}: text {number} must be a list of words, none empty")
        # Words are numbered as they first occur, so that each different one is looked up once.
        number_by_word = dict[str, int]()
        # The numbers of the words of all texts, one after the other.
        forms = np.array(
            [
                number_by_word.setdefault(word, len(number_by_word))
                for word in chain.from_iterable(raw)
            ]
        )
        ends = np.cumsum([0, *map(len, raw)])

        different_words = list(number_by_word)
        normal = self.tokenizer.normal
        id_by_token = self.tokenizer.ids
        token_ids = [id_by_token.get(normal(word), UNKNOWN_ID) for word in different_words]
        ids = np.array(token_ids, np.int32)  # (different words,)
        if not self.spells:
            return TokenRows(ids[forms], ends)
        return SpelledRows(forms, ends, spelled(ids, different_words, self.characters))

    def describe(self, raw: Sequence[str]) -> dict[str, Any]:
        return {"tokens": list(raw)}

    def pieces(self, raw: Sequence[str]) -> list[tuple[str, bool]]:
        pieces = list[tuple[str, bool]]()
        for word in raw:
            pieces.append((word, True))
            pieces.append((" ", False))
        return pieces

    # A list of words is recognised by its words, not by a line of text.
    name = InputEncoder.name

    def load(self, fitted: Mapping[str, Any]) -> None:
        super().load(fitted)
        if self.spells:
            letters = fitted["characters"]
            self.characters = {
                letter: number for number, letter in enumerate(letters, len(SPECIAL))
            }
            num_characters = len(SPECIAL) + len(letters)
            self.further_spec = {**self.further_spec, "num_characters": num_characters}


def unknown(count: int, total: int, source: str) -> str:
    """A note that most tokens of texts are unknown to the model; empty if they are not."""
    if 2 * count <= total:
        return ""
    return (
        f"{source}: {share(count, total, 'tokens')} are unknown to the model: is this the right "
        "file, or text in another language or script?"
    )


class TokenRows(Sequence[Tensor]):
    """Sequences of token ids, one after the other; each as a tensor `(T,)` int64.

    Args:
        ids: those of all sequences, integers, in memory or on disk.
        ends: where each sequence begins, and where the last one ends, `(N + 1,)`.
        truncated: how many of the sequences lack tokens of their text.
    """

    def __init__(self, ids: np.ndarray, ends: np.ndarray, truncated: int = 0) -> None:
        self.ids = ids
        self.ends = ends
        self.truncated = truncated

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
        is_valid = steps < lengths[:, None]  # (B, T)
        positions = starts[:, None] + steps  # (B, T), in `ids`
        batch = np.zeros(is_valid.shape, dtype=np.int64)
        batch[is_valid] = self.ids[positions[is_valid]]
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
        for start in range(0, len(self.ids), size):
            yield self.ids[start : start + size]


class SpelledRows(TokenRows):
    """Sequences of words with their characters: each a tensor `(T, 1 + K)` int64, of a word's id
    and the ids of its K characters, padded with 0 to the longest word of the sequence.

    Args:
        forms: the words of all sequences, one after the other: which row of `spelled` each is.
        ends: see `TokenRows`.
        spelled: the different words, as the function `spelled` gives them.
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
        letters = word[:HALF] + word[HALF:][-HALF:]
        row[1 : 1 + len(letters)] = [characters.get(letter, UNKNOWN_ID) for letter in letters]
    return rows


def encode_rows(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    max_length: int | None = None,
    *,
    title: str,
    total: int,
    content: str | None = None,
    start: Sequence[int] = (),
) -> TokenRows:
    """The token ids of each text. Raises a `UserError` if the cache cannot be written.

    Args:
        max_length: truncate longer texts to so many tokens; None keeps all.
        title, total: what to call them while they are encoded, and how many characters they have.
        content: a hash of the texts, to keep their ids in the cache, and read them from there;
            None: they stay in memory.
        start: ids to write before those of the first text.
    """
    dtype = np.min_scalar_type(len(tokenizer) - 1)

    def encode(file: BufferedIOBase) -> dict[str, Any]:
        """Writes the ids to a file, and returns the other arguments of `TokenRows`."""
        file.write(np.array(start, dtype).tobytes())
        # How many ids stand before the first text, and how many each text has.
        counts = [np.array([len(start)])]
        truncated_count = 0
        with show_progress(f"encoding {title}", total) as advance:
            for batch in batches(texts):
                ids, lengths = tokenizer.encode(batch)
                if max_length is not None:
                    truncated_count += int((lengths > max_length).sum())
                    ids, lengths = _truncated(ids, lengths, max_length)
                file.write(ids.data)
                counts.append(lengths)
                advance(_character_count(batch))
        return {"ends": np.concatenate(counts).cumsum(), "truncated": truncated_count}

    def write(folder: Path) -> None:
        with (folder / "ids").open("wb") as file:
            np.savez(folder / "rows.npz", **encode(file))

    if content is None:
        memory = BytesIO()
        options = encode(memory)
        return TokenRows(np.frombuffer(memory.getbuffer(), dtype), **options)
    recipe = [FORMAT, content, tokenizer.state(), max_length, *start]
    folder = cached("rows", recipe, write)
    with np.load(folder / "rows.npz") as rows:
        ids = np.memmap(folder / "ids", dtype, "r")
        return TokenRows(ids, rows["ends"], int(rows["truncated"]))


def _truncated(
    ids: np.ndarray, lengths: np.ndarray, max_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ids and the lengths of texts that keep no more than `max_length` tokens each.

    Args:
        ids: those of all texts, one text after the other.
        lengths: how many ids each text has, `(texts,)`.
    """
    if lengths.max(initial=0) <= max_length:
        return ids, lengths
    starts = np.cumsum(lengths) - lengths
    steps = np.arange(len(ids)) - np.repeat(starts, lengths)  # the place of each id in its text
    return ids[steps < max_length], lengths.clip(max=max_length)
