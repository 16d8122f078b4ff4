"""What a tagger's test leaves for each row is enough to score it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

from tests.conftest import Script, result_of
from tests.predictions import mean_loss, rows_of, table_of

WORDS = ("train.py", "model=tagger", "data=tags", "data.train=train.txt", "trainer=cpu")
QUICK = ("trainer.max_epochs=2", "baseline=false", "callbacks.dataflow=null", "data.batch_size=4")


def texts(folder: Path) -> None:
    """Names of two types, of different lengths; the test has a type that training never saw."""
    names = [["Ann B-x", "Lee I-x"], ["Rome B-y"], ["in O"], ["Bo B-x"], ["a O", "b, O"]]
    rows = [[*names[n % 5], *names[(n * 3 + 1) % 5], *names[n % 2]] for n in range(30)]
    blocks = ["\n".join(row) for row in rows]
    (folder / "train.txt").write_text("\n\n".join(blocks) + "\n")
    odd = ["Mars B-z\nNew I-z\nin O", "a O\nRome B-y\nMars B-z"]
    (folder / "test.txt").write_text("\n\n".join([*blocks[:9], *odd]) + "\n")


@pytest.mark.parametrize("kind", ["classes", "crf"])
def test_the_table_follows_from_the_rows(script: Script, tmp_path: Path, kind: str) -> None:
    texts(tmp_path)
    own = ("data.test=test.txt", f"model.output.kind={kind}", "folder=run")
    script(*WORDS, *QUICK, *own)
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]
    words = [line.split()[0] for line in (tmp_path / "test.txt").read_text().split("\n") if line]
    assert [word for row in rows for word in row["tokens"]] == words
    targets, predictions = ([row[name] for row in rows] for name in ("target", "prediction"))
    pairs = [pair for row in zip(targets, predictions) for pair in zip(*row, strict=True)]
    unseen = "(never seen in training)"
    assert sum(unseen in target for target, _ in pairs) == 3
    again = {
        "test/accuracy": sum(target == made for target, made in pairs) / len(pairs),
        "test/precision": precision_score(targets, predictions),
        "test/recall": recall_score(targets, predictions),
        "test/f1": f1_score(targets, predictions),
        "test/loss": mean_loss(rows, [sum(unseen not in tag for tag in row) for row in targets]),
    }
    assert again == pytest.approx({name: metrics[name] for name in again}, abs=1e-6)
    spans = [[tag.replace(f"-{unseen}", "-?") for tag in row] for row in targets]
    types = sorted({tag[2:] for row in spans for tag in row if tag != "O"} - {""})
    by_type = precision_recall_fscore_support(spans, predictions, average=None, zero_division=0)
    found = {name: of for name, *of in table_of(tmp_path / "run" / "scores.csv")}
    for name, *of in zip(types, *by_type, strict=True):
        name = name.replace("?", "never seen in training")
        assert [*map(float, found.pop(name))] == pytest.approx(of, abs=1e-6)
    assert not found
    assert ("probability" in rows[0]) == (kind == "classes")
