"""Runs that forecast: what a test leaves for each window is enough to score it again, and an
interval covers what it promises."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from seqmodels.errors import UserError
from seqmodels.runs import load_run
from tests.conftest import Script, result_of
from tests.predictions import mean_loss, rows_of, table_of
from tests.runs.resumed import resumes

WORDS = ("train.py", "model=forecaster", "data=windows", "data.file=waves.csv", "trainer=cpu")
OF_DATA = ("data.target=[y,z]", "data.time=at", "data.series=id", "data.window=9", "data.horizon=3")
QUICK = ("trainer.max_epochs=1", "baseline=false", "callbacks.dataflow=null", "data.batch_size=8")
NAMES = ("a, b", "c")
START = datetime(2024, 1, 31, 20)


@pytest.fixture
def hourly_waves(tmp_path: Path) -> dict[tuple[str, str], list[float]]:
    """Two series of hourly values, some of them missing, by series and time."""
    random, lines, values = np.random.default_rng(0), ["at,id,y,z"], {}
    for series, size in (("a, b", 3.0), ("c", 40.0)):
        for n in range(120):
            at = f"{START + timedelta(hours=n):%Y-%m-%d %H:%M}"
            y, z = (size * (np.sin(n) + random.normal(0, 0.1)) + shift for shift in (size, 10.0))
            values[series, at] = [round(y, 4), np.nan if n % 7 == 0 else round(z, 4)]
            lines.append(f'{at},"{series}",{y:.4f},{"" if n % 7 == 0 else f"{z:.4f}"}')
    (tmp_path / "waves.csv").write_text("\n".join(lines) + "\n")
    return values


@pytest.mark.parametrize("head", ["last_hidden", "every_step"])
def test_the_table_follows_from_the_rows(
    script: Script, tmp_path: Path, hourly_waves: dict[tuple[str, str], list[float]], head: str
) -> None:
    script(*WORDS, *OF_DATA, *QUICK, "data.missing=last", f"model.head={head}", "folder=run")
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]

    def values(column: str) -> np.ndarray:  # (N, H, K)
        found = [[row[f"{column}.{name}"] for name in ("y", "z")] for row in rows]
        return np.array(found, np.float64).swapaxes(1, 2)

    target, made = values("target"), values("prediction")
    times = [datetime.fromisoformat(row["time"]) for row in rows]
    for row, first, ahead in zip(rows, times, target):
        hours = [f"{first + timedelta(hours=h):%Y-%m-%d %H:%M}" for h in range(3)]
        read = [hourly_waves[row["series"], hour] for hour in hours]
        np.testing.assert_allclose(ahead, read, rtol=1e-5)
    assert all(first == START + timedelta(hours=row["step"]) for row, first in zip(rows, times))
    size = {
        name: naive_errors([v for (of, _), v in hourly_waves.items() if of == name])
        for name in NAMES
    }
    scale = np.broadcast_to(np.array([size[row["series"]] for row in rows])[:, None], target.shape)
    known = ~np.isnan(target)
    pairs = target[known], made[known]
    cells = [(known[..., k], target[..., k], made[..., k]) for k in range(2)]
    again = {
        "test/rmse": root_mean_squared_error(*pairs),
        "test/mae": mean_absolute_error(*pairs),
        "test/mase": mean_absolute_error(*(values / scale[known] for values in pairs)),
        "test/r2": np.mean([r2_score(each[k], guess[k]) for k, each, guess in cells]),
        "test/loss": mean_loss(rows, known.sum(axis=(1, 2))),
    }
    assert again == pytest.approx({name: metrics[name] for name in again}, rel=1e-6, abs=1e-6)
    scores = table_of(tmp_path / "run" / "scores.csv")
    assert [name for name, *_ in scores] == ["y", "z"]
    for (_, *found), (there, *pair), size in zip(scores, cells, np.moveaxis(scale, 2, 0)):
        right, guess = (values[there] for values in pair)
        errors = root_mean_squared_error(right, guess), mean_absolute_error(right, guess)
        mase = mean_absolute_error(right / size[there], guess / size[there])
        expected = [there.sum(), *errors, r2_score(right, guess), mase]
        assert [*map(float, found[:5])] == pytest.approx(expected, rel=2e-6, abs=2e-6)


def naive_errors(values: list[list[float]]) -> np.ndarray:
    """The mean absolute error of repeating the last day in the first 60 %, of each column."""
    train = np.array(values)[:72]
    return np.nanmean(np.abs(train[24:] - train[:-24]), axis=0)


# ---------------------------------------------------------------- intervals


NOISE = "data=windows data.file=waves.csv data.target=[y,z] data.window=6 data.horizon=3"
QUANTILES = "model.output.quantiles=[0.1,0.5,0.9]"
QUANTILE_WORDS = f"model=forecaster {NOISE} {QUANTILES} trainer.max_steps=1"
SMALL_RUN = (
    "baseline=false callbacks.dataflow=null trainer=cpu model.encoder.hidden_size=4 folder=run"
)


@pytest.fixture
def noise_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with noise, to forecast with quantiles that one step leaves much too narrow."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = [f"{random.normal():.4f},{random.normal(100, 10):.4f}" for _ in range(400)]
    (tmp_path / "waves.csv").write_text("\n".join(["y,z", *rows]) + "\n")
    return tmp_path


def test_a_forecast_covers_what_it_promises_and_says_so_and_a_loaded_run_gives_the_same(
    script: Script, noise_folder: Path
) -> None:
    words = (
        *QUANTILE_WORDS.split(),
        *SMALL_RUN.split(),
        "model.dropout=0.0",
        "model.optimizer.lr=0.0",
    )
    done, result = script("train.py", *words), result_of(noise_folder / "run")
    before, covered = (result["metrics"][f"{s}/coverage"] for s in ("validation", "test"))
    assert before < 0.6 and 0.72 < covered < 0.9
    line = f"The interval from 0.1 to 0.9 promises 80.00 %, and covers {100 * covered:.2f} % of the"
    assert line in " ".join(done.stdout.split())
    assert f"(there, {100 * before:.2f} %)" in result["verdict"][-1]
    run = load_run(noise_folder / "run")
    assert run.evaluate(accelerator="cpu")["test/coverage"] == pytest.approx(covered)
    targets, low, high = (
        np.array(
            [json.loads(row[f"{column}.z{level}"]) for row in predictions(noise_folder / "run")]
        )
        for column, level in (("target", ""), ("prediction", ".0.1"), ("prediction", ".0.9"))
    )
    assert np.mean((low <= targets) & (targets <= high)) == pytest.approx(0.8, abs=0.08)
    newest = run.predict(run.read_inputs("waves.csv"))[0]["z"]
    assert newest["0.9"][0] - newest["0.1"][0] == pytest.approx((high - low).mean(), rel=0.5)


def predictions(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def test_a_resumed_run_is_widened_to_the_bit_as_the_uninterrupted_one(
    script: Script, noise_folder: Path
) -> None:
    words = [
        word
        for word in (*QUANTILE_WORDS.split(), *SMALL_RUN.split())
        if not word.startswith("folder")
    ]
    resumes(
        script, noise_folder, *words, "trainer.max_steps=8", "trainer.val_check_interval=3", step=5
    )
    whole, cut = (result_of(noise_folder / name)["calibration"] for name in ("whole", "cut"))
    assert whole == cut and any(map(any, whole))


def test_another_checkpoint_is_not_widened_and_says_so(
    script: Script, noise_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script("train.py", *QUANTILE_WORDS.split(), *SMALL_RUN.split())
    run, best = load_run(noise_folder / "run", "last"), load_run(noise_folder / "run")
    assert "last.ckpt: its intervals and probabilities are as they were learned" in caplog.text
    assert run.task.calibration is None and best.task.calibration is not None
    narrow, wide = (each.evaluate(accelerator="cpu")["test/coverage"] for each in (run, best))
    assert narrow < wide


@pytest.mark.parametrize("calibration", ["[[0.0]]", "[[0,0,NaN],[0,0,0]]", '["a"]'])
def test_a_calibration_that_does_not_fit_is_one_line(
    script: Script, noise_folder: Path, calibration: str
) -> None:
    script("train.py", *QUANTILE_WORDS.split(), *SMALL_RUN.split())
    file = noise_folder / "run" / "result.json"
    content = json.loads(file.read_text())
    content["calibration"] = json.loads(calibration)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"result.json|do not fit|cannot be used"):
        load_run(noise_folder / "run")


def test_a_part_of_the_data_widens_nothing(script: Script, noise_folder: Path) -> None:
    script("train.py", *QUANTILE_WORDS.split(), *SMALL_RUN.split(), "debug=limit")
    assert "calibration" not in result_of(noise_folder / "run")
