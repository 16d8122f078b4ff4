"""Recipes take any head, and stop by themselves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from seqmodels.heads import HEADS
from seqmodels.instantiate import instantiate
from seqmodels.runs.metrics_file import read_metrics
from tests.conftest import Config, Script, result_of
from tests.shipped import CLASSIFIER_HEADS

RECIPES = ("text_classification", "char_classification", "series_classification")
QUICK = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "folder=run")
SMALL = ("model.encoder.hidden_size=8",)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("head", CLASSIFIER_HEADS)
def test_any_head_goes_with_any_recipe_in_two_directions_if_it_can(
    head: str, recipe: str, config: Config
) -> None:
    series = recipe.startswith("series")
    settings = config(f"experiment={recipe}", f"model.head={head}", *["data.name=x"] * series)
    kind = "features" if series else "tokens"
    data = {"inputs": kind, "num_inputs": 9, "classes": ["a", "b"]}
    task = instantiate(settings.model, key="model", data=data)
    assert task.encoder.bidirectional is (HEADS[head].requires_bidirectional is not False)


@pytest.mark.long
def test_small_data_is_trained_until_the_validation_stops_gaining(
    script: Script, reviews: Path, tmp_path: Path
) -> None:
    own = ("experiment=text_classification", f"data.train={reviews}", *QUICK, *SMALL)
    ends = ("callbacks.early_stopping.patience=2", "model.optimizer.lr=0.01")
    script("train.py", *own, *ends)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    scores = [row["validation/accuracy"] for row in rows if "validation/accuracy" in row]
    steps = [row["step"] for row in rows if "validation/accuracy" in row]
    assert steps[-1] < 19_999 and steps[:2] == [99, 199]
    losses = [row["validation/loss"] for row in rows if "validation/loss" in row]
    assert len(losses) == losses.index(min(losses)) + 3  # two validations after the best one
    result = result_of(tmp_path / "run")
    assert result["metrics"]["validation/accuracy"] == pytest.approx(max(scores))

    again = script("train.py", "resume=run", status=2)
    longer = (
        "set trainer.max_steps to more than 20000 or callbacks.early_stopping.patience to more than"
    )
    assert longer in again.stderr
    more_steps = script("train.py", "resume=run", "trainer.max_steps=30000")
    assert "early stopping trains nothing more: Monitored metric val" in more_steps.stderr
    script("train.py", "resume=run", "callbacks.early_stopping.patience=3")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert max(row["step"] for row in rows if "validation/accuracy" in row) > steps[-1]


@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        ("text_classification", ("data.train={reviews}",)),
        ("char_classification", ("data.train={reviews}",)),
        ("series_classification", ("data.name=JapaneseVowels",)),
        ("series_regression", ("data.name=Tecator",)),
    ],
)
def test_a_recipe_trains_and_tests_what_its_last_validation_saw(
    recipe: str, given: tuple[str, ...], script: Script, reviews: Path, tmp_path: Path
) -> None:
    words = (word.format(reviews=reviews) for word in given)
    script("train.py", f"experiment={recipe}", *words, *QUICK, *SMALL, "trainer.max_steps=9")
    [row] = [
        row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "validation/loss" in row
    ]
    metrics = result_of(tmp_path / "run")["metrics"]
    assert row["step"] == 8 and metrics["validation/loss"] == pytest.approx(row["validation/loss"])
    assert math.isfinite(metrics["test/rmse" if recipe == "series_regression" else "test/accuracy"])
