"""What a compressor needs for the text of a language model."""

from __future__ import annotations

import lzma
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqmodels.data import SPLITS
from seqmodels.tasks.language_model import PlainText, baselines
from seqmodels.tasks.language_model.baselines import compression_baselines

TEXT = "the cät sat on the mat\n" * 20


def test_lzma_compresses_the_bytes_of_each_split_or_of_a_long_one_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bits(content: bytes) -> float:
        return 8 * len(lzma.compress(content, preset=9)) / len(content)

    def texts() -> Iterator[str]:
        yield from [TEXT] * 7
        raise AssertionError("no more is read")

    monkeypatch.setattr(baselines, "MOST", 3_000)
    found = compression_baselines({"train": [], "validation": texts(), "test": [TEXT, "the end"]})
    long, short = (TEXT * 7).encode()[:3_000], f"{TEXT}the end".encode()
    assert found == {
        "validation/bits_per_byte": {"lzma on the first 0.003 MB": bits(long)},
        "test/bits_per_byte": {"lzma": bits(short)},
    }


def test_the_compressor_reads_the_text_that_the_model_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    letters = random.Random(0)  # of either case, which a compressor would have to remember
    path.write_text("".join(letters.choice((c, c.upper())) for c in TEXT))
    data = PlainText(*[str(path)] * 3, tokenizer="char", lowercase=True, evaluation_streams=1)
    data.setup()
    assert data.compute_baselines() == compression_baselines({split: [TEXT] for split in SPLITS})
