"""Texts as token ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from seqmodels.data.input_encoder import InputEncoder
from seqmodels.data.tokenizer import TokenizerOptions, load_tokenizer, train_tokenizer
from seqmodels.data.vectors import LEVELS, find_vectors
from seqmodels.errors import UserError

log = logging.getLogger(__name__)


class Tokens(InputEncoder):
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

    Raises:
        UserError: for a wrong argument, or vectors for tokens that are no words.
    """

    kind = "tokens"
    tokenizer: Tokenizer

    def __init__(
        self,
        tokenizer: TokenizerOptions | None = None,
        *,
        max_length: int | None = None,
        keep: str = "start",
        vectors: str | None = None,
        vocabulary: str = "train",
    ) -> None:
        if keep not in ("start", "end"):
            raise UserError(f"data.keep is {keep!r}: choose start or end")
        if max_length is not None and max_length < 1:
            raise UserError(f"data.max_length is {max_length}: it must be at least 1, or null")
        if vocabulary not in ("train", "vectors"):
            raise UserError(f"data.vocabulary is {vocabulary!r}: choose train or vectors")
        if vocabulary == "vectors" and vectors is None:
            raise UserError(
                "data.vocabulary=vectors takes words from a file of vectors: "
                "set data.vectors=glove, or data.vectors=<file>"
            )
        self.options = tokenizer or TokenizerOptions()
        if vectors is not None and self.options.level not in LEVELS:
            raise UserError(
                f"data.vectors={vectors} has vectors of words, and data.tokenizer="
                f"{self.options.level} makes other tokens: set data.tokenizer=word, or =space"
            )
        self.max_length, self.keep = max_length, keep
        self.vectors_from, self.vocabulary = vectors, vocabulary
        self.trained: str | None = None

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
        trained = train_tokenizer(raw, self.options)
        if self.vectors_from is None:
            self.load(trained.to_str())
            return
        tokenizer, self.vectors, self.note = find_vectors(
            self.vectors_from, trained, self.options, add_words=self.vocabulary == "vectors"
        )
        fitted = {"tokenizer": tokenizer.to_str(), "vector_size": self.vectors.shape[1]}
        self.load({**fitted, "num_trained": trained.get_vocab_size()})

    def encode(self, raw: Sequence[str], source: str, first: int = 1) -> list[Tensor]:
        sequences, limit, truncated = [], self.max_length, 0
        encodings = self.tokenizer.encode_batch_fast(list(raw))
        for number, (text, encoding) in enumerate(zip(raw, encodings, strict=True), first):
            tokens = encoding.ids
            if not tokens or text.isspace():
                raise UserError(f"{source}: text {number} is empty; remove it or give it some text")
            if limit is not None and len(tokens) > limit:
                truncated += 1
                tokens = tokens[:limit] if self.keep == "start" else tokens[-limit:]
            sequences.append(torch.tensor(tokens, dtype=torch.int64))
        if truncated:
            log.info(
                f"{source}: data.max_length={limit} truncated {truncated} of {len(sequences)} "
                f"texts (kept the {self.keep})"
            )
        return sequences

    def state(self) -> dict[str, Any]:
        how = asdict(self.options)
        options = {"tokenizer": how.pop("level"), **how}
        options |= {"max_length": self.max_length, "keep": self.keep}
        fitted: Any = self.tokenizer.to_str()
        if self.vector_spec:
            fitted = {"tokenizer": fitted, **self.vector_spec}
        return {"kind": self.kind, "options": options, "fitted": fitted}

    def load(self, fitted: str | dict[str, Any]) -> None:
        if not isinstance(fitted, str):
            self.vector_spec = {name: int(fitted[name]) for name in ("vector_size", "num_trained")}
            fitted = str(fitted["tokenizer"])
        self.tokenizer = load_tokenizer(fitted, self.options)
        self.num_inputs = self.tokenizer.get_vocab_size()
