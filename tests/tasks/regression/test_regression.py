"""Numbers for sequences and for steps: loss, scores and predictions in their own units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)
from torch import Tensor

from seqmodels import load_run
from seqmodels.audit import audit
from seqmodels.batch import SequenceBatch
from seqmodels.data import UEA, Examples, SequenceDataModule, Series, Values
from seqmodels.errors import UserError
from seqmodels.runs.training import train
from seqmodels.tasks.regression import Regressor
from tests.conftest import Config, Script, result_of
from tests.make import batch_for, build_task
from tests.measured import measured_of
from tests.predictions import mean_loss, rows_of, table_of
from tests.runs.resumed import OWN, resumes

B, T, F, H = 5, 7, 3, 4
SCALE = {"mean": [10.0, -200.0], "deviation": [2.0, 50.0]}
DATA = {"inputs": "features", "num_inputs": F, "values": ["level", "drift"], **SCALE}
LEVEL = 123_456_789.25  # which float32 doesn't hold
LENGTHS = torch.tensor([7, 3, 5, 1, 6])


def regressor(head: str = "mean_pool", **options: Any) -> Regressor:
    return build_task(Regressor, DATA, head, **options)


def batch_with_a_gap(task: Regressor, seed: int = 0) -> SequenceBatch:
    """Without the first of two values in its first row."""
    batch = batch_for(task, LENGTHS.tolist(), seed=seed)
    batch.targets[0, ..., 0] = torch.nan
    return batch


def own_units(standardised: Tensor) -> Tensor:
    return standardised * torch.tensor(SCALE["deviation"]) + torch.tensor(SCALE["mean"])


def test_a_prediction_of_quantiles_names_them_and_they_never_cross() -> None:
    task = regressor(output={"quantiles": [0.25, 0.5, 0.9]})
    batch = batch_with_a_gap(task)
    for row in task.describe(batch):
        assert [*row["drift"]] == [*row["level"]] == ["0.25", "0.5", "0.9"]
        assert sorted(row["level"].values()) == [*row["level"].values()]


def test_scores_and_predictions_keep_the_digits_of_a_large_level() -> None:
    small, large = (
        Regressor({**DATA, "mean": [mean, 0.0], "deviation": [0.5, 1.0]}, {"hidden_size": H})
        for mean in (0.0, LEVEL)
    )
    large.load_state_dict(small.state_dict())
    batch = batch_with_a_gap(small)
    expected, found = (measured_of(task.eval(), batch) for task in (small, large))
    assert expected["rmse"] > 0.1
    assert found == pytest.approx(expected, rel=1e-5)
    for row, other in zip(small.describe(batch), large.describe(batch), strict=True):
        for name, level in zip(row, (LEVEL, 0.0), strict=True):
            assert other[name] - level == pytest.approx(row[name], abs=1e-6)


# ---------------------------------------------------------------- for each step


@pytest.mark.parametrize("output", [{"error": "huber"}, {"quantiles": [0.1, 0.5]}])
def test_a_head_of_every_step_predicts_values_for_each(output: dict[str, Any]) -> None:
    task = regressor("every_step", output=output)
    assert (task.contract.per, task.contract.causal) == ("step", False)
    assert Regressor.contract.per == "sequence"  # of other heads
    assert not task.network.encoder.bidirectional
    batches = [batch_with_a_gap(task, seed) for seed in range(2)]
    assert int(task.step(batches[0]).score.weight) == 2 * int(LENGTHS.sum()) - T
    medians = torch.cat(
        [task.network.head.decode(task.network.encode(each)) for each in batches]
    ).detach()
    targets = own_units(torch.cat([each.targets for each in batches]))
    known = ~targets.isnan()
    expected = root_mean_squared_error(targets[known], medians[known])
    assert measured_of(task, *batches)["rmse"] == pytest.approx(expected, rel=1e-5)
    rows = task.describe(batches[0])
    made = rows[2]["drift"] if "error" in output else rows[2]["drift"]["0.5"]
    assert made == pytest.approx(medians[2, :5, 1].tolist())  # of 5 steps


def test_padding_changes_nothing_of_the_values_of_steps() -> None:
    task = regressor("every_step")
    batch = batch_with_a_gap(task)
    alone = []
    for row, length in enumerate(LENGTHS.tolist()):
        targets = batch.targets[row : row + 1, :length]  # type: ignore[index]
        single = SequenceBatch(batch.inputs[row : row + 1, :length], LENGTHS[row, None], targets)
        alone.append(task.step(single))
    known = torch.stack([step.score.weight for step in alone])  # type: ignore[misc]
    losses = torch.stack([step.score.loss for step in alone])
    together = task.step(batch)
    torch.testing.assert_close(together.score.loss, (losses * known).sum() / known.sum())
    found = audit(task.network, batch.inputs, LENGTHS, "per_step", task.contract.causal)
    assert found.names == []


class StepWaves(SequenceDataModule):
    """The phase of a wave at each of its steps."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Series(), Values(["height", "slope"], per="step"), **options)

    def read(self) -> dict[Any, Examples]:
        random = np.random.default_rng(0)
        steps = [np.arange(n) * 0.3 + random.uniform(0, 6) for n in random.integers(5, 9, 40)]
        targets = [np.stack([100 + np.sin(x), np.cos(x)], axis=1).tolist() for x in steps]
        targets[3][2] = [None, ""]
        return {"train": Examples([np.sin(x)[:, None] for x in steps], targets, "waves")}


def test_values_of_steps_are_trained_tested_and_predicted(config: Config) -> None:
    settings = config(
        "model=regressor",
        "model.head=every_step",
        "model.encoder.hidden_size=16",
        f"allowed_targets=[{__name__}.StepWaves]",
        "trainer.max_epochs=3",
    )
    settings.data = {"_target_": f"{__name__}.StepWaves", "batch_size": 4}
    result = train(settings)
    names = {"training mean", "ridge regression on the last 11 steps"}
    assert result["baselines"]["test/rmse"].keys() == names
    assert 0 < result["metrics"]["test/rmse"] < 0.9


# ---------------------------------------------------------------- data


def test_the_file_says_whether_its_targets_are_numbers() -> None:
    assert [UEA(name).target for name in ("Tecator", "JapaneseVowels")] == ["value", "class"]
    data = UEA("Covid3Month")
    data.setup()
    assert (data.per, data.target, data.spec["values"]) == ("sequence", "value", ["value"])
    rmse = data.baselines().scores["test/rmse"]["training mean"]
    assert rmse == pytest.approx(0.0447, abs=5e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model=regressor data=japanese_vowels", "Regressor learns numbers for each sequence"),
        ("data=uea data.name=Covid3Month", "SequenceClassifier learns a class for each sequence"),
    ],
)
def test_data_of_another_kind_is_refused(
    config: Config, words: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(*words.split()))
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- a run


def test_a_resumed_regression_is_the_uninterrupted_one_and_predicts(
    script: Script, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    values = ["nan" if n % 3 == 0 else f"{random.normal():.3f}" for n in range(40)]
    rows = "".join(f"{n},1.0,2.0:3.0,{n},1.0:{value}\n" for n, value in enumerate(values))
    for split in ("TRAIN", "TEST"):
        (tmp_path / f"Mine_{split}.ts").write_text(
            "@problemName Mine\n@timeStamps false\n@univariate false\n@dimensions 2\n"
            f"@targetLabel true\n@data\n{rows}"
        )
    files = (f"data.{each.lower()}={tmp_path}/Mine_{each}.ts" for each in ("TRAIN", "TEST"))
    data = ("data=series", *files, "data.batch_size=4", "data.validation_fraction=0.2")
    quantiles = "model.output.quantiles=[0.1,0.5,0.9]"
    # in the second epoch of 8 steps
    all_rows = "trainer.limit_test_batches=1.0"  # as an evaluation reads them
    resumes(script, tmp_path, *OWN, all_rows, "model=regressor", *data, quantiles, step=12)
    run = load_run(tmp_path / "cut")
    found = {k: v for k, v in run.result.metrics.items() if k.startswith("test/")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(found)
    series = run.data.read()["test"].inputs[:3]
    made, expected = [*run.predict(series)], run.task.describe(run.data.batch_of(series))
    for row, wanted in zip(made, expected, strict=True):
        assert row["value"] == pytest.approx(wanted["value"])
    done = script("predict.py", f"run={tmp_path / 'cut'}", "input=-", stdin="[[0,1],[1,2]]\n")
    assert list(json.loads(done.stdout)["value"]) == ["0.1", "0.5", "0.9"]


# ---------------------------------------------------------------- the rows of a test


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
