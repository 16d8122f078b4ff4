"""What a compressor needs for the text of a language model."""

from __future__ import annotations

import lzma

import pytest

from seqmodels.tasks.language_model import baselines
from seqmodels.tasks.language_model.baselines import compression_baselines

TEXT = "the cät sat on the mat\n" * 20


def test_lzma_compresses_the_bytes_of_each_split() -> None:
    found = compression_baselines({"train": [], "validation": [TEXT], "test": [TEXT, "the end"]})
    for split, text in (("validation", TEXT), ("test", TEXT + "the end")):
        content = text.encode()
        bits = 8 * len(lzma.compress(content, preset=9)) / len(content)
        assert found.pop(f"{split}/bits_per_byte") == {"lzma": bits}
    assert not found


def test_of_a_long_text_the_beginning_is_taken_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST", 3_000)
    beginning = TEXT.encode() * 6 + TEXT.encode()[: 3_000 - 6 * len(TEXT.encode())]
    bits = 8 * len(lzma.compress(beginning, preset=9)) / 3_000

    def texts() -> object:
        yield from [TEXT] * 7
        raise AssertionError("no more is read")

    found = compression_baselines({"validation": texts(), "test": ["a" * 3_000]})
    assert found["validation/bits_per_byte"] == {"lzma on the first 0.003 MB": bits}
    assert list(found["test/bits_per_byte"]) == ["lzma"]
