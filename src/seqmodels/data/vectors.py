"""Pre-trained vectors for the words of a tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from seqmodels.batch import PADDING_ID
from seqmodels.data.tokenizer import SPECIAL, TokenizerOptions, with_vocabulary
from seqmodels.data.vector_files import vector_rows
from seqmodels.errors import UserError

log = logging.getLogger(__name__)

LEVELS = ("word", "space")  # of tokenizers whose tokens are words


def check_vocabulary(vocabulary: str, vectors: str | None) -> None:
    """Raises a `UserError` for a vocabulary of vectors without vectors."""
    if vocabulary == "vectors" and vectors is None:
        raise UserError(
            "data.vocabulary=vectors takes words from a file of vectors: "
            "set data.vectors=glove, or data.vectors=<file>"
        )


def find_vectors(
    source: str, trained: Tokenizer, options: TokenizerOptions, *, add_words: bool = False
) -> tuple[Tokenizer, Tensor, str]:
    """Reads the vectors of a tokenizer's words from a file, and no more of the file.

    A word is looked up in the file as it is, else in lower case, capitalised, or in upper case.

    Args:
        source: as `vector_rows` takes it.
        trained: the tokenizer, of one of `LEVELS`.
        options: those that it was trained with.
        add_words: adds words of the file to the vocabulary, first those at its beginning, up to
            `vocabulary_size`.

    Returns:
        A tokenizer that has all tokens of the one that was trained, with the same ids, and perhaps
        more; `(V, W)` float32: a vector for each token; and a note of how many words were found.
        Vectors of words that the file lacks are drawn from a normal distribution with the mean and
        deviation of the vectors that were read, the same ones every time; padding gets zeros.

    Raises:
        UserError: if the file is absent, broken, or has none of the words.
    """
    ids: dict[str, int] = trained.get_vocab()
    found = _Rows()
    words = {word: index for word, index in ids.items() if word not in SPECIAL}
    for word, index in words.items():
        found.want(word, index)
    empty = True
    for word, read in vector_rows(source):
        empty = False
        if add_words and len(ids) < options.vocabulary_size and word not in ids:
            token = _as_token(word, trained)
            if token is not None and token not in ids:
                ids[token] = len(ids)
                found.want(token, ids[token])
        found.offer(word, read)
    if empty:
        raise UserError(f"{source} is empty: it must hold words and their vectors")
    known = sum(index in found.rows for index in words.values())
    if not known:
        raise UserError(
            f"data.vectors={source} has none of the {len(words):,} words of the training texts: "
            "are they of another language?"
        )
    share = f"{100 * known / len(words):.1f} %"
    note = f"vectors: found {known:,} of {len(words):,} words ({share})"
    if add_words:
        note += f", and took {len(ids) - trained.get_vocab_size():,} more from the file"
    log.info(note)
    return with_vocabulary(trained, ids, options), found.matrix(len(ids)), note


def _as_token(word: str, tokenizer: Tokenizer) -> str | None:
    """What the tokenizer makes of a word if that is one token; None if it would be split."""
    text = tokenizer.normalizer.normalize_str(word) if tokenizer.normalizer else word
    tokens = tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return text if [token for token, _ in tokens] == [text] else None


class _Rows:
    """The best vector of each token so far."""

    def __init__(self) -> None:
        self.wanted: dict[str, list[tuple[int, int]]] = {}  # spelling -> id and rank of tokens
        self.rows: dict[int, np.ndarray] = {}  # by id
        self.ranks: dict[int, int] = {}  # how far the spelling is from the token's; 0: the same

    def want(self, token: str, index: int) -> None:
        spellings = (token, token.lower(), token.capitalize(), token.upper())
        for rank, spelling in enumerate(dict.fromkeys(spellings)):
            self.wanted.setdefault(spelling, []).append((index, rank))

    def offer(self, word: str, read: Callable[[], np.ndarray]) -> None:
        for index, rank in self.wanted.get(word, ()):
            if index not in self.ranks or rank < self.ranks[index]:
                self.rows[index], self.ranks[index] = read(), rank

    def matrix(self, count: int) -> Tensor:
        read = torch.from_numpy(np.stack([*self.rows.values()]))
        generator = torch.Generator().manual_seed(0)
        matrix = torch.randn(count, read.shape[1], generator=generator)
        matrix.mul_(read.std(dim=0, correction=0)).add_(read.mean(dim=0))
        matrix[[*self.rows]] = read
        matrix[PADDING_ID] = 0
        return matrix
