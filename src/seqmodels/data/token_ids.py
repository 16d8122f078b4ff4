"""Text to token ids in blocks: by a table where every byte or character is a token."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from tokenizers import Encoding, Tokenizer

from seqmodels.batch import UNKNOWN_ID

BLOCKS = 8  # to encode at a time, in parallel; the next ones are encoded meanwhile
UNICODE = 0x110000  # characters


def token_ids(
    blocks: Iterable[str], tokenizer: Tokenizer, level: str
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Each block of text, in UTF-8, and its token ids `(N,)`.

    Args:
        tokenizer: as `train_tokenizer` makes it.
        level: of its options.
    """
    table = _table(tokenizer, level)
    if table is None:
        yield from _by_library(blocks, tokenizer)
        return
    normalizer = tokenizer.normalizer  # which makes letters small
    for text in blocks:
        content = text.encode()
        if normalizer:
            text = normalizer.normalize_str(text)
        if level == "char":
            codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        else:
            codes = np.frombuffer(text.encode() if normalizer else content, np.uint8)
        yield content, table[codes]


def _by_library(blocks: Iterable[str], tokenizer: Tokenizer) -> Iterator[tuple[bytes, np.ndarray]]:
    blocks = iter(blocks)
    encoded = list[tuple[str, Encoding]]()
    with ThreadPoolExecutor(1) as ahead:  # encodes the next texts while Python copies the ids
        while (texts := list(islice(blocks, BLOCKS))) or encoded:
            following = ahead.submit(tokenizer.encode_batch_fast, texts)
            for text, encoding in encoded:
                yield text.encode(), np.array(encoding.ids, np.uint32)
            encoded = list(zip(texts, following.result(), strict=True))


def _table(tokenizer: Tokenizer, level: str) -> np.ndarray | None:
    """The id of each byte or character; None where tokens are longer."""
    if level == "char":
        return character_ids(tokenizer)
    vocabulary = tokenizer.get_vocab()
    dtype = np.min_scalar_type(len(vocabulary) - 1)
    if level == "byte" and not json.loads(tokenizer.to_str())["model"]["merges"]:
        return np.array([vocabulary[letter] for letter in _letters()], dtype)
    return None


def character_ids(tokenizer: Tokenizer) -> np.ndarray:
    """The id of each character of Unicode, by its number, for a tokenizer of characters."""
    vocabulary = tokenizer.get_vocab()
    table = np.full(UNICODE, UNKNOWN_ID, np.min_scalar_type(len(vocabulary) - 1))
    characters = {ord(token): index for token, index in vocabulary.items() if len(token) == 1}
    table[[*characters]] = [*characters.values()]
    return table


def _letters() -> list[str]:
    """How `ByteLevel` writes each byte: as itself if it is a visible character of Latin-1, and
    otherwise as one of the characters after that."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(others)) for byte in range(0x100)]
