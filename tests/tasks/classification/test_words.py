"""`figures/words.html`: which words count for the predicted class."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.tasks.classification.words import left_out
from tests.conftest import Script
from tests.predictions import rows_of

WORDS = ("train.py", "data=text", "model.head=mean_pool", "trainer=cpu", "baseline=false")
FILM = ("data.train=reviews.csv", "trainer.max_epochs=1", "folder=run")


def test_a_token_counts_what_leaving_it_out_changes() -> None:
    """A network whose log-odds are known: the sum of a weight for each token."""
    weights = torch.tensor([0.0, 9.0, 2.0, -1.0, 0.5])

    def logits(inputs: Tensor, lengths: Tensor) -> Tensor:
        there = torch.arange(inputs.shape[1]) < lengths[:, None]
        total = (weights[inputs] * there).sum(dim=1)
        return torch.stack([torch.zeros_like(total), total], dim=1)

    task: Any = SimpleNamespace(as_function=lambda: logits, device=torch.device("cpu"))
    label, probability, counts = left_out(task, torch.tensor([3, 2, 4, 2]))
    assert label == 1 and counts.tolist() == pytest.approx([-1.0, 2.0, 0.5, 2.0], abs=1e-5)
    assert probability == pytest.approx(torch.tensor(3.5).sigmoid().item())
    label, _, counts = left_out(task, torch.tensor([3] * 70))
    assert label == 0 and counts.tolist() == pytest.approx([1.0] * 70, abs=1e-4)
    assert left_out(task, torch.tensor([2]))[2].tolist() == [0.0]


def test_texts_and_labels_are_escaped_and_nothing_is_loaded(script: Script, tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> ""x"" \u202e & <img src=x onerror=y>'
    rows = [f'"{evil} {word}","<b>{word}</b>"' for word in ("fine", "dull")] * 30
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    script(*WORDS, *FILM, "data.tokenizer=char", "data.lowercase=false")
    page = (tmp_path / "run" / "figures" / "words.html").read_text()
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    right = {str(row["row"]): row["target"] == row["prediction"] for row in rows}
    for part in page.split("<h2>")[1:]:  # the first that are wrong, or right
        shown = {right[row] for row in re.findall(r"row (\d+):", part)}
        assert shown == {"are right" in part}
    body = page[page.index("<body>") :]
    assert {*re.findall(r"<(\w+)", body)} == {"body", "h1", "h2", "p", "small", "span", "article"}
    assert "\u202e" not in page and "default-src 'none'" in page
    shown = re.sub(r"<[^>]*>", "", body)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &quot;x&quot; \\u202e &amp;" in shown
