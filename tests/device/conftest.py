"""Tests marked `device` run on CUDA where there is a GPU, and else on the pretended device."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.device.pretended import install


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The accelerator; `auto` and `gpu` mean it."""
    if torch.cuda.is_available():
        yield torch.device("cuda", 0)
        return
    with install() as pretended:
        yield pretended


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small file for each kind of data, to stand in."""
    draw = random.Random(0)
    rows = [[f"w{draw.randrange(40)}" for _ in range(draw.randint(3, 12))] for _ in range(120)]
    texts = [" ".join(row) for row in rows]
    lines = {
        "texts.csv": ["text,label", *(f"{t},{'ab'[len(t) % 2]}" for t in texts)],
        "scores.csv": ["text,score", *(f"{t},{len(t) + draw.random():.2f}" for t in texts)],
        "tags.txt": [
            f"{w} {'B-x' if w < 'w2' else 'O'}" * (w != "") for r in rows for w in [*r, ""]
        ],
        "pairs.tsv": [
            "source\ttarget",
            *(f"{' '.join(r[:5])}\t{' '.join(r[4::-1])}" for r in rows),
        ],
        "power.csv": ["load,other", *(f"{n % 12 + draw.random():.3f},{n % 5}" for n in range(500))],
        "book.txt": texts * 3,
    }
    for name, content in lines.items():
        (tmp_path / name).write_text("\n".join(content) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path
