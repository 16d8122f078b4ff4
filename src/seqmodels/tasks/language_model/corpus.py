"""The text of each split, in memory; and its token ids, on disk."""

from __future__ import annotations

import codecs
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

# How many bytes of text are encoded at a time.
BLOCK = 1 << 18
# Tokens are learned from so many bytes of text at most, because that takes memory.
LEARNED = 32 << 20
# The bytes between the tokens of a line, for level `space`.
BLANKS = b" \t\r\v\f"

Texts = Sequence[memoryview]
"""The files of a split, or parts of one, as bytes of UTF-8: a gigabyte of text takes a gigabyte."""


def read_text(path: str) -> memoryview:
    """Returns the text of a file, without a byte order mark.

    Raises:
        UserError: if there is no such file, or a line is not UTF-8, which it names.
    """
    content = Path(existing_file(path)).read_bytes()
    text = memoryview(content)
    if content.startswith(codecs.BOM_UTF8):
        text = text[len(codecs.BOM_UTF8) :]
    try:
        for _ in blocks([text]):
            pass  # Each block is decoded, so that an error comes now.
    except UnicodeDecodeError:
        for _ in read_lines(path):
            pass  # This raises an error that names the line.
        raise
    return text


def size(texts: Texts) -> int:
    """Returns the number of bytes."""
    return sum(map(len, texts))


def blocks(texts: Texts) -> Iterator[str]:
    """Yields the text in blocks of about `BLOCK` bytes, which end with a line if possible, or else
    before a space."""
    for text in texts:
        start = 0
        for stop in range(BLOCK, len(text), BLOCK):
            block = bytes(text[start:stop])
            length = block.rfind(b"\n") + 1
            if length == 0:  # No line ends here.
                length = max(block.rfind(b" "), 0)
            if length == 0:
                length = len(block) - _bytes_of_cut_character(text, stop)
            end = start + length
            if end > start:
                yield str(text[start:end], "utf-8")
            start = end
        if start < len(text):
            yield str(text[start:], "utf-8")


def _bytes_of_cut_character(text: memoryview, place: int) -> int:
    """Returns how many bytes before this place belong to a character that goes on there; 0 if the
    place is between two characters."""
    for count in range(4):
        is_first_byte = text[place - count] & 0xC0 != 0x80  # The others are 10xxxxxx.
        if is_first_byte:
            return count
    return 0


def cut_off(texts: Texts, fraction: float, seed: int) -> tuple[Texts, Texts]:
    """Cuts about `fraction` of the text off, and returns what remains and what was cut off: whole
    files at random or, where files are few or large, the end of each.

    Args:
        seed: the same seed cuts the same files off.
    """
    bytes_to_cut_off = fraction * size(texts)
    bytes_lacking = bytes_to_cut_off
    numbers_cut_off = set[int]()
    for number in np.random.default_rng(seed).permutation(len(texts)).tolist():
        if len(texts[number]) <= bytes_lacking:
            numbers_cut_off.add(number)
            bytes_lacking -= len(texts[number])
    if bytes_lacking > bytes_to_cut_off / 2:
        return _cut_ends_off(texts, fraction)
    remaining_texts = [text for number, text in enumerate(texts) if number not in numbers_cut_off]
    texts_cut_off = [text for number, text in enumerate(texts) if number in numbers_cut_off]
    return remaining_texts, texts_cut_off


def _cut_ends_off(texts: Texts, fraction: float) -> tuple[Texts, Texts]:
    """Cuts about `fraction` of each file off at its end, after a line if one ends near."""
    beginnings, ends = [], []
    for text in texts:
        if not len(text):
            continue
        cut = int(len(text) * (1 - fraction))
        rest_of_line = bytes(text[cut : cut + BLOCK]).find(b"\n") + 1
        if rest_of_line > 0 and cut + rest_of_line < len(text):
            cut += rest_of_line
        else:
            cut -= _bytes_of_cut_character(text, cut)
        if len(text[:cut]):
            beginnings.append(text[:cut])
        if len(text[cut:]):
            ends.append(text[cut:])
    return beginnings, ends


def fingerprint(splits: Mapping[str, Texts]) -> str:
    """Returns a hash of the text of each split and of where it is cut; names of files don't
    count."""
    contents = [[name, *texts] for name, texts in splits.items()]
    return digest(*contents)


def sample(texts: Texts) -> Iterator[str]:
    """Yields about `LEARNED` bytes of the text at most: all of it, or blocks that are evenly
    spread."""
    every = max(-(-size(texts) // LEARNED), 1)  # rounded up
    return islice(blocks(texts), 0, None, every)


@dataclass(frozen=True)
class TokenFile:
    """One split as N token ids on disk, after an id that marks its start.

    Args:
        ids: `(N + 1,)` unsigned integers mapped into memory: `ids[0]` marks the start, `ids[1:]`
            are the tokens.
        num_bytes: how many bytes the text has in UTF-8.
        num_unknown: the number of unknown tokens.
        unknown_bytes: the number of bytes of text that became unknown tokens, without the spaces
            between tokens where these belong to none.
    """

    ids: np.ndarray
    num_bytes: int
    num_unknown: int = 0
    unknown_bytes: int = 0

    def __len__(self) -> int:
        return len(self.ids) - 1


def token_file(name: str, texts: Texts, tokenizer: Tokenizer) -> TokenFile:
    """Returns the text of a split as token ids in the user's cache, encoded if they are not there.

    Raises:
        UserError: if the cache cannot be written.
    """
    num_bytes = size(texts)
    rows = encode_rows(
        blocks(texts),
        tokenizer,
        title=name,
        total=num_bytes,
        content=fingerprint({"": texts}),
        start=[START_ID],
    )
    if tokenizer.options.level in ("byte", "bpe"):  # They have no unknown tokens.
        return TokenFile(rows.ids, num_bytes)
    counts = np.zeros(len(tokenizer), np.int64)  # how often the split has each token
    for ids in rows.blocks():
        counts += np.bincount(ids, minlength=len(counts))
    num_unknown = int(counts[UNKNOWN_ID])
    if num_unknown == 0:
        return TokenFile(rows.ids, num_bytes)
    known_bytes = 0
    for token, number in tokenizer.ids.items():
        known_bytes += int(counts[number]) * len(token.encode())
    if tokenizer.options.level == "space":
        known_bytes += _num_blanks(texts)
    return TokenFile(rows.ids, num_bytes, num_unknown, num_bytes - known_bytes)


def _num_blanks(texts: Texts) -> int:
    """Returns how many bytes stand between the tokens of level `space`."""
    count = 0
    for block in blocks(texts):
        encoded = block.encode()
        count += len(encoded) - len(encoded.translate(None, BLANKS))
    return count
