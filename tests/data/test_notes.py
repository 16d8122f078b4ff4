"""What a user is told of their data before a training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmodels.data import Examples, Text
from seqmodels.data.notes import repeated, unknown
from seqmodels.errors import UserError
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


@pytest.mark.parametrize("large", [0, 1 << 30])  # bytes from which on tables lie in the cache
def test_the_same_file_as_two_splits_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr("seqmodels.data.text.LARGE", large)
    train = table(tmp_path / "train.csv", ["a b", "b c", "c d", "d e"])
    test = table(tmp_path / "test.csv", ["a c", "b d"])
    for _ in range(2):  # the second time from the cache
        assert noted(train, test, train) == [
            "4 of 4 rows (100.00 %) of the test split are in the train split, too; are they the "
            "same file?"
        ]


def test_quotes_that_a_tsv_file_keeps_are_noted(tmp_path: Path) -> None:
    texts = ['"a b"', '"b" c', 'c "d"', '"', '"e f"', "g h"]
    names = [tmp_path / "train.tsv", tmp_path / "test.TSV", tmp_path / "validation.csv"]
    train, test = (table(name, texts, "\t") for name in names[:2])
    other = table(names[2], ["x y", "y z"])
    kept = "of {} begin and end with a quote, which is kept as it stands: set data.quoting=true if"
    notes = [note for note in noted(train, other, test) if "with a quote" in note]
    assert [note.partition(" quotes enclose")[0] for note in notes] == [
        f"2 of 6 texts (33.33 %) {kept.format(train)}",
        f"2 of 6 texts (33.33 %) {kept.format(test)}",
    ]
    plain = table(tmp_path / "plain.tsv", ["a b", '"c d"', "e f", "g h"], "\t")
    assert not any("with a quote" in note for note in noted(plain, other, other, quoting=True))


def test_most_tokens_of_a_text_to_write_another_for_must_be_known() -> None:
    assert unknown(0, 9, "x", refuse=True) == ""
    assert unknown(4, 9, "x.csv", refuse=True).startswith(
        "x.csv: 4 of 9 tokens (44.44 %) are unknown to the mod"
    )
    assert "it cannot write them" in unknown(5, 9, "x", "symbols of targets", refuse=False)
    with pytest.raises(UserError, match=r"x: 5 of 9 tokens \(55.56 %\) are unknown .*right file"):
        unknown(5, 9, "x", refuse=True)


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
    assert "new.csv: 1 of 6 tokens (16.67 %) are unknown to the model" in said
    assert "-: 1 of 4 tokens (25.00 %) are unknown to the model" in said
    new.write_text("txt,label\na b,a\n")
    line = refused("evaluate.py", *run, f"file={new}")
    assert "row 1 has no column 'text': " in line
    assert "did you mean txt?" in line
