"""Texts, and lists of words, as token ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from seqmodels.arguments import Count, Name, checked
from seqmodels.batch import UNKNOWN_ID
from seqmodels.cache import cached_value
from seqmodels.data.examples import digest
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.token_rows import FORMAT, SpelledRows, TokenRows, encode_rows, spelled
from seqmodels.data.tokenizer import SPECIAL, Tokenizer, TokenizerOptions, most_frequent
from seqmodels.data.vectors import find_vectors
from seqmodels.errors import UserError

LARGE = 8_000_000  # characters of texts whose ids are kept in the cache
MOST_SHOWN = 200  # characters of a text that is only to be recognised

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
