"""Quantiles that validation has found too narrow are widened, and cover what they promise."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seqmodels.engine.intervals import quantile_shifts
from seqmodels.errors import UserError
from seqmodels.runs import load_run
from tests.conftest import Script, result_of
from tests.runs.resumed import resumes

LEVELS = [0.05, 0.1, 0.5, 0.8, 0.9]


def shifts_of(quantiles: list[float], targets: np.ndarray) -> torch.Tensor:
    """Of one value, whose quantiles are the same for all rows."""
    return quantile_shifts(
        torch.tensor(quantiles).expand(len(targets), 1, -1), torch.tensor(targets)[:, None], LEVELS
    )


@pytest.mark.parametrize("rows", [9, 10, 99, 400])
def test_each_quantile_moves_to_the_rank_that_conformal_prediction_asks_for(rows: int) -> None:
    targets = np.random.default_rng(rows).standard_t(3, rows)
    moved = shifts_of([0.0] * 5, targets)[0].numpy()
    for shift, level in zip(moved, LEVELS, strict=True):
        outwards = np.sign(level - 0.5)
        share = min(max(level, 1 - level) * (rows + 1) / rows, 1)
        wanted = np.quantile(outwards * targets, share, method="inverted_cdf")
        assert shift == pytest.approx(outwards * max(wanted, 0))
    assert moved[2] == 0  # the median


def test_on_average_new_rows_of_the_same_kind_are_covered_as_promised() -> None:
    random, covered = np.random.default_rng(0), []
    for _ in range(400):
        seen, new = random.standard_t(3, (2, 60))
        low, *_, high = shifts_of([-0.1, -0.1, 0.0, 0.1, 0.1], seen)[0].tolist()
        covered.append(np.mean((new >= low - 0.1) & (new <= high + 0.1)))
    # 0.85 and at most two of 61 more; the deviation of this mean is 0.3 points
    assert 0.84 < np.mean(covered) < 0.85 + 2 / 61 + 0.01


def test_what_is_wide_enough_stays_and_what_is_not_known_moves_nothing() -> None:
    targets = np.random.default_rng(0).normal(size=50)
    assert not shifts_of([-9.0, -9.0, 0.0, 9.0, 9.0], targets).any()
    assert not shifts_of([0.0] * 5, np.full(50, np.nan)).any()
    some = np.where(np.arange(50) < 25, targets, np.nan)
    assert shifts_of([0.0] * 5, some).equal(shifts_of([0.0] * 5, some[:25]))
    assert shifts_of([0.0] * 5, np.full(50, 2.0))[0].tolist() == [0, 0, 0, 2, 2]  # a constant
    assert shifts_of([0.0] * 5, np.array([1.0, -1.0]))[0].tolist() == [-1, -1, 0, 1, 1]  # too few


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
