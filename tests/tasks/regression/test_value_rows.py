"""What a regressor's test leaves for each row is enough to score it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)

from tests.conftest import Script, result_of
from tests.predictions import mean_loss, rows_of, table_of

WORDS = ("train.py", "model=regressor", "data=text", "data.train=scores.csv", "trainer=cpu")
QUICK = ("trainer.max_epochs=1", "baseline=false", "callbacks.dataflow=null", "data.batch_size=4")
LEVELS = ("0.1", "0.5", "0.9")


@pytest.mark.parametrize("output", ["{error:mse}", "{quantiles:[0.1,0.5,0.9]}"])
def test_the_table_follows_from_the_rows(script: Script, tmp_path: Path, output: str) -> None:
    random = np.random.default_rng(0)
    lines = ["text,score,price"]
    for n in range(60):
        price = "" if n % 4 == 0 else f"{random.normal(1e4, 300):.2f}"
        lines.append(f"{'good ' * (n % 5 + 1)},{random.normal():.3f},{price}")
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    own = ("data.value_columns=[score,price]", f"model.output={output}", "folder=run")
    script(*WORDS, *QUICK, *own)
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]
    names = ("score", "price")
    quantiles = output.startswith("{quantiles")
    median = ".0.5" if quantiles else ""

    def values(column: str) -> np.ndarray:
        return np.array([[r[f"{column.format(name)}"] for name in names] for r in rows], np.float64)

    target, made = values("target.{}"), values("prediction.{}" + median)
    known = ~np.isnan(target)
    assert 0 < (~known).sum() < known.size
    by_column = [(target[k, n], made[k, n]) for n, k in enumerate(known.T)]
    again = {
        "test/rmse": root_mean_squared_error(target[known], made[known]),
        "test/mae": mean_absolute_error(target[known], made[known]),
        "test/r2": np.mean([r2_score(*pair) for pair in by_column]),
        "test/loss": mean_loss(rows, known.sum(axis=1)),
    }
    if quantiles:
        of = {level: values("prediction.{}." + level) for level in LEVELS}
        losses = [mean_pinball_loss(target[known], of[q][known], alpha=float(q)) for q in LEVELS]
        again["test/pinball"] = np.mean(losses)
        inside = (of["0.1"] <= target) & (target <= of["0.9"])
        again["test/coverage"] = inside[known].mean()
    assert again == pytest.approx({name: metrics[name] for name in again}, rel=1e-6, abs=1e-6)
    scores = table_of(tmp_path / "run" / "scores.csv")
    assert [row[0] for row in scores] == [*names]
    for (_, count, rmse, mae, r2, *_), (right, guess) in zip(scores, by_column, strict=True):
        of = [len(right), root_mean_squared_error(right, guess), mean_absolute_error(right, guess)]
        expected = pytest.approx([*of, r2_score(right, guess)], rel=1e-6, abs=1e-6)
        assert [*map(float, (count, rmse, mae, r2))] == expected
