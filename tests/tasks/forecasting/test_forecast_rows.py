"""What a forecaster's test leaves for each window is enough to score it again."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from tests.conftest import Script, result_of
from tests.predictions import mean_loss, rows_of, table_of

WORDS = ("train.py", "model=forecaster", "data=windows", "data.file=waves.csv", "trainer=cpu")
OF_DATA = ("data.target=[y,z]", "data.time=at", "data.series=id", "data.window=9", "data.horizon=3")
QUICK = ("trainer.max_epochs=1", "baseline=false", "callbacks.dataflow=null", "data.batch_size=8")
NAMES = ("a, b", "c")
START = datetime(2024, 1, 31, 20)


@pytest.fixture
def waves(tmp_path: Path) -> dict[tuple[str, str], list[float]]:
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
    script: Script, tmp_path: Path, waves: dict[tuple[str, str], list[float]], head: str
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
        read = [waves[row["series"], hour] for hour in hours]
        np.testing.assert_allclose(ahead, read, rtol=1e-5)
    assert all(first == START + timedelta(hours=row["step"]) for row, first in zip(rows, times))
    size = {name: naive_errors([v for (of, _), v in waves.items() if of == name]) for name in NAMES}
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
