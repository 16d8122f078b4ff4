"""Texts as token ids."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import tokenizers
from tokenizers import Tokenizer

from seqmodels.arguments import Count, Name, checked
from seqmodels.batch import PADDING_ID, UNKNOWN_ID
from seqmodels.cache import cached
from seqmodels.data.columns import identity, lists, stored
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.token_ids import encoded, normalizer, train
from seqmodels.data.token_rows import SpelledRows, TokenRows, numbered, spelled
from seqmodels.data.tokenizer import SPECIAL, TokenizerOptions, load_tokenizer
from seqmodels.data.vectors import LEVELS, check_vocabulary, find_vectors
from seqmodels.errors import UserError
from seqmodels.screen import show_progress

FORMAT = 2  # of the cached files
MOST_TOKENS = 100_000  # in a text: a batch of longer ones fills the memory
MOST_SHOWN = 200  # characters of a text that is only to be recognised

Keep = Literal["start", "end"]
VocabularyOf = Literal["train", "vectors"]


class Tokens(InputEncoder, name="tokens"):
    """Tokenises texts, and truncates those longer than `max_length`.

    Args:
        tokenizer: how to train the tokenizer; None takes the default options.
        max_length: the largest number of tokens a text may keep; None keeps all.
        keep: which end of a longer text to keep, `start` or `end`.
        vectors: pre-trained vectors of words: a file as `vector_rows` reads it, or `glove`. Only
            `fit` reads it: what is saved needs no file.
        vocabulary: `train` takes the words of the training texts only; `vectors` also takes words
            that only the file of vectors has, first those at its beginning, until there are
            `vocabulary_size`.
        characters: whether to give the characters of each word, too, in their case; see `spelled`.

    Raises:
        UserError: for a wrong argument, or vectors or characters of tokens that are not words.
    """

    kind = "tokens"
    tokenizer: Tokenizer

    @checked("data")
    def __init__(
        self,
        tokenizer: TokenizerOptions | None = None,
        *,
        max_length: Count | None = None,
        keep: Keep = "start",
        vectors: Name | None = None,
        vocabulary: VocabularyOf = "train",
        characters: bool = False,
    ) -> None:
        check_vocabulary(vocabulary, vectors)
        self.options, self.spells = tokenizer or TokenizerOptions(), characters
        of_words = "data.characters=true gives the characters" if characters else ""
        if vectors is not None:
            of_words = f"data.vectors={vectors} has vectors"
        if of_words and self.options.level not in LEVELS:
            raise UserError(
                f"{of_words} of words, and data.tokenizer={self.options.level} makes other tokens: "
                "set data.tokenizer=word, or =space"
            )
        self.max_length, self.keep = max_length, keep
        self.vectors_from, self.vocabulary = vectors, vocabulary
        self.trained: str | None = None

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Tokens:
        names = ("tokenizer", "lowercase", "min_count", "vocabulary_size", "keep_whitespace")
        how = TokenizerOptions(*(options.pop(name) for name in names))
        return cls(how, **options)

    def use(self, trained: str, options: TokenizerOptions) -> None:
        """Takes a tokenizer that was trained elsewhere, so that `fit` doesn't train one.

        Args:
            trained: the tokenizer as JSON.
            options: that it was trained with.

        Raises:
            UserError: if these options don't make such a tokenizer.
        """
        self.options, self.trained = options, trained
        self.load(trained)

    def fit(self, raw: Sequence[str]) -> None:
        if self.trained is not None:
            self.load(self.trained)
            return
        tokenizer = trained = self._train(raw)
        fitted = dict[str, Any]()
        if self.vectors_from is not None:
            tokenizer, self.vectors, self.note = find_vectors(
                self.vectors_from, trained, self.options, add_words=self.vocabulary == "vectors"
            )
            fitted = {"vector_size": self.vectors.shape[1]}
            fitted["num_trained"] = trained.get_vocab_size()
        if self.spells:
            letters = Tokens(TokenizerOptions("char", min_count=self.options.min_count))
            letters.fit(raw)
            fitted["characters"] = letters.names[len(SPECIAL) :]
        self.load({"tokenizer": tokenizer.to_str(), **fitted})

    def _train(self, raw: Sequence[str]) -> Tokenizer:
        def write(folder: Path) -> None:
            with show_progress(f"learning {self.options.level} tokens", len(raw)) as advance:
                train(raw, self.options, advance).save(str(folder / "tokenizer.json"))

        kept = identity(raw)
        if kept is None:
            return train(raw, self.options)
        recipe = [FORMAT, tokenizers.__version__, kept, asdict(self.options)]
        folder = cached("tokenizers", recipe, write)
        saved = (folder / "tokenizer.json").read_text(encoding="utf-8")
        return load_tokenizer(saved, self.options)

    def encode(self, raw: Sequence[str], source: str, first: int = 1) -> TokenRows:
        if self.spells:
            return self._spelled(raw, source, first)
        kept = identity(raw)
        options = [asdict(self.options), self.max_length, self.keep]
        recipe = [FORMAT, tokenizers.__version__, kept, self.tokenizer.to_str(), options]
        table = stored(
            "sequences", recipe if kept else None, lambda: [self._encoded(raw, source, first)]
        )
        [rows] = table["ids"].chunks
        truncated = int(table.schema.metadata[b"truncated"])
        return TokenRows(np.from_dlpack(rows.values), np.from_dlpack(rows.offsets), truncated)

    def _spelled(self, raw: Sequence[str], source: str, first: int) -> SpelledRows:
        # here every word in its case is a token; its own id is that of its normal form
        every = replace(self.options, lowercase=False, min_count=1, vocabulary_size=sys.maxsize)
        forms = Tokens(every, max_length=self.max_length, keep=self.keep)
        forms.fit(raw)
        rows, words = forms.encode(raw, source, first), forms.names
        vocabulary, normal = self.tokenizer.get_vocab(), normalizer(self.tokenizer)
        ids = np.array([max(vocabulary.get(normal(word), 0), UNKNOWN_ID) for word in words])
        table = spelled(ids, words, self.characters)
        return SpelledRows(rows.ids, rows.ends, table, rows.truncated)

    def _encoded(self, raw: Sequence[str], source: str, first: int) -> pa.RecordBatch:
        found, lengths, truncated = list[np.ndarray](), list[np.ndarray](), 0
        with show_progress(f"encoding {source}", len(raw)) as advance:
            for ids, counts, blank in encoded(raw, self.tokenizer, self.options):
                if self.options.level == "space":  # a word may be spelled like the padding
                    ids = np.where(ids == PADDING_ID, UNKNOWN_ID, ids).astype(ids.dtype)
                empty = (counts == 0) | blank
                if empty.any():
                    number = first + int(empty.argmax())
                    raise UserError(
                        f"{source}: text {number} is empty; remove it or give it some text"
                    )
                if self.max_length is not None and counts.max() > self.max_length:
                    ids, counts, longer = self._truncated(ids, counts, self.max_length)
                    truncated += longer
                if counts.max() > MOST_TOKENS:
                    number = first + int((counts > MOST_TOKENS).argmax())
                    raise UserError(
                        f"{source}: text {number} has {counts.max():,} tokens, more than "
                        f"{MOST_TOKENS:,}: set data.max_length, or cut the text in pieces"
                    )
                found.append(ids)
                lengths.append(counts)
                first += len(counts)
                advance(len(counts))
        rows = lists(np.concatenate(found), np.concatenate(lengths))
        facts = {"truncated": str(truncated)}
        return pa.record_batch([rows], pa.schema([("ids", rows.type)], facts))

    def _truncated(
        self, ids: np.ndarray, counts: np.ndarray, most: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        stops = np.cumsum(counts)
        positions = np.arange(len(ids)) - np.repeat(stops - counts, counts)  # in the text
        if self.keep == "end":
            positions = np.repeat(counts, counts) - 1 - positions
        return ids[positions < most], np.minimum(counts, most), int((counts > most).sum())

    @property
    def names(self) -> list[str]:
        """The tokens, by id."""
        ids = self.tokenizer.get_vocab()
        return sorted(ids, key=ids.__getitem__)

    def pieces(self, raw: str) -> list[tuple[str, bool]]:
        offsets = self.tokenizer.encode(raw).offsets
        if self.max_length is not None:
            cut = self.max_length
            offsets = offsets[:cut] if self.keep == "start" else offsets[-cut:]
        found, end = list[tuple[str, bool]](), offsets[0][0]
        for start, stop in offsets:  # those of the bytes of one character overlap
            found += [(raw[end:start], False), (raw[max(start, end) : stop], True)]
            end = max(end, stop)
        return found

    def name(self, raw: str) -> dict[str, Any]:
        line = " ".join(raw[: 2 * MOST_SHOWN].split())
        return {"input": line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN - 1]}…"}

    def state(self) -> dict[str, Any]:
        how = asdict(self.options)
        options = {"tokenizer": how.pop("level"), **how}
        options |= {"max_length": self.max_length, "keep": self.keep}
        fitted: Any = self.tokenizer.to_str()
        if self.own_spec or self.spells:
            fitted = {"tokenizer": fitted, **self.own_spec}
        if self.spells:
            options["characters"], fitted["characters"] = True, [*self.characters]
        return {"kind": self.kind, "options": options, "fitted": fitted}

    def load(self, fitted: str | dict[str, Any]) -> None:
        if isinstance(fitted, str):
            fitted = {"tokenizer": fitted}
        if "vector_size" in fitted:
            self.own_spec = {name: int(fitted[name]) for name in ("vector_size", "num_trained")}
        if self.spells:
            self.characters = numbered(fitted["characters"])
            self.num_characters = len(SPECIAL) + len(self.characters)
        self.tokenizer = load_tokenizer(str(fitted["tokenizer"]), self.options)
        self.num_inputs = self.tokenizer.get_vocab_size()
