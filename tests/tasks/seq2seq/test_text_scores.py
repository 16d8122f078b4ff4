"""Scores of written texts, by hand, by plain tables and by sacrebleu; and what a test leaves for
each source is enough to score the texts again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
from tests.conftest import Script, result_of
from tests.predictions import mean_loss, rows_of

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


# ---------------------------------------------------------------- the rows of a test


WORDS = ("train.py", "model=seq2seq", "data=pairs", "data.train=a.tsv", "data.test=b.tsv")
QUICK = ("trainer=cpu", "trainer.max_epochs=10", "baseline=false", "callbacks.dataflow=null")
SMALL = ("data.batch_size=8", "model.encoder.hidden_size=12", "model.embedding.size=8")


def distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's, by the plain table."""
    row = [*range(len(b) + 1)]
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


@pytest.mark.parametrize("tokens", ["word", "space"])
def test_the_table_follows_from_the_rows(script: Script, tmp_path: Path, tokens: str) -> None:
    random = np.random.default_rng(0)
    for name, count in (("a", 90), ("b", 17)):
        lines = ["source\ttarget"]
        for _ in range(count):
            words = random.choice(["the", "cat", "sat", "on", "mat"], random.integers(2, 6))
            lines += [f"{' '.join(words)}\t{' '.join(words[::-1])}"]
            if name == "b" and len(words) > 3:
                lines += [f"{' '.join(words)}\t{' '.join(words[::-2])}"]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    own = (f"data.target_tokenizer={tokens}", "model.beam=2", "folder=run")
    script(*WORDS, *QUICK, *SMALL, *own, "model.optimizer.lr=0.03")
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]
    sources = (line.split("\t")[0] for line in lines[1:])
    assert [row["input"] for row in rows] == [*dict.fromkeys(sources)]
    made = [row["prediction"] or "" for row in rows]
    right = [[row["target"], *(row["other_targets"] or [])] for row in rows]
    assert {len(texts) for texts in right} == {1, 2}
    assert len({*made}) > 1
    references = [[texts[n] if n < len(texts) else None for texts in right] for n in range(2)]
    nearest = [
        min((distance(text.split(), each.split()), -len(each.split())) for each in texts)
        for text, texts in zip(made, right)
    ]
    again = {
        "test/exact_match": np.mean([text in texts for text, texts in zip(made, right)]),
        "test/symbol_error_rate": sum(n for n, _ in nearest) / -sum(size for _, size in nearest),
        "test/bleu": sacrebleu.corpus_bleu(made, references).score / 100,
        "test/loss": mean_loss(rows, [row["tokens"] for row in rows]),
    }
    del again["test/symbol_error_rate" if tokens == "word" else "test/bleu"]
    assert again == pytest.approx({name: metrics[name] for name in again}, abs=1e-6)
