"""Texts to token ids, many at a time: by a table where every byte or character is a token; and what
stands between two spaces is split only once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Encoding, Tokenizer

from seqmodels.batch import UNKNOWN_ID
from seqmodels.data.columns import arrow, blank, blocks, lists
from seqmodels.data.tokenizer import (
    PADDING,
    UNKNOWN,
    TokenizerOptions,
    load_tokenizer,
    train_tokenizer,
)

BLOCKS = 8  # to encode at a time, in parallel; the next ones are encoded meanwhile
UNICODE = 0x110000  # characters
MOST_PARTS = 1 << 18  # to remember

Encode = Callable[[list[str]], pa.LargeListArray]
"""Gives the token ids of some texts."""


def splits_at_spaces(options: TokenizerOptions) -> bool:
    """Whether a space always separates two tokens, so that each part between spaces has its own."""
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
    normalize, words = normalizer(tokenizer), Counter[str]()
    parts = Counter[str]()  # between two spaces
    for block in blocks(texts):
        if options.level == "char":
            words.update("".join(map(normalize, block.to_pylist())))
        else:
            names, numbers = _parts(block).flatten().value_counts().flatten()
            for name, number in zip(names.to_pylist(), numbers.to_pylist(), strict=True):
                parts[name] += number
        advance(len(block))
    for part, number in parts.items():
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalize(part)):
            words[word] += number
    ordered = sorted(words.items(), key=lambda item: (-item[1], item[0].encode()))
    special = [PADDING, UNKNOWN]  # which a text may hold, too
    kept = [word for word, n in ordered if n >= options.min_count and word not in special]
    names = [*special, *kept[: options.vocabulary_size - len(special)]]
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] = {name: number for number, name in enumerate(names)}
    return load_tokenizer(json.dumps(content), options)


def encoded(
    texts: Sequence[str], tokenizer: Tokenizer, options: TokenizerOptions
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Some texts at a time: their token ids, as `tokenizer.encode_batch_fast` gives them, how many
    each text has, and whether it is blank.

    Args:
        options: that the tokenizer was trained with.
    """
    encode = _encoder(tokenizer, options)
    parts = _Parts(encode) if splits_at_spaces(options) else None
    for block in blocks(texts):
        found = parts(block) if parts else encode(block.to_pylist())
        counts = np.diff(np.from_dlpack(found.offsets))
        is_blank = np.from_dlpack(blank(block).cast(pa.uint8())).astype(bool)
        yield np.from_dlpack(found.flatten()), counts, is_blank


def _encoder(tokenizer: Tokenizer, options: TokenizerOptions) -> Encode:
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)

    def by_library(texts: list[str]) -> pa.LargeListArray:
        found = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        return lists(np.fromiter(chain.from_iterable(found), dtype), [*map(len, found)])

    if options.level != "char":
        return by_library
    table, normalize = character_ids(tokenizer), normalizer(tokenizer)

    def by_character(texts: list[str]) -> pa.LargeListArray:
        texts = [*map(normalize, texts)]
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
        return lists(table[codes], [*map(len, texts)])

    return by_character


class _Parts:
    """Encodes each part between two spaces once, and remembers its ids."""

    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self.ids, self.rows = encode([]), dict[str, int]()

    def __call__(self, texts: pa.Array) -> pa.LargeListArray:
        if len(self.rows) > MOST_PARTS:
            self.ids, self.rows = self.encode([]), {}
        parts = _parts(texts)
        coded = parts.flatten().dictionary_encode()
        names = coded.dictionary.to_pylist()
        if new := [name for name in names if name not in self.rows]:
            self.ids = pa.concat_arrays([self.ids, self.encode(new)])
            self.rows |= zip(new, count(len(self.rows)), strict=False)
        rows = np.array([self.rows[name] for name in names], np.int64)
        rows = rows[np.from_dlpack(coded.indices)]
        found = self.ids.take(arrow(rows))  # of each part
        ends = found.offsets.take(parts.offsets)
        return pa.LargeListArray.from_arrays(ends, found.flatten())


def _parts(texts: pa.Array) -> pa.ListArray:
    return pc.split_pattern(texts, " ")


def normalizer(tokenizer: Tokenizer) -> Callable[[str], str]:
    """What makes letters small, if the tokenizer does."""
    return tokenizer.normalizer.normalize_str if tokenizer.normalizer else str


def _counted(texts: Sequence[str], advance: Callable[[int], object]) -> Iterator[str]:
    for block in blocks(texts):
        yield from block.to_pylist()
        advance(len(block))


# long text, in blocks


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
    lower = tokenizer.normalizer  # which makes letters small
    for text in blocks:
        content = text.encode()
        if lower:
            text = lower.normalize_str(text)
        if level == "char":
            codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        else:
            codes = np.frombuffer(text.encode() if lower else content, np.uint8)
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
