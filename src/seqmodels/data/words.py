"""Texts to token ids, many at a time. What stands between two spaces is split only once, and
characters are looked up in a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from seqmodels.data.columns import blocks
from seqmodels.data.token_ids import character_ids
from seqmodels.data.tokenizer import (
    PADDING,
    UNKNOWN,
    TokenizerOptions,
    load_tokenizer,
    train_tokenizer,
)

MOST_PARTS = 1 << 18  # to remember

Encode = Callable[[pa.Array], pa.LargeListArray]
"""Gives the token ids of some texts."""


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
    normalize, words = _normalizer(tokenizer), Counter[str]()
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
    for block in blocks(texts):
        found = encode(block)
        blank = pc.or_(pc.utf8_is_space(block), pc.equal(block, ""))
        counts = np.diff(found.offsets)
        yield found.flatten().to_numpy(), counts, blank.to_numpy(zero_copy_only=False)


def _encoder(tokenizer: Tokenizer, options: TokenizerOptions) -> Encode:
    kind = pa.large_list(pa.from_numpy_dtype(np.min_scalar_type(tokenizer.get_vocab_size() - 1)))

    def by_library(texts: pa.Array) -> pa.LargeListArray:
        return pa.array([e.ids for e in tokenizer.encode_batch_fast(texts.to_pylist())], kind)

    if splits_at_spaces(options):
        return _Parts(by_library, pa.array([], kind))
    if options.level != "char":
        return by_library
    table, normalize = character_ids(tokenizer), _normalizer(tokenizer)

    def by_character(texts: pa.Array) -> pa.LargeListArray:
        some = [*map(normalize, texts.to_pylist())]
        codes = np.frombuffer("".join(some).encode("utf-32-le"), "<u4")
        return pa.LargeListArray.from_arrays(np.cumsum([0, *map(len, some)]), table[codes])

    return by_character


class _Parts:
    """Encodes each part between two spaces once, and remembers its ids."""

    def __init__(self, encode: Encode, none: pa.LargeListArray) -> None:
        self.encode, self.none = encode, none
        self.ids, self.rows = none, dict[str, int]()

    def __call__(self, texts: pa.Array) -> pa.LargeListArray:
        if len(self.rows) > MOST_PARTS:
            self.ids, self.rows = self.none, {}
        parts = _parts(texts)
        coded = parts.flatten().dictionary_encode()
        names = coded.dictionary.to_pylist()
        if new := [name for name in names if name not in self.rows]:
            self.ids = pa.concat_arrays([self.ids, self.encode(pa.array(new))])
            self.rows |= zip(new, count(len(self.rows)), strict=False)
        rows = np.array([self.rows[name] for name in names], np.int64)[coded.indices]
        found = self.ids.take(pa.array(rows))  # of each part
        ends = found.offsets.take(parts.offsets)
        return pa.LargeListArray.from_arrays(ends, found.flatten())


def _parts(texts: pa.Array) -> pa.ListArray:
    return pc.split_pattern(texts, " ")


def _normalizer(tokenizer: Tokenizer) -> Callable[[str], str]:
    return tokenizer.normalizer.normalize_str if tokenizer.normalizer else str


def _counted(texts: Sequence[str], advance: Callable[[int], object]) -> Iterator[str]:
    for block in blocks(texts):
        yield from block.to_pylist()
        advance(len(block))
