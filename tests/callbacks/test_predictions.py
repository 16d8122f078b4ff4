"""`predictions.csv` of any task: sorted, whole or not at all, and off by one key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score

from seqmodels.runs import train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import ROOT, Config, Script, result_of
from tests.predictions import mean_loss, rows_of

QUICK = ("baseline=false", "callbacks.dataflow=null", "callbacks.pictures=null")


@pytest.mark.usefixtures("examples_importable")
def test_a_target_of_ones_own_is_scored_again_from_its_rows(script: Script, tmp_path: Path) -> None:
    words = ("model=labels", "data=headlines", "trainer.max_epochs=1", "trainer=cpu")
    folder = ROOT / "examples" / "labels" / "configs"
    script("train.py", "--config-dir", str(folder), *words, "baseline=false", "folder=run")
    rows, metrics = (
        rows_of(tmp_path / "run" / "predictions.csv"),
        result_of(tmp_path / "run")["metrics"],
    )
    assert len(rows) == 500 and isinstance(rows[0]["input"], str)
    made = [
        [row[f"prediction.{name}"] > 0.5 for name in ("money", "sport", "weather")] for row in rows
    ]
    targets = [[value > 0.5 for value in row["target"]] for row in rows]
    assert f1_score(targets, made, average="macro") == pytest.approx(metrics["test/f1"], abs=1e-6)
    assert mean_loss(rows, [1] * len(rows)) == pytest.approx(metrics["test/loss"], abs=1e-6)


def test_null_leaves_them_out(config: Config) -> None:
    settings = config(*QUICK, "callbacks.predictions=null", "trainer.max_epochs=1")
    train(settings)
    assert not [*Path(settings.folder).glob("*predictions*")]


def test_a_test_that_fails_leaves_the_older_file_and_nothing_else(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(*QUICK, "trainer.max_epochs=1", "data.batch_size=50")
    train(settings)
    folder, outcomes = Path(settings.folder), SequenceClassifier.outcomes
    before = (folder / "predictions.csv").read_bytes()

    def failing(task: SequenceClassifier, batch: SequenceBatch) -> list[dict[str, Any]]:
        if 300 in batch.rows:
            raise RuntimeError("the power went out")
        return outcomes(task, batch)

    monkeypatch.setattr(SequenceClassifier, "outcomes", failing)
    settings.resume = str(folder)
    with pytest.raises(RuntimeError, match="power"):
        train(settings, ["trainer.max_epochs=2"])
    assert (folder / "predictions.csv").read_bytes() == before
    assert {file.name for file in folder.glob("*predictions*")} == {"predictions.csv"}
