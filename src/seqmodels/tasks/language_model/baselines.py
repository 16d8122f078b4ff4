"""The baseline of language models: what a compressor needs for the same text."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping

from seqmodels.data.examples import EVALUATED
from seqmodels.target import Baselines, BaselineScores

# So many bytes are compressed at most, which takes some seconds.
MAX_BYTES = 4_000_000


def compression_baselines(splits: Mapping[str, Iterable[str]]) -> Baselines:
    """Returns `validation/bits_per_byte` and `test/bits_per_byte`, of the text in UTF-8, by `lzma`,
    which knows only the text that it compresses; of a longer text, the first `MAX_BYTES`.

    Args:
        splits: the text of each split, in pieces.
    """
    scores: BaselineScores = {}
    for split in EVALUATED:
        text = bytearray()
        for piece in splits[split]:
            text += piece.encode()
            if len(text) > MAX_BYTES:
                break
        name = "lzma"
        if len(text) > MAX_BYTES:
            name = f"lzma on the first {MAX_BYTES / 1e6:g} MB"
            del text[MAX_BYTES:]
        compressed = lzma.compress(text, preset=9)
        scores[f"{split}/bits_per_byte"] = {name: 8 * len(compressed) / len(text)}
    return Baselines(scores)
