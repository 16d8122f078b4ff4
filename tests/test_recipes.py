"""Recipes take any head, and stop by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from seqmodels.heads import HEADS
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.tasks import SequenceClassifier
from seqmodels.tasks.fitting import check_model
from tests.conftest import Script
from tests.shipped import CLASSIFIER_HEADS

RECIPES = ("text_classification", "char_classification", "series_classification")
QUICK = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "folder=run")
SMALL = ("model.encoder.hidden_size=8",)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("head", CLASSIFIER_HEADS)
def test_any_head_goes_with_any_recipe_in_two_directions_if_it_can(
    head: str, recipe: str, config: Callable[..., DictConfig]
) -> None:
    name = ["data.name=x"] if recipe.startswith("series") else []
    settings = config(f"experiment={recipe}", f"model.head={head}", *name)
    check_model(SequenceClassifier.contract, settings.model)
    data = {"inputs": "tokens", "num_inputs": 9, "classes": ["a", "b"]}
    task = SequenceClassifier(data, {"hidden_size": 3, "bidirectional": "if_possible"}, head)
    assert task.encoder.bidirectional is (HEADS[head].requires_bidirectional is not False)


def test_small_data_is_trained_until_the_validation_stops_gaining(
    script: Script, reviews: Path, tmp_path: Path
) -> None:
    own = ("experiment=text_classification", f"data.train={reviews}", *QUICK, *SMALL)
    ends = ("callbacks.early_stopping.patience=2", "model.optimizer.lr=0.01")
    done = script("train.py", *own, *ends)
    assert done.returncode == 0, done.stderr
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    scores = [row["validation/accuracy"] for row in rows if "validation/accuracy" in row]
    steps = [row["step"] for row in rows if "validation/accuracy" in row]
    assert steps[-1] < 19_999 and steps[:2] == [99, 199]
    best = scores.index(max(scores))
    assert len(scores) == best + 3  # two validations after the best one
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["metrics"]["validation/accuracy"] == pytest.approx(max(scores))


@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        ("text_classification", ("data.train={reviews}",)),
        ("char_classification", ("data.train={reviews}",)),
        ("series_classification", ("data.name=JapaneseVowels",)),
    ],
)
def test_a_recipe_trains(
    recipe: str, given: tuple[str, ...], script: Script, reviews: Path
) -> None:
    words = (word.format(reviews=reviews) for word in given)
    done = script("train.py", f"experiment={recipe}", *words, *QUICK, *SMALL, "trainer.max_steps=9")
    assert done.returncode == 0, done.stderr
