"""Whether a run says that a baseline is better, or that its test is too small to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqmodels.runs.result import Result
from seqmodels.runs.verdict import verdict


def run(
    test: float, baseline: float, metric: str = "accuracy", examples: int = 200, **trainer: Any
) -> Result:
    worse = 9.0 if metric == "rmse" else 0.01
    others = {"left out": float("nan"), "worse": worse, "b": baseline}
    return Result(
        seed=0,
        config={"trainer": trainer},
        head="max_pool",
        metric=metric,
        metrics={f"test/{metric}": test, "test/f1": 0.1},
        baselines={f"test/{metric}": others, "test/f1": {"a": 0.9}},
        examples={"test": examples},
    )


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (run(0.6, 0.8), "lost to b: test/accuracy 60.00 % and 80.00 %."),
        (run(0.78, 0.8), "200 can't tell: test/accuracy 78.00 % and 80.00 %."),
        (run(10 / 12, 1.0, examples=12), "12 can't tell: test/accuracy 83.33 % and 100.00 %."),
        (run(1.0, 1.0, examples=12), "12 can't tell: test/accuracy 100.00 % and 100.00 %."),
        (run(0.5, 1.0, examples=12), "lost to b: test/accuracy 50.00 % and 100.00 %."),
        (run(0.801, 0.8, examples=10_000), "is level with b: test/accuracy 80.10 % and 80.00 %."),
        (run(0.78, 0.8, examples=10_000), "lost to b: test/accuracy 78.00 % and 80.00 %."),
        (run(0.82, 0.8, examples=10_000), None),
        (run(1.8, 1.75, "rmse"), "lost to b: test/rmse 1.8000 and 1.7500."),
        (run(2.8275, 2.8240, "rmse"), "is level with b: test/rmse 2.8275 and 2.8240."),
        (run(0.8, 0.7), None),
        (
            run(0.9, 0.875),
            "200 can't tell: test/accuracy 90.00 % and 87.50 %.",
        ),  # of 200: 180, 175
        (run(1.8, 1.85, "rmse"), None),
        (run(2.8240, 2.8275, "rmse"), "is level with b: test/rmse 2.8240 and 2.8275."),
        (run(0.6, 0.8, limit_test_batches=1), None),  # not of the whole split
    ],
)
def test_a_run_says_which_baseline_is_better_or_that_its_test_is_too_small_to_tell(
    result: Result, said: str | None, tmp_path: Path
) -> None:
    result.baselines.pop("test/f1")
    if said and "can't tell" in said:
        said = said.replace("can't tell", "test rows can't tell max_pool and b apart")
    else:
        said = said and f"max_pool {said}"
    assert verdict(result, tmp_path) == ([said] if said else [])


@pytest.mark.parametrize(
    ("value", "other", "counts", "lost"),
    [
        (0.6, 0.8, [100, 100], True),
        (0.7, 0.8, [100, 100], True),
        (0.73, 0.8, [100, 100], False),  # 1.96 deviations are 8.3 points
        (0.6, 0.8, [190, 10], False),  # and with ten of a class 19
        (0.45, 0.8, [190, 10], True),
    ],
)
def test_a_run_says_if_macro_f1_lost_by_more_than_chance(
    value: float, other: float, counts: list[int], lost: bool, tmp_path: Path
) -> None:
    result = run(0.8, 0.7)
    result.baselines = {**result.baselines, "test/f1": {}, "test/macro_f1": {"b": other}}
    result.metrics["test/macro_f1"] = value
    rows = "".join(f"{name},{count}\n" for name, count in zip("abc", [*counts, 0], strict=True))
    (tmp_path / "scores.csv").write_text("class,count\n" + rows)
    said = f"max_pool lost to b: test/macro_f1 {value:.2%} and {other:.2%}.".replace("%", " %")
    assert verdict(result, tmp_path) == ([said] if lost else [])
