"""The text of each split, in memory; and its token ids, on disk."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from seqmodels.batch import UNKNOWN_ID
from seqmodels.data.examples import digest
from seqmodels.data.tokenizer import START_ID, Tokenizer
from seqmodels.data.tokens import encode_rows
from seqmodels.files import existing_file, read_lines

BLOCK = 1 << 18  # bytes of text to encode at a time
LEARNED = 32 << 20  # bytes of text at most to learn tokens from, which takes memory
BLANKS = b" \t\r\v\f"  # between the tokens of a line of level `space`

Texts = Sequence[memoryview]
"""The files of a split, or parts of one, as bytes of UTF-8: a gigabyte of text takes a gigabyte."""


def read_text(path: str) -> memoryview:
    """The text of a file, without a byte order mark.

    Raises:
        UserError: if there is no such file, or naming a line that is not UTF-8.
    """
    content = Path(existing_file(path)).read_bytes()
    text = memoryview(content)
    if content.startswith(codecs.BOM_UTF8):
        text = text[len(codecs.BOM_UTF8) :]
    try:
        deque(blocks([text]), maxlen=0)
    except UnicodeDecodeError:
        deque(read_lines(path), maxlen=0)  # names the line
        raise
    return text


def size(texts: Texts) -> int:
    """The number of bytes."""
    return sum(map(len, texts))


def blocks(texts: Texts) -> Iterator[str]:
    """The text in blocks of about `BLOCK` bytes, which end with a line if possible, or else before
    a space."""
    for text in texts:
        start = 0
        for stop in range(BLOCK, len(text), BLOCK):
            block = bytes(text[start:stop])
            end = block.rfind(b"\n") + 1 or max(block.rfind(b" "), 0)
            end = start + (end or len(block) - _inside(text, stop))
            if end > start:
                yield str(text[start:end], "utf-8")
            start = end
        if start < len(text):
            yield str(text[start:], "utf-8")


def _inside(text: memoryview, at: int) -> int:
    """How many bytes of a character stand before this place; 0 between two characters."""
    return next((n for n in range(4) if text[at - n] & 0xC0 != 0x80), 0)  # such as 10xxxxxx


def cut_off(texts: Texts, fraction: float, seed: int) -> tuple[Texts, Texts]:
    """Cuts about `fraction` of the text off: `(what remains, what was cut off)`: whole files at
    random or, where files are few or large, the end of each, after a line if one ends near.

    Args:
        seed: the same seed cuts the same files off.
    """
    wanted = fraction * size(texts)
    left, off = wanted, set[int]()
    for index in np.random.default_rng(seed).permutation(len(texts)).tolist():
        if len(texts[index]) <= left:
            off.add(index)
            left -= len(texts[index])
    sides: tuple[list[memoryview], list[memoryview]] = ([], [])
    if left > wanted / 2:
        for text in filter(len, texts):
            at = int(len(text) * (1 - fraction))
            line = bytes(text[at : at + BLOCK]).find(b"\n") + 1
            at = at + line if line and at + line < len(text) else at - _inside(text, at)
            for side, part in zip(sides, (text[:at], text[at:]), strict=True):
                side += [part] if len(part) else []
        return sides
    for index, text in enumerate(texts):
        sides[index in off].append(text)
    return sides


def fingerprint(splits: Mapping[str, Texts]) -> str:
    """A hash of the text of each split and of where it is cut; names of files don't count."""
    return digest(*([name, *texts] for name, texts in splits.items()))


def sample(texts: Texts) -> Iterator[str]:
    """About `LEARNED` bytes of the text at most: all of it, or blocks that are evenly spread."""
    return islice(blocks(texts), 0, None, -(-size(texts) // LEARNED) or 1)


@dataclass(frozen=True)
class TokenFile:
    """One split as N token ids on disk, after an id that marks its start.

    Args:
        ids: `(N + 1,)` unsigned integers mapped into memory: `ids[0]` marks the start, `ids[1:]`
            are the tokens.
        num_bytes: of the text, in UTF-8.
        unknown: the number of unknown tokens.
        unknown_bytes: the number of bytes of text that became unknown tokens, without the spaces
            between tokens where these belong to none.
    """

    ids: np.ndarray
    num_bytes: int
    unknown: int = 0
    unknown_bytes: int = 0

    def __len__(self) -> int:
        return len(self.ids) - 1


def token_file(name: str, texts: Texts, tokenizer: Tokenizer) -> TokenFile:
    """The text of a split as token ids in the user's cache, encoded if they are not there.

    Raises:
        UserError: if the cache cannot be written.
    """
    content, num_bytes, level = fingerprint({"": texts}), size(texts), tokenizer.options.level
    rows = encode_rows(
        blocks(texts), tokenizer, title=name, total=num_bytes, content=content, start=[START_ID]
    )
    if level in ("byte", "bpe"):  # which have no unknown tokens
        return TokenFile(rows.ids, num_bytes)
    counts = np.zeros(len(tokenizer), np.int64)
    for ids in rows.blocks():
        counts += np.bincount(ids, minlength=len(counts))
    known = sum(
        int(counts[number]) * len(token.encode()) for token, number in tokenizer.ids.items()
    )
    if level == "space":
        parts = map(str.encode, blocks(texts))
        known += sum(len(part) - len(part.translate(None, BLANKS)) for part in parts)
    unknown = int(counts[UNKNOWN_ID])
    return TokenFile(rows.ids, num_bytes, unknown, num_bytes - known if unknown else 0)
