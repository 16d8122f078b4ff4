"""What a classifier's test leaves for each row is enough to score it again."""

from __future__ import annotations

import resource
from pathlib import Path
from shutil import rmtree

import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from seqmodels.runs import load_run
from tests.conftest import Script, result_of
from tests.predictions import mean_loss, rows_of, table_of

TRAIN = ("train.py", "data=text", "model.head=max_pool", "trainer=cpu", "trainer.max_epochs=2")


@pytest.fixture
def tested(reviews: Path, script: Script, tmp_path: Path) -> list[dict[str, str]]:
    """The rows of a test, of which two have a label that training never saw."""
    texts = reviews.read_text().splitlines()[1:]
    test = ["text,label", *texts[::3], '"so, a ""new"" one",odd', "what\ta film,odder"]
    (tmp_path / "test.csv").write_text("\n".join(test) + "\n")
    files = (f"data.train={reviews}", f"data.test={tmp_path / 'test.csv'}")
    script(*TRAIN, *files, "folder=run", "data.batch_size=8", "baseline=false")
    return [
        dict(zip(("text", "label"), pair))
        for pair in load_run(tmp_path / "run").data.read_file(str(tmp_path / "test.csv"))
    ]


def test_the_table_follows_from_the_rows(tested: list[dict[str, str]], tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]
    assert [row["row"] for row in rows] == [*range(1, 1 + len(tested))]
    assert [row["input"] for row in rows] == [" ".join(each["text"].split()) for each in tested]
    unseen = {"odd", "odder"}
    labels = ["(never seen in training)" if e["label"] in unseen else e["label"] for e in tested]
    targets, predictions = ([row[name] for row in rows] for name in ("target", "prediction"))
    assert targets == labels
    again = {
        "test/accuracy": accuracy_score(targets, predictions),
        "test/macro_f1": f1_score(targets, predictions, average="macro"),
        "test/loss": mean_loss(rows, [row["loss"] is not None for row in rows]),
    }
    assert again == pytest.approx({name: metrics[name] for name in again}, abs=1e-6)
    by_class = precision_recall_fscore_support(
        targets, predictions, labels=sorted({*targets}), zero_division=0.0
    )
    expected = {name: of for name, *of in zip(sorted({*targets}), *by_class, strict=True)}
    found = {name: of for name, *of in table_of(tmp_path / "run" / "scores.csv")}
    assert found.keys() == expected.keys()
    for name, of in found.items():
        assert [*map(float, of)] == pytest.approx(expected[name], abs=1e-6)
    assert [row["loss"] is None for row in rows] == [label.startswith("(") for label in labels]
    best = load_run(tmp_path / "run").predict([each["text"] for each in tested], accelerator="cpu")
    for row, made in zip(rows, best, strict=True):
        assert row["prediction"] == made["label"]
        assert row["probability"] == pytest.approx(max(made["probabilities"].values()), abs=1e-6)


def test_evaluate_writes_them_beside_those_of_the_test(
    tested: list[dict[str, str]],
    script: Script,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    before = (run / "predictions.csv").read_bytes()
    done = script("evaluate.py", "run=run", "split=validation", "accelerator=cpu")
    made = run / "evaluations"
    assert (made / "validation_best" / "scores.csv").is_file()
    assert "validation by class" in done.stdout
    assert len(rows_of(made / "validation_best" / "predictions.csv")) == 6
    script("evaluate.py", "run=run", "accelerator=cpu", "batch_size=3")
    script("evaluate.py", "run=run", "accelerator=cpu", "checkpoint=last")
    assert (run / "predictions.csv").read_bytes() == before  # the training's own record
    ours = rows_of(made / "test_best" / "predictions.csv")
    for row, other in zip(ours, rows_of(run / "predictions.csv"), strict=True):
        assert row == pytest.approx(other, abs=1e-6)
    script("evaluate.py", "run=run", "file=test.csv", "accelerator=cpu", "predictions=false")
    assert not (made / "test.csv_best").exists()
    script("evaluate.py", "run=run", "file=test.csv", "accelerator=cpu")
    assert (made / "test.csv_best" / "predictions.csv").read_bytes() == before
    names = {"validation_best", "test_best", "test_last", "test.csv_best"}
    assert {each.name for each in made.iterdir()} == names


def test_evaluate_shows_the_metrics_where_nothing_can_be_written(
    tested: list[dict[str, str]], script: Script, tmp_path: Path
) -> None:
    evaluate, limit = ("evaluate.py", "run=run", "accelerator=cpu"), resource.RLIMIT_FSIZE
    shown, limits = script(*evaluate).stdout, resource.getrlimit(limit)
    older = (tmp_path / "run" / "evaluations" / "test_best" / "predictions.csv").read_bytes()
    resource.setrlimit(limit, (len(older) // 2, limits[1]))
    try:
        full = script(*evaluate)
    finally:
        resource.setrlimit(limit, limits)
    assert "test: largest losses" in shown
    rmtree(tmp_path / "run" / "evaluations")
    (tmp_path / "run" / "evaluations").touch()  # as on a disk to read only, no folder can be made
    for done in (full, script(*evaluate)):
        assert "│ accuracy │" in done.stdout and "largest losses" not in done.stdout  # the older
        assert "WARNING: the predictions are not written: " in done.stderr
