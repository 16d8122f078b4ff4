"""What a user is told of their data before a training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from seqmodels.data import Examples, Text
from seqmodels.data.examples import digest, repeated
from tests.conftest import Script


def table(path: Path, *texts: str) -> str:
    rows = [f"{text},{'ab'[n % 2]}\n" for n, text in enumerate(texts)]
    path.write_text("text,label\n" + "".join(rows))
    return str(path)


def long(text: str) -> np.ndarray:
    """Numbers that differ where no print of them shows it."""
    return np.where(np.arange(4000) == 2000, ord(text), 0).reshape(-1, 2)


KINDS = [str, list, long, lambda text: torch.tensor(long(text)), lambda text: [long(text), "x"]]


@pytest.mark.parametrize("kind", [*KINDS, lambda text: pd.DataFrame(long(text))])
def test_rows_of_two_splits_are_counted_whatever_they_hold(kind: Callable[[str], Any]) -> None:
    parts = {"train": "abb", "validation": "c", "test": "bddd"}
    splits = {
        split: Examples([kind(letter) for letter in letters], [*letters], "made")
        for split, letters in parts.items()
    }
    assert repeated(splits) == [
        "1 of 4 rows (25.00 %) of the test split are in the train split, too"
    ]


def test_a_hash_is_of_numbers_in_their_shape() -> None:
    rows = [
        long("a"),
        long("a").reshape(-1, 4),
        long("a").astype(float),
        long("b"),
        long("a").tolist(),
    ]
    assert len({digest([row]) for row in rows}) == len(rows)
    assert digest([long("a")]) == digest([long("a").copy()])


def test_the_same_file_twice_and_tokens_that_are_mostly_unknown_are_noted(tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", "a b", "b c", "c d", "d e")
    data = Text(train, table(tmp_path / "test.csv", "a x y", "b x"), train)
    data.setup()
    new, same = data.notes
    assert new.startswith(f"{tmp_path}/test.csv: 3 of 5 tokens (60.00 %) are unknown to the model")
    assert same.startswith("4 of 4 rows (100.00 %) of the test split are in the train split")
    assert same.endswith("are they the same file?")


def test_a_run_says_so_and_a_finished_one_counts_what_is_new(
    script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = table(tmp_path / "train.csv", *["a b", "b c", "c d", "d e"] * 9)
    quick = ("trainer.max_steps=1", "baseline=false", "trainer=cpu")
    done = script("train.py", "data=text", f"data.train={train}", "folder=run", *quick)
    assert "of the test split are in the train split, too" in done.stdout + done.stderr
    (tmp_path / "new.csv").write_text("text,label\na b,a\nb c,new\nc x,b\n")
    with caplog.at_level(logging.WARNING):
        scored = script("evaluate.py", "run=run", "file=new.csv", "accelerator=cpu")
    said = caplog.text + scored.stderr
    assert "new.csv: 1 of 3 labels (33.33 %) were never seen in training, such as 'new'" in said
    assert "unknown to the model" not in said
    known = "2 of 3 rows (66.67 %) of the evaluated split are in the train split, too"
    assert known in said
    caplog.clear()
    Path(train).unlink()
    again = script("evaluate.py", "run=run", "file=new.csv", "accelerator=cpu")
    assert known not in caplog.text + again.stderr
