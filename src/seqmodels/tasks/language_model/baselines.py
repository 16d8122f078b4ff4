"""Baselines of language models: what compressors, and n-grams of bytes, need for the same text."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from seqmodels.data.module import EVALUATED
from seqmodels.target import Baselines

ORDER = 8  # of the n-grams: the bytes of a uint64
LEAST = 0.1  # discount, so that nothing has the probability 0
MEGABYTE = 1_000_000
LEARNED, SCORED = 32, 4  # megabytes at most, which takes less time than any training on so much


def compression_baselines(splits: Mapping[str, Iterable[str]]) -> Baselines:
    """`validation/bits_per_byte` and `test/bits_per_byte`, of the text in UTF-8.

    Of `lzma` and `bz2`, which know only the text that they compress, and of n-grams of the training
    text's bytes. Of a longer text, they see the first megabytes, and their names say so.

    Args:
        splits: the text of each split, in pieces; `train` among them.
    """
    learned, part = _beginning(splits["train"], LEARNED)
    scored = {name: _beginning(splits[name], SCORED) for name in EVALUATED}
    first = f" on the first {SCORED} MB" if any(cut for _, cut in scored.values()) else ""
    of = f" of the first {LEARNED} MB" if part else ""
    model = NGrams(learned)
    bits: dict[str, Callable[[bytes], float]] = {
        f"{ORDER}-grams of bytes{of}": lambda text: float(model.bits(text).sum()),
        "lzma": lambda text: 8 * len(lzma.compress(text, preset=9)),
        "bz2": lambda text: 8 * len(bz2.compress(text, 9)),
    }
    return {
        f"{split}/bits_per_byte": {n + first: count(text) / len(text) for n, count in bits.items()}
        for split, (text, _) in scored.items()
    }


def _beginning(texts: Iterable[str], megabytes: int) -> tuple[bytes, bool]:
    # and whether there is more
    content = bytearray()
    for text in texts:
        content += text.encode()
        if len(content) > megabytes * MEGABYTE:
            return bytes(content[: megabytes * MEGABYTE]), True
    return bytes(content), False


class NGrams:
    """The probability of each byte after the seven before it: interpolated Kneser-Ney with three
    discounts (Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128).

    Every n-gram is a `uint64` with its last byte at the low end, so n-grams are counted by sorting
    them, exactly. Before the text, there are line ends.

    Args:
        text: to learn from.
    """

    def __init__(self, text: bytes) -> None:
        self._levels: list[tuple[np.ndarray, ...]] = []  # from unigrams to 8-grams
        grams, counts = np.unique(_grams(text), return_counts=True)
        for order in range(ORDER, 0, -1):
            self._levels.insert(0, _level(grams, counts))
            # a shorter one counts once for each byte that was seen before it
            grams, counts = np.unique(grams & _mask(order - 1), return_counts=True)

    def bits(self, text: bytes) -> np.ndarray:
        """Minus the binary logarithm of the probability of each byte, `(N,)`."""
        grams = _grams(text)
        blocks = np.split(grams, range(MEGABYTE, len(grams), MEGABYTE))
        return -np.log2(np.concatenate([self.probabilities(block) for block in blocks]))

    def probabilities(self, grams: np.ndarray) -> np.ndarray:
        """The probability of the last byte of each 8-gram, given the others."""
        found = np.full(len(grams), 1 / 256)
        for order, (known, share, contexts, rest) in enumerate(self._levels, start=1):
            grams_here = grams & _mask(order)
            context = _find(contexts, grams_here >> np.uint64(8))
            gram = _find(known, grams_here)
            here = np.where(gram < 0, 0, share[gram]) + rest[context] * found
            found = np.where(context < 0, found, here)
        return found


def _grams(text: bytes) -> np.ndarray:
    # the 8-gram that ends at each byte
    padded = b"\n" * (ORDER - 1) + text
    grams = np.ndarray((len(text),), ">u8", padded, strides=(1,))
    return grams.astype(np.uint64)


def _mask(order: int) -> np.uint64:
    return np.uint64(256**order - 1)


def _level(grams: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sorted n-grams with their share of what follows their context, and sorted contexts with what
    is left to shorter ones."""
    once, twice, thrice, often = (max(int((counts == n).sum()), 1) for n in (1, 2, 3, 4))
    unit = once / (once + 2 * twice)
    less = [LEAST, 1 - 2 * unit * twice / once, 2 - 3 * unit * thrice / twice]
    less.append(3 - 4 * unit * often / thrice)
    discounts = np.clip(less, LEAST, [LEAST, 1, 2, 3])[np.minimum(counts, 3)]
    contexts = grams >> np.uint64(8)
    starts = np.flatnonzero(np.r_[True, contexts[1:] != contexts[:-1]])
    totals = np.add.reduceat(counts, starts)
    share = (counts - discounts) / np.repeat(totals, np.diff(np.r_[starts, len(grams)]))
    return grams, share, contexts[starts], np.add.reduceat(discounts, starts) / totals


def _find(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    # where each is in a sorted array; -1: not in it
    rows = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[rows] == wanted, rows, -1)
