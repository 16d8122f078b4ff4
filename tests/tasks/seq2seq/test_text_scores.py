"""Scores of written texts: by hand, by plain tables, and by sacrebleu."""

from __future__ import annotations

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.tasks.seq2seq.text_scores import (
    edit_distance,
    nearest,
    symbols,
    text_counts,
    text_scores,
)
from tests.tasks.seq2seq.test_text_rows import distance

words = st.lists(st.sampled_from(["a", "bb", "c", "dd,", "."]), max_size=9).map(" ".join)
rows = st.lists(st.tuples(words, st.tuples(words, words)), min_size=1, max_size=5)


def measured(texts: list[str], references: list[tuple[str, ...]], level: str) -> dict[str, float]:
    counts = text_counts(texts, references, level).sum(0)
    return {name: float(score) for name, score in text_scores(counts, level).items()}


@given(a=st.text("abc", max_size=40), b=st.text("abcd", max_size=40))
def test_edit_distance_equals_the_plain_table(a: str, b: str) -> None:
    assert edit_distance(a, b) == distance([*a], [*b]) == edit_distance(b, a)


def test_errors_are_counted_by_the_symbols_of_the_nearest_reference() -> None:
    assert symbols("a b", "char") == ["a", " ", "b"]
    assert symbols(" t͡ʃ  a,b", "space") == ["t͡ʃ", "a,b"]
    for references in (("xyz", "abd", "abcde"), ("abcde", "abd", "xyz")):
        assert nearest("abcd", references, "char") == (1, 5)  # the longer of two at 1


def test_rates_are_shares_of_all_rows_and_all_symbols() -> None:
    texts, references = ["a b c", "a b", "x"], [("a b c", "q"), ("a c",), ("y z w", "x y z w")]
    found = measured(texts, references, "space")
    assert found["exact_match"] == pytest.approx(1 / 3)
    # 0 of 3, 1 of 2; "x": 3 from "y z w" and 3 from "x y z w", which is the longer one
    assert found["symbol_error_rate"] == pytest.approx((0 + 1 + 3) / (3 + 2 + 4))


@given(rows=rows)
def test_bleu_of_counts_that_add_up_is_that_of_sacrebleu(
    rows: list[tuple[str, tuple[str, str]]],
) -> None:
    texts, references = map(list, zip(*rows))
    found = measured(texts, references, "word")["bleu"]
    expected = sacrebleu.BLEU().corpus_score(texts, [*zip(*references)]).score
    assert 100 * found == pytest.approx(expected, abs=1e-4)
