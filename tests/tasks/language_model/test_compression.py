"""N-grams of bytes, against a dictionary; and the compressors beside them."""

from __future__ import annotations

import lzma
from collections import defaultdict

import numpy as np
import pytest

from seqmodels.tasks.language_model import baselines
from seqmodels.tasks.language_model.baselines import ORDER, NGrams, compression_baselines

TEXT = b"the cat sat on the mat; the rat sat on the cat.\n" * 3 + b"a hat, \xc3\xa9t\xc3\xa9 \xff"


class Slow:
    """Kneser-Ney with three discounts by the book, a dictionary for each order."""

    def __init__(self, text: bytes) -> None:
        padded = b"\n" * (ORDER - 1) + text
        counts: dict[bytes, int] = defaultdict(int)
        for n in range(len(text)):
            counts[padded[n : n + ORDER]] += 1
        self.counts = {ORDER: dict(counts)}
        for order in range(ORDER - 1, 0, -1):
            shorter: dict[bytes, int] = defaultdict(int)
            for gram in self.counts[order + 1]:
                shorter[gram[1:]] += 1
            self.counts[order] = dict(shorter)

    def discount(self, order: int, count: int) -> float:
        n = [max(sum(c == k for c in self.counts[order].values()), 1) for k in (1, 2, 3, 4)]
        k = min(count, 3)
        value = k - (k + 1) * n[0] / (n[0] + 2 * n[1]) * n[k] / n[k - 1]
        return min(max(value, 0.1), k)

    def probability(self, context: bytes, byte: int) -> float:
        order = len(context) + 1
        shorter = self.probability(context[1:], byte) if context else 1 / 256
        after = {g[-1]: c for g, c in self.counts[order].items() if g[:-1] == context}
        if not after:
            return shorter
        count = after.get(byte, 0)
        own = count - self.discount(order, count) if count else 0
        rest = sum(self.discount(order, c) for c in after.values())
        return (own + rest * shorter) / sum(after.values())


def windows(context: bytes) -> np.ndarray:
    return np.array([int.from_bytes(context + bytes([b])) for b in range(256)], np.uint64)


def test_probabilities_are_those_of_the_slow_reference() -> None:
    fast, slow = NGrams(TEXT), Slow(TEXT)
    new = b"the hat on \xc3\xa8"
    padded = b"\n" * (ORDER - 1) + new
    expected = [
        -np.log2(slow.probability(padded[n : n + ORDER - 1], new[n])) for n in range(len(new))
    ]
    np.testing.assert_allclose(fast.bits(new), expected)


@pytest.mark.parametrize(
    "context", [b"the cat", b"\n\n\n\n\n\n\n", b"zzz cat", b"\x00" * 7, b"qqqqqqq"]
)
def test_probabilities_of_all_bytes_add_up_to_one(context: bytes) -> None:
    found = NGrams(TEXT).probabilities(windows(context))
    assert found.sum() == pytest.approx(1) and found.min() > 0


def test_one_byte_is_enough_to_learn_from() -> None:
    assert np.isfinite(NGrams(b"a").bits(b"ab")).all()


def test_of_a_long_text_the_beginning_is_taken_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXT.decode("latin-1") * 5
    splits = {"train": [text], "validation": [text[:200]], "test": [text[:300], text]}
    whole = compression_baselines(splits)
    assert list(whole) == ["validation/bits_per_byte", "test/bits_per_byte"]
    assert list(whole["test/bits_per_byte"]) == ["8-grams of bytes", "lzma", "bz2"]
    content = text[:200].encode()
    packed = 8 * len(lzma.compress(content, preset=9)) / len(content)
    assert whole["validation/bits_per_byte"]["lzma"] == packed
    monkeypatch.setattr(baselines, "MEGABYTE", 16)
    names = ["8-grams of bytes of the first 32 MB", "lzma", "bz2"]
    named = [f"{name} on the first 4 MB" for name in names]
    assert list(compression_baselines(splits)["test/bits_per_byte"]) == named
