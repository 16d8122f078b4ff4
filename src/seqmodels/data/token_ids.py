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
    SPECIAL,
    TokenizerOptions,
    most_frequent,
    train_tokenizer,
    with_vocabulary,
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
    names = [*SPECIAL, *most_frequent(words, options.min_count)][: options.vocabulary_size]
    return with_vocabulary(tokenizer, {name: n for n, name in enumerate(names)}, options)


def encoded(
    texts: Sequence[str], tokenizer: Tokenizer, options: TokenizerOptions
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Some texts at a time: their token ids, as `tokenizer.encode_batch_fast` gives them, how many
    each text has, and whether it is blank.

    Args:
        options: that the tokenizer was trained with.
    """
    encode = _encoder(tokenizer, options.level)
    parts = _Parts(encode) if splits_at_spaces(options) else None
    for block in blocks(texts):
        found = parts(block) if parts else encode(block.to_pylist())
        counts = np.diff(np.from_dlpack(found.offsets))
        is_blank = np.from_dlpack(blank(block).cast(pa.uint8())).astype(bool)
        yield np.from_dlpack(found.flatten()), counts, is_blank


def _encoder(tokenizer: Tokenizer, level: str) -> Encode:
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)

    def by_library(texts: list[str]) -> pa.LargeListArray:
        found = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        return lists(np.fromiter(chain.from_iterable(found), dtype), [*map(len, found)])

    return _by_table(tokenizer, level) or by_library


def _by_table(tokenizer: Tokenizer, level: str) -> Encode | None:
    """Looks the id of each byte or character up; None where tokens are longer."""
    vocabulary, normalize = tokenizer.get_vocab(), normalizer(tokenizer)
    dtype = np.min_scalar_type(len(vocabulary) - 1)
    if level == "char":
        encoding, unit = "utf-32-le", 4  # each character's number
        table = np.full(UNICODE, UNKNOWN_ID, dtype)
        characters = {ord(token): index for token, index in vocabulary.items() if len(token) == 1}
        table[[*characters]] = [*characters.values()]
    elif level == "byte" and not json.loads(tokenizer.to_str())["model"]["merges"]:
        encoding, unit = "utf-8", 1
        table = np.array([vocabulary[letter] for letter in _letters()], dtype)
    else:
        return None

    def look_up(texts: list[str]) -> pa.LargeListArray:
        coded = [normalize(text).encode(encoding) for text in texts]
        numbers = np.frombuffer(b"".join(coded), f"<u{unit}")
        return lists(table[numbers], [len(text) // unit for text in coded])

    return look_up


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
    encode = _by_table(tokenizer, level)
    if encode is None:
        yield from _by_library(blocks, tokenizer)
        return
    for text in blocks:
        yield text.encode(), np.from_dlpack(encode([text]).values)


def _by_library(blocks: Iterable[str], tokenizer: Tokenizer) -> Iterator[tuple[bytes, np.ndarray]]:
    blocks = iter(blocks)
    encoded = list[tuple[str, Encoding]]()
    with ThreadPoolExecutor(1) as ahead:  # encodes the next texts while Python copies the ids
        while (texts := list(islice(blocks, BLOCKS))) or encoded:
            following = ahead.submit(tokenizer.encode_batch_fast, texts)
            for text, encoding in encoded:
                yield text.encode(), np.array(encoding.ids, np.uint32)
            encoded = list(zip(texts, following.result(), strict=True))


def _letters() -> list[str]:
    """How `ByteLevel` writes each byte: as itself if it is a visible character of Latin-1, and
    otherwise as one of the characters after that."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(others)) for byte in range(0x100)]
