"""A run says whether a baseline is better."""

from __future__ import annotations

from typing import Any

import pytest

from seqmodels.runs.report import verdict


def run(
    test: float, baselines: dict[str, float], metric: str = "accuracy", **trainer: Any
) -> dict[str, Any]:
    return {
        "config": {"trainer": trainer},
        "head": "max_pool",
        "metric": metric,
        "metrics": {f"test/{metric}": test},
        "baselines": {f"test/{metric}": baselines},
        "examples": {"test": 200},
    }


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            run(0.6, {"left out": float("nan"), "a": 0.7, "b": 0.8}),
            "max_pool lost to b: test/accuracy 60.00 % and 80.00 %.",
        ),
        (
            run(0.78, {"b": 0.8}),
            "max_pool is level with b: test/accuracy 78.00 % and 80.00 %.",
        ),
        (
            run(2.1, {"mean": 2.5, "linear": 1.75}, "rmse"),
            "max_pool lost to linear: test/rmse 2.1000 and 1.7500.",
        ),
        (
            run(2.8275, {"linear": 2.8240}, "rmse"),
            "max_pool is level with linear: test/rmse 2.8275 and 2.8240.",
        ),
        (
            run(0.6, {"linear": 0.62}, "macro_f1"),
            "max_pool lost to linear: test/macro_f1 60.00 % and 62.00 %.",
        ),
    ],
)
def test_it_says_which_baseline_is_better_and_whether_they_are_level(
    result: dict[str, Any], said: str
) -> None:
    assert verdict(result) == [said]


def test_it_compares_in_the_metric_of_the_task() -> None:
    result = run(0.8, {"b": 0.7})
    result["metrics"]["test/macro_f1"] = 0.6
    result["baselines"] = {"test/macro_f1": {"b": 0.9}, **result["baselines"]}
    assert verdict(result) == []
    result["metric"] = "macro_f1"
    assert verdict(result) == ["max_pool lost to b: test/macro_f1 60.00 % and 90.00 %."]
    result["metric"] = "exact_match"  # of which there is no baseline
    assert verdict(result) == []


@pytest.mark.parametrize(
    "result",
    [
        run(0.8, {"a": 0.7}),
        run(0.8, {"b": 0.8}),
        # a metric has 32 bits, and a baseline 64
        run(0.8166666626930237, {"b": 49 / 60}),
        run(0.816666, {"b": 49 / 60}),
        run(0.9, {"a": 0.1}, "coverage"),  # without a direction
        run(0.1, {"a": 0.9}, "mine"),
        run(0.6, {"b": 0.8}, limit_test_batches=1),
    ],
    ids=str,
)
def test_it_says_nothing_of_the_same_numbers_or_of_such_that_cannot_be_compared(
    result: dict[str, Any],
) -> None:
    assert verdict(result) == []
