"""Texts to token ids, many at a time. What stands between two spaces is split only once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from seqmodels.data.rows import Numbered
from seqmodels.data.tokenizer import (
    PADDING,
    UNKNOWN,
    TokenizerOptions,
    load_tokenizer,
    train_tokenizer,
)
from seqmodels.files import BLOCK

MOST_PARTS = 1 << 18  # to remember

Encoded = tuple[np.ndarray, np.ndarray]  # the ids of all texts, and how many each text has


def blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts of about `BLOCK` characters together."""
    block, size = list[str](), 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def splits_at_spaces(options: TokenizerOptions) -> bool:
    """Whether the tokens of a text are those of its parts between spaces."""
    return options.level in ("word", "space") and not options.keep_whitespace


def train(texts: Iterable[str], options: TokenizerOptions) -> Tokenizer:
    """As `train_tokenizer`, and several times as fast for words that end with a space."""
    if not splits_at_spaces(options):
        return train_tokenizer(texts, options)
    parts, words = Counter[str](), Counter[str]()
    for block in blocks(texts):
        parts.update(" ".join(block).split(" "))
    tokenizer = train_tokenizer([], options)
    normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    for part, count in parts.items():
        for word, _ in split(normalize(part)):
            words[word] += count
    del parts
    ordered = sorted(words.items(), key=lambda item: (-item[1], item[0].encode()))
    special = [PADDING, UNKNOWN]  # which a text may hold, too
    kept = [word for word, n in ordered if n >= options.min_count and word not in special]
    names = [*special, *kept[: options.vocabulary_size - len(special)]]
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] = {name: number for number, name in enumerate(names)}
    return load_tokenizer(json.dumps(content), options)


def encoder(tokenizer: Tokenizer, options: TokenizerOptions) -> Callable[[list[str]], Encoded]:
    """Encodes texts, as `tokenizer.encode_batch_fast` does.

    Args:
        options: that the tokenizer was trained with.
    """
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)

    def encode(texts: list[str]) -> Encoded:
        found = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        counts = np.fromiter(map(len, found), np.int64, len(found))
        return np.fromiter(chain.from_iterable(found), dtype, counts.sum()), counts

    return _Parts(encode) if splits_at_spaces(options) else encode


class _Parts:
    """Encodes each part between two spaces once, and remembers its ids."""

    def __init__(self, encode: Callable[[list[str]], Encoded]) -> None:
        self.encode = encode
        self.clear()

    def clear(self) -> None:
        self.numbers = Numbered[str]()
        self.ids, counts = self.encode([""])
        self.numbers[""]
        self.ends = np.append(0, np.cumsum(counts))

    def __call__(self, texts: list[str]) -> Encoded:
        if len(self.numbers) > MOST_PARTS:
            self.clear()
        known = len(self.numbers)
        parts = " ".join(texts).split(" ")
        rows = self.numbers.of(parts, len(parts))
        if len(self.numbers) > known:
            ids, counts = self.encode(self.numbers.since(known))
            self.ids = np.append(self.ids, ids)
            self.ends = np.append(self.ends, self.ends[-1] + np.cumsum(counts))
        starts, counts = self.ends[rows], self.ends[rows + 1] - self.ends[rows]
        ends = np.cumsum(counts)
        places = np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1])
        last = np.cumsum([text.count(" ") + 1 for text in texts]) - 1  # part of each text
        return self.ids[places], np.diff(ends[last], prepend=0)
