"""Whether a run says that a baseline is better, or that its test is too small to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from seqmodels import compose, load_run, train
from seqmodels.runs.result import Result
from seqmodels.runs.verdict import Evidence, _chance_of_pairs, evidence_of, verdict
from seqmodels.target import Baselines


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
    result: Result, said: str | None
) -> None:
    result.baselines.pop("test/f1")
    if said and "can't tell" in said:
        said = said.replace("can't tell", "test rows can't tell max_pool and b apart")
    else:
        said = said and f"max_pool {said}"
    assert verdict(result, Evidence()) == ([said] if said else [])


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
    evidence = evidence_of(tmp_path, Baselines(scores={}))
    assert verdict(result, evidence) == ([said] if lost else [])


@pytest.mark.parametrize("different", [0, 1, 5, 6, 7, 20, 21, 999])
def test_a_lead_is_beyond_chance_where_mcnemars_exact_test_says_so(different: int) -> None:
    rows = 1000
    for wins in range(different + 1):
        p = binomtest(wins, different).pvalue if different else 1.0
        lead = abs(wins - (different - wins)) / rows
        assert (lead > _chance_of_pairs(different, rows)) == (p < 0.05)


@pytest.mark.parametrize(
    ("only_run_right", "only_baseline_right", "said"),
    [
        (0, 0, "is level with"),  # the same mistakes
        (3, 9, "is level with"),  # 12 rows of 1,000 can't hide two points
        (2, 12, "lost to"),  # a point: less than chance between two samples, 3.5 points
        (100, 110, "can't tell"),
        (20, 2, None),
    ],
)
def test_models_that_predict_the_same_rows_are_compared_row_by_row(
    only_run_right: int, only_baseline_right: int, said: str | None, tmp_path: Path
) -> None:
    is_wrong = np.zeros((2, 1000), bool)  # of the run and of the baseline
    is_wrong[:, :200] = True
    is_wrong[1, 200 : 200 + only_run_right] = True
    is_wrong[0, 400 : 400 + only_baseline_right] = True
    rows = "".join(
        f"{row + 1},x,{'y' if wrong else 'x'}\n" for row, wrong in enumerate(is_wrong[0])
    )
    (tmp_path / "predictions.csv").write_text("row,target,prediction\n" + rows)

    accuracy_of_run, accuracy_of_baseline = 1 - is_wrong.mean(axis=1)
    result = run(accuracy_of_run, accuracy_of_baseline, examples=1000)
    result.baselines.pop("test/f1")
    wrong_rows = {"b": np.flatnonzero(is_wrong[1]).tolist(), "worse": [*range(1000)]}
    evidence = evidence_of(tmp_path, Baselines(result.baselines, wrong_rows))
    sentences = verdict(result, evidence)
    assert len(sentences) == bool(said) and all(said in sentence for sentence in sentences)


def test_the_evidence_of_a_run_is_as_many_rows_as_its_metrics_say(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["trainer=cpu", "trainer.max_epochs=1", "model=classifier", "data=japanese_vowels"]
    result = train(compose(*words, f"folder={folder}"))
    data = load_run(folder).data
    data.setup()
    evidence = evidence_of(folder, data.baselines())
    shares_wrong = {"run": 1 - result["metrics"]["test/accuracy"]}
    assert evidence.wrong_rows is not None
    wrong_rows = {"run": evidence.wrong_rows, **evidence.wrong_rows_of_baselines}
    for name, accuracy in result["baselines"]["test/accuracy"].items():
        shares_wrong[name] = 1 - accuracy
    assert shares_wrong == {
        name: pytest.approx(len(rows) / result["examples"]["test"])
        for name, rows in wrong_rows.items()
    }


def test_a_task_that_tells_something_else_of_its_rows_is_compared_as_if_nobody_knew_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "predictions.csv").write_text("row,answer\n1,x\n")
    evidence = evidence_of(tmp_path, Baselines(scores={}, wrong_rows={"b": [0]}))
    assert evidence == Evidence([])
