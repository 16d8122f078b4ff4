"""Words that are separated already, as ids; and, if wanted, with the ids of their characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from seqmodels.batch import UNKNOWN_ID
from seqmodels.data.columns import arrow
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.token_rows import SpelledRows, TokenRows, numbered, spelled
from seqmodels.data.tokenizer import (
    SPECIAL,
    TokenizerOptions,
    most_frequent,
    train_tokenizer,
    with_vocabulary,
)
from seqmodels.data.vectors import check_vocabulary, find_vectors
from seqmodels.errors import UserError


class Words(InputEncoder, name="words"):
    """Encodes lists of words: each word is one step, even one that holds punctuation or spaces.

    Args:
        lowercase: whether to lowercase words first; characters always keep their case.
        min_count: rarer words and characters become the unknown one.
        vocabulary_size: the largest number of words, with the two for padding and unknown ones.
        vectors, vocabulary: pre-trained vectors of words; `Tokens` documents them.
        characters: whether to give the characters of each word, too; see `spelled`.

    Raises:
        UserError: for a vocabulary of vectors without vectors.
    """

    kind = "tokens"

    def __init__(
        self,
        *,
        lowercase: bool = False,
        min_count: int = 1,
        vocabulary_size: int = TokenizerOptions.vocabulary_size,
        vectors: str | None = None,
        vocabulary: str = "train",
        characters: bool = False,
    ) -> None:
        check_vocabulary(vocabulary, vectors)
        self.options = TokenizerOptions("space", lowercase, min_count, vocabulary_size)
        self.vectors_from, self.vocabulary = vectors, vocabulary
        self.spells = characters

    def fit(self, raw: Sequence[Sequence[str]]) -> None:
        spelled = Counter(word for words in raw for word in words)
        counts, letters = Counter[str](), Counter[str]()
        for word, count in spelled.items():
            counts[self._normal(word)] += count
            for letter in word if self.spells else "":
                letters[letter] += count
        least, most = self.options.min_count, self.options.vocabulary_size - len(SPECIAL)
        words = most_frequent(counts, least)[:most]
        fitted: dict[str, Any] = {"words": words}
        if self.spells:
            fitted["characters"] = most_frequent(letters, least)
        if self.vectors_from is not None:
            numbers = {word: number for number, word in enumerate([*SPECIAL, *words])}
            tokenizer = with_vocabulary(train_tokenizer([], self.options), numbers, self.options)
            add = self.vocabulary == "vectors"
            found, self.vectors, self.note = find_vectors(
                self.vectors_from, tokenizer, self.options, add_words=add
            )
            ids = found.get_vocab()
            fitted["words"] = sorted(ids, key=ids.__getitem__)[len(SPECIAL) :]
            fitted["vector_size"] = self.vectors.shape[1]
            fitted["num_trained"] = len(SPECIAL) + len(words)
        self.load(fitted)

    def encode(self, raw: Sequence[Sequence[str]], source: str, first: int = 1) -> TokenRows:
        for number, words in enumerate(raw, start=first):
            if isinstance(words, str):
                raise UserError(
                    f"{source}: text {number} is one text, not a list of its words: split it"
                )
            if not len(words):
                raise UserError(f"{source}: text {number} has no words; remove it")
            for word in words:
                if not word.strip():
                    raise UserError(f"{source}: text {number} has an empty word; remove it")
        coded = arrow([word for words in raw for word in words]).dictionary_encode()
        forms, numbers = coded.dictionary.to_pylist(), np.from_dlpack(coded.indices)
        ids = np.array([self.words.get(self._normal(f), UNKNOWN_ID) for f in forms], np.int32)
        ends = np.cumsum([0, *map(len, raw)])
        if not self.spells:
            return TokenRows(ids[numbers], ends)
        return SpelledRows(numbers, ends, spelled(ids, forms, self.characters))

    def describe(self, raw: Sequence[str]) -> dict[str, Any]:
        return {"tokens": list(raw)}

    def state(self) -> dict[str, Any]:
        options = asdict(self.options)
        kept = {name: options[name] for name in ("lowercase", "min_count", "vocabulary_size")}
        fitted: dict[str, Any] = {"words": [*self.words], **self.own_spec}
        if self.spells:
            fitted["characters"] = [*self.characters]
        return {"kind": "words", "options": {**kept, "characters": self.spells}, "fitted": fitted}

    def load(self, fitted: Mapping[str, Any]) -> None:
        self.words = numbered(fitted["words"])
        self.num_inputs = len(SPECIAL) + len(self.words)
        if "vector_size" in fitted:
            self.own_spec = {name: int(fitted[name]) for name in ("vector_size", "num_trained")}
        if self.spells:
            self.characters = numbered(fitted["characters"])
            self.num_characters = len(SPECIAL) + len(self.characters)

    def _normal(self, word: str) -> str:
        return word.lower() if self.options.lowercase else word
