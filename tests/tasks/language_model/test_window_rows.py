"""What a language model's test leaves for each window is the text, and enough to score it again."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Script, result_of
from tests.predictions import mean_loss, rows_of

WORDS = ("train.py", "model=language_model", "data=text_lm", "data.train=a.txt", "data.test=b.txt")
QUICK = ("trainer=cpu", "trainer.max_epochs=1", "baseline=false", "callbacks.dataflow=null")
SMALL = (
    "data.window=25",
    "data.batch_size=4",
    "model.encoder.hidden_size=8",
    "callbacks.sample=null",
)


def test_text_and_perplexity_follow_from_the_rows(script: Script, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, count in (("a", 200), ("b", 31)):
        lines = [" ".join(random.choice(["the", "cat", "sat,", '"on"'], 7)) for _ in range(count)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    own = ("data.tokenizer=char", "data.evaluation_streams=3", "folder=run")
    script(*WORDS, *QUICK, *SMALL, *own)
    rows, metrics = (
        rows_of(tmp_path / "run" / "predictions.csv"),
        result_of(tmp_path / "run")["metrics"],
    )
    text = (tmp_path / "b.txt").read_text()
    assert "".join(row["target"] for row in rows) == text  # windows of streams, in its order
    assert [row["row"] for row in rows] == np.cumsum([0, *(row["tokens"] for row in rows)])[
        :-1
    ].tolist()
    loss = mean_loss(rows, [row["tokens"] for row in rows])
    assert sum(row["tokens"] for row in rows) == len(text)
    assert loss == pytest.approx(metrics["test/loss"], abs=1e-6)
    assert math.exp(loss) == pytest.approx(metrics["test/perplexity"], rel=1e-6)
