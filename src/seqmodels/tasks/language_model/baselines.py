"""The baseline of language models: what a compressor needs for the same text."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping

from seqmodels.data.examples import EVALUATED
from seqmodels.target import Baselines

MOST = 4_000_000  # bytes, which take some seconds


def compression_baselines(splits: Mapping[str, Iterable[str]]) -> Baselines:
    """`validation/bits_per_byte` and `test/bits_per_byte`, of the text in UTF-8, by `lzma`, which
    knows only the text that it compresses; of a longer text, the first `MOST` bytes.

    Args:
        splits: the text of each split, in pieces.
    """
    found: Baselines = {}
    for split in EVALUATED:
        text = bytearray()
        for piece in splits[split]:
            text += piece.encode()
            if len(text) > MOST:
                break
        name = "lzma" if len(text) <= MOST else f"lzma on the first {MOST / 1e6:g} MB"
        del text[MOST:]
        found[f"{split}/bits_per_byte"] = {name: 8 * len(lzma.compress(text, preset=9)) / len(text)}
    return found
