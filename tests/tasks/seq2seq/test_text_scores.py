"""Scores of written texts: by hand, by plain tables, and by sacrebleu on files."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import sacrebleu

from seqmodels.engine.metrics import Metric, metric_named
from seqmodels.tasks.seq2seq.text_scores import (
    edit_distance,
    nearest,
    score_names,
    symbols,
    text_counts,
    text_scores,
)

TEXTS = [
    "the cat sat on the mat .",
    "a dog barked loudly, and ran",
    "nothing here matches",
    "it is a guide to action which ensures that the military always obeys",
    "",
]
REFERENCES = [
    ("the cat sat on the mat .", "the cat is on the mat ."),
    ("a dog barked , and ran away", "the dog barked loudly and then ran away"),
    ("x y z", "p"),
    ("it is a guide to action that ensures that the military will forever heed", "it is"),
    ("something", "some thing"),
]


def measured(texts: list[str], references: list[tuple[str, ...]], level: str) -> dict[str, float]:
    counts = text_counts(texts, references, level).sum(0)
    return {name: float(score) for name, score in text_scores(counts, level).items()}


def by_table(a: list[str], b: list[str]) -> int:
    table = [[i + j for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, x in enumerate(a, start=1):
        for j, y in enumerate(b, start=1):
            table[i][j] = min(
                table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (x != y)
            )
    return table[-1][-1]


def test_edit_distance_equals_the_plain_table() -> None:
    draw = random.Random(0)
    for _ in range(700):
        a, b = (draw.choices("abcd"[: draw.randint(1, 4)], k=draw.randint(0, 70)) for _ in "ab")
        assert edit_distance(a, b) == by_table(a, b) == edit_distance(b, a)


@pytest.mark.parametrize(
    ("level", "text", "expected"),
    [
        ("char", "a b", ["a", " ", "b"]),
        ("bpe", "né", ["n", "é"]),
        ("space", " t͡ʃ  a,b", ["t͡ʃ", "a,b"]),
    ],
)
def test_errors_are_counted_by_the_symbols_of_the_target(
    level: str, text: str, expected: list[str]
) -> None:
    assert symbols(text, level) == expected


def test_the_nearest_reference_counts_whatever_their_order() -> None:
    assert nearest("abcd", ("xyz", "abd", "abcde"), "char") == (1, 5)  # the longer of two at 1
    assert nearest("abcd", ("abcde", "abd", "xyz"), "char") == (1, 5)


def test_rates_are_shares_of_all_rows_and_all_symbols() -> None:
    texts, references = ["a b c", "a b", "x"], [("a b c", "q"), ("a c",), ("y z w", "x y z w")]
    found = measured(texts, references, "space")
    assert found["exact_match"] == pytest.approx(1 / 3)
    # 0 of 3, 1 of 2; "x": 3 from "y z w" and 3 from "x y z w", which is the longer one
    assert found["symbol_error_rate"] == pytest.approx((0 + 1 + 3) / (3 + 2 + 4))


@pytest.mark.parametrize("several", [False, True])
def test_bleu_equals_sacrebleu_on_files(tmp_path: Path, several: bool) -> None:
    count = 2 if several else 1
    files = [tmp_path / name for name in ("texts", "first", "second")]
    for file, lines in zip(files, (TEXTS, *zip(*REFERENCES))):
        file.write_text("\n".join(lines) + "\n")
    found = measured(TEXTS, [right[:count] for right in REFERENCES], "word")
    command = ["-m", "sacrebleu", *map(str, files[1 : 1 + count]), "-i", str(files[0])]
    printed = subprocess.run(
        [sys.executable, *command, "-m", "bleu", "-b", "-w", "6"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 100 * found["bleu"] == pytest.approx(float(printed.stdout), abs=1e-4)
    assert 1 < 100 * found["bleu"] < 99


def test_short_texts_are_scored_as_by_sacrebleu() -> None:
    draw = random.Random(0)
    for _ in range(100):
        texts, first, second = (
            ["".join(draw.choices("ab c", k=draw.randint(0, 7))) for _ in range(3)] for _ in "123"
        )
        found = measured(texts, [*zip(first, second)], "word")["bleu"]
        expected = sacrebleu.BLEU().corpus_score(texts, [first, second]).score
        assert 100 * found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("level", ["char", "byte", "space", "word", "bpe"])
def test_the_level_of_the_target_decides_what_is_scored(level: str) -> None:
    prose = level in ("word", "bpe")
    names = ("exact_match", "bleu" if prose else "symbol_error_rate")
    assert score_names(level) == names == (*measured(TEXTS, REFERENCES, level),)
    assert [metric_named(name) for name in names] == [Metric(True, "%"), Metric(prose, "%")]


def test_counts_are_whole_numbers_of_each_row() -> None:
    counts = text_counts(["ab", "b"], [("abc",), ("b",)], "char")
    assert counts.tolist() == [[0, 1, 1, 3], [1, 1, 0, 1]]
    assert not counts.is_floating_point()
