"""A forecast's interval covers what it promises: in the test, in a loaded run, after a resume."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from seqmodels.errors import UserError
from seqmodels.runs import load_run
from tests.conftest import Script, result_of
from tests.runs.resumed import resumes

DATA = "data=windows data.file=waves.csv data.target=[y,z] data.window=6 data.horizon=3"
WORDS = f"model=forecaster {DATA} model.output.quantiles=[0.1,0.5,0.9] trainer.max_steps=1"
QUICK = "baseline=false callbacks.dataflow=null trainer=cpu model.encoder.hidden_size=4 folder=run"


@pytest.fixture
def waves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with noise, to forecast with quantiles that one step leaves much too narrow."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = [f"{random.normal():.4f},{random.normal(100, 10):.4f}" for _ in range(400)]
    (tmp_path / "waves.csv").write_text("\n".join(["y,z", *rows]) + "\n")
    return tmp_path


def test_a_forecast_covers_what_it_promises_and_says_so_and_a_loaded_run_gives_the_same(
    script: Script, waves: Path
) -> None:
    words = (*WORDS.split(), *QUICK.split(), "model.dropout=0.0", "model.optimizer.lr=0.0")
    done, result = script("train.py", *words), result_of(waves / "run")
    before, covered = (result["metrics"][f"{s}/coverage"] for s in ("validation", "test"))
    assert before < 0.6 and 0.72 < covered < 0.9
    line = f"The interval from 0.1 to 0.9 promises 80.00 %, and covers {100 * covered:.2f} % of the"
    assert line in " ".join(done.stdout.split())
    assert f"(there, {100 * before:.2f} %)" in result["verdict"][-1]
    run = load_run(waves / "run")
    assert run.evaluate(accelerator="cpu")["test/coverage"] == pytest.approx(covered)
    targets, low, high = (
        np.array([json.loads(row[f"{column}.z{level}"]) for row in predictions(waves / "run")])
        for column, level in (("target", ""), ("prediction", ".0.1"), ("prediction", ".0.9"))
    )
    assert np.mean((low <= targets) & (targets <= high)) == pytest.approx(0.8, abs=0.08)
    newest = run.predict(run.read_inputs("waves.csv"))[0]["z"]
    assert newest["0.9"][0] - newest["0.1"][0] == pytest.approx((high - low).mean(), rel=0.5)


def predictions(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def test_a_resumed_run_is_widened_to_the_bit_as_the_uninterrupted_one(
    script: Script, waves: Path
) -> None:
    words = [word for word in (*WORDS.split(), *QUICK.split()) if not word.startswith("folder")]
    resumes(script, waves, *words, "trainer.max_steps=8", "trainer.val_check_interval=3", step=5)
    whole, cut = (result_of(waves / name)["calibration"] for name in ("whole", "cut"))
    assert whole == cut and any(map(any, whole))


def test_another_checkpoint_is_not_widened_and_says_so(
    script: Script, waves: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script("train.py", *WORDS.split(), *QUICK.split())
    run, best = load_run(waves / "run", "last"), load_run(waves / "run")
    assert "last.ckpt: its intervals are as they were learned" in caplog.text
    assert run.task.calibration is None and best.task.calibration is not None
    narrow, wide = (each.evaluate(accelerator="cpu")["test/coverage"] for each in (run, best))
    assert narrow < wide


@pytest.mark.parametrize("calibration", ["[[0.0]]", "[[0,0,NaN],[0,0,0]]", '["a"]'])
def test_a_calibration_that_does_not_fit_is_one_line(
    script: Script, waves: Path, calibration: str
) -> None:
    script("train.py", *WORDS.split(), *QUICK.split())
    file = waves / "run" / "result.json"
    content = json.loads(file.read_text())
    content["calibration"] = json.loads(calibration)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"result.json|do not fit|cannot be used"):
        load_run(waves / "run")


def test_a_part_of_the_data_widens_nothing(script: Script, waves: Path) -> None:
    script("train.py", *WORDS.split(), *QUICK.split(), "debug=limit")
    assert "calibration" not in result_of(waves / "run")
