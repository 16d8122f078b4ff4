"""Texts to token ids, many at a time. What stands between two spaces is split only once, and
characters are looked up in a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from seqmodels.data.rows import Numbered, Texts
from seqmodels.data.token_ids import character_ids
from seqmodels.data.tokenizer import (
    PADDING,
    UNKNOWN,
    TokenizerOptions,
    load_tokenizer,
    train_tokenizer,
)
from seqmodels.files import BLOCK

MOST_PARTS = 1 << 18  # to remember

Encoded = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The ids of some texts, how many each text has, and whether it is blank."""

Parted = tuple[list[str], np.ndarray, np.ndarray]
"""Different parts of some texts, which of them stand there, and how many each text has."""


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


def train(
    texts: Sequence[str],
    options: TokenizerOptions,
    advance: Callable[[int], object] = lambda count: None,
) -> Tokenizer:
    """As `train_tokenizer`, and several times as fast for characters, and for words that end with a
    space.

    Args:
        advance: is called with how many texts were read since its last call.
    """
    if options.level != "char" and not splits_at_spaces(options):
        return train_tokenizer(_counted(texts, advance), options)
    tokenizer = train_tokenizer([], options)
    count = _characters if options.level == "char" else _words
    words = count(texts, tokenizer, advance)
    ordered = sorted(words.items(), key=lambda item: (-item[1], item[0].encode()))
    special = [PADDING, UNKNOWN]  # which a text may hold, too
    kept = [word for word, n in ordered if n >= options.min_count and word not in special]
    names = [*special, *kept[: options.vocabulary_size - len(special)]]
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] = {name: number for number, name in enumerate(names)}
    return load_tokenizer(json.dumps(content), options)


def _characters(
    texts: Sequence[str], tokenizer: Tokenizer, advance: Callable[[int], object]
) -> Counter[str]:
    characters, normalize = Counter[str](), _normalizer(tokenizer)
    for block in blocks(texts):
        characters.update("".join(map(normalize, block)))
        advance(len(block))
    return characters


def _words(
    texts: Sequence[str], tokenizer: Tokenizer, advance: Callable[[int], object]
) -> Counter[str]:
    parts, words = Numbered[str](), Counter[str]()
    occurs = np.zeros(0, np.int64)  # how often, of each part
    for names, found, of_text in _parts(texts):
        numbers = parts.of(names, len(names))  # each once
        occurs = np.append(occurs, np.zeros(len(parts) - len(occurs), np.int64))
        occurs[numbers] += np.bincount(found, minlength=len(names))
        advance(len(of_text))
    normalize, split = _normalizer(tokenizer), tokenizer.pre_tokenizer.pre_tokenize_str
    for part, count in zip(parts, occurs.tolist(), strict=True):
        for word, _ in split(normalize(part)):
            words[word] += count
    return words


def _normalizer(tokenizer: Tokenizer) -> Callable[[str], str]:
    return tokenizer.normalizer.normalize_str if tokenizer.normalizer else str


def encoded(
    texts: Sequence[str], tokenizer: Tokenizer, options: TokenizerOptions
) -> Iterator[Encoded]:
    """The token ids of some texts at a time, as `tokenizer.encode_batch_fast` gives them.

    Args:
        options: that the tokenizer was trained with.
    """
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)

    def encode(some: list[str]) -> tuple[np.ndarray, np.ndarray]:
        found = [encoding.ids for encoding in tokenizer.encode_batch_fast(some)]
        counts = np.fromiter(map(len, found), np.int64, len(found))
        return np.fromiter(chain.from_iterable(found), dtype, counts.sum()), counts

    if options.level == "char":
        table, normalize = character_ids(tokenizer), _normalizer(tokenizer)
        for block in blocks(texts):
            some = [*map(normalize, block)]
            codes = np.frombuffer("".join(some).encode("utf-32-le"), "<u4")
            counts = np.fromiter(map(len, some), np.int64, len(some))
            yield table[codes], counts, np.fromiter(map(_is_blank, block), bool, len(block))
        return
    if splits_at_spaces(options):
        yield from map(_Parts(encode), _parts(texts))
        return
    for block in blocks(texts):
        ids, counts = encode(block)
        yield ids, counts, np.fromiter(map(_is_blank, block), bool, len(block))


class _Parts:
    """Encodes each part between two spaces once, and remembers its ids."""

    def __init__(self, encode: Callable[[list[str]], tuple[np.ndarray, np.ndarray]]) -> None:
        self.encode = encode
        self.clear()

    def clear(self) -> None:
        self.numbers = Numbered[str]()
        self.ids, counts = self.encode([""])
        self.numbers[""]
        self.ends = np.append(0, np.cumsum(counts))
        self.blank = np.array([True])

    def __call__(self, block: Parted) -> Encoded:
        if len(self.numbers) > MOST_PARTS:
            self.clear()
        names, parts, of_text = block
        known = len(self.numbers)
        rows = self.numbers.of(names, len(names))[parts]
        if len(self.numbers) > known:
            new = self.numbers.since(known)
            ids, counts = self.encode(new)
            self.ids = np.append(self.ids, ids)
            self.blank = np.append(self.blank, [*map(_is_blank, new)])
            self.ends = np.append(self.ends, self.ends[-1] + np.cumsum(counts))
        starts, counts = self.ends[rows], self.ends[rows + 1] - self.ends[rows]
        ends = np.cumsum(counts)
        places = np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1])
        last = np.cumsum(of_text) - 1  # part of each text
        blank = np.logical_and.reduceat(self.blank[rows], last - of_text + 1)
        return self.ids[places], np.diff(ends[last], prepend=0), blank


def _parts(texts: Sequence[str]) -> Iterator[Parted]:
    import pyarrow as pa
    import pyarrow.compute as pc

    pool = pa.system_memory_pool()  # others keep what they have freed
    found = texts.arrow() if isinstance(texts, Texts) else map(pa.array, blocks(texts))
    for block in found:
        parts = pc.split_pattern(block, " ", memory_pool=pool)
        coded = pc.dictionary_encode(parts.flatten(pool), memory_pool=pool)
        counts = np.diff(parts.offsets.to_numpy())
        yield coded.dictionary.to_pylist(), coded.indices.to_numpy(), counts


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _counted(texts: Iterable[str], advance: Callable[[int], object]) -> Iterator[str]:
    for block in blocks(texts):
        yield from block
        advance(len(block))
