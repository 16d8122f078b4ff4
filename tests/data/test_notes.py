"""What a user is told of their data before a training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmodels.data import Examples, Text
from seqmodels.data.notes import repeated, unknown
from tests.conftest import Refused, Script


def table(path: Path, texts: list[str], separator: str = ",") -> str:
    rows = [f"{text}{separator}{'ab'[n % 2]}\n" for n, text in enumerate(texts)]
    path.write_text(f"text{separator}label\n" + "".join(rows), encoding="utf-8")
    return str(path)


def noted(*files: str, **options: Any) -> list[str]:
    data = Text(*files, **options)
    data.setup()
    return list(data.notes)


@pytest.mark.parametrize(
    "rows",
    [
        ["a", "b b", "c", "d"],
        [["a"], ["b", "b"], ["c"], ["d"]],
        [np.full((n + 1, 2), n) for n in range(4)],
    ],
)
def test_rows_of_two_splits_are_counted_whatever_they_hold(rows: list[Any]) -> None:
    def part(*numbers: int) -> Examples:
        return Examples([rows[n] for n in numbers], ["x"] * len(numbers), "made")

    splits = {"train": part(0, 1, 1), "validation": part(2), "test": part(1, 3, 3, 3)}
    assert repeated(splits) == [
        "1 of 4 rows (25.00 %) of the test split are in the train split, too"
    ]


def test_the_same_file_as_two_splits_is_noted(tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", ["a b", "b c", "c d", "d e"])
    test = table(tmp_path / "test.csv", ["a c", "b d"])
    assert noted(train, test, train) == [
        "4 of 4 rows (100.00 %) of the test split are in the train split, too; are they the same "
        "file?"
    ]


def test_most_tokens_of_a_file_must_be_known(tmp_path: Path) -> None:
    assert unknown(0, 0, "x") == unknown(4, 9, "x") == ""
    assert unknown(5, 9, "x.csv") == (
        "x.csv: 5 of 9 tokens (55.56 %) are unknown to the model: is this the right file, or text "
        "in another language or script?"
    )
    train = table(tmp_path / "train.csv", ["a b", "b c", "c d", "d e"])
    test = table(tmp_path / "test.csv", ["a x y", "b x"])
    [note] = [note for note in noted(train, train, test) if "unknown" in note]
    assert note.startswith(f"{test}: 3 of 5 tokens (60.00 %) are unknown to the model")


def test_a_finished_run_counts_what_is_new(
    script: Script, refused: Refused, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = table(tmp_path / "train.csv", ["a b", "b c", "c d", "d e"] * 9)
    quick = ("trainer.max_steps=1", "baseline=false", "trainer=cpu", "data.min_count=1")
    done = script("train.py", "data=text", f"data.train={train}", "folder=run", *quick)
    assert "of the test split are in the train split, too" in done.stdout + done.stderr
    new = tmp_path / "new.csv"
    new.write_text("text,label\na b,a\nb c,new\nc x,b\n")
    run = ("run=run", "accelerator=cpu")
    with caplog.at_level(logging.WARNING):
        scored = script("evaluate.py", *run, f"file={new}")
        assert " accuracy " in scored.stdout, scored.stderr
        predicted = script("predict.py", *run, "input=-", stdin="a b\nb x\n")
        assert predicted.stdout.count("\n") == 2
    said = caplog.text + scored.stderr + predicted.stderr
    assert "new.csv: 1 of 3 labels (33.33 %) were never seen in training, such as 'new'" in said
    assert "unknown to the model" not in said
    new.write_text("txt,label\na b,a\n")
    line = refused("evaluate.py", *run, f"file={new}")
    assert "row 1 has no column 'text': " in line
    assert "did you mean txt?" in line
