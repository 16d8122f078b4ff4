"""Data that nobody wants and everybody has: through whole trainings, with the baselines.

Each run ends with numbers, or with a sentence that says what is wrong with the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from tests.conftest import Config

STEPS = np.arange(200)
WAVE = np.sin(STEPS / 5)
NOISE = np.random.default_rng(0).normal(size=200)
DEAD = np.where(STEPS < 110, WAVE, np.nan)  # in validation and test
LATE = np.where(STEPS < 30, np.nan, WAVE)

FORECAST = ["model=forecaster", "data=windows", "data.target=y", "data.window=9", "data.horizon=3"]
FORECASTS: dict[str, tuple[Any, str]] = {
    "a constant of 0.1": ({"y": np.full(200, 0.1)}, ""),
    "another constant later": ({"y": np.where(STEPS < 100, 0.1, 0.12)}, ""),
    "a level of 1e8": ({"y": 1e8 + NOISE}, ""),
    "tiny values": ({"y": 1e-12 * NOISE}, ""),
    "a constant input": ({"y": WAVE, "x": np.full(200, 0.1)}, "data.inputs=[x]"),
    "a sensor that starts late": ({"y": LATE}, "data.missing=last"),
    "a sensor that dies": ({"y": DEAD}, "data.missing=last"),
    "nothing known": ({"y": np.full(200, np.nan)}, "data.missing=last"),
    "three steps": ({"y": WAVE[:3]}, ""),
    "an infinite value": ({"y": np.where(STEPS == 50, np.inf, WAVE)}, ""),
}

WORDS = ["fine", "good", "bad", "poor", "so", "it", "was", "film"]
TEXTS = [" ".join(WORDS[(n * k) % 8] for k in range(1, 2 + n % 5)) for n in range(60)]
TEXT = ["data=text", "data.min_count=1", "data.batch_size=7"]
LABELS = ["data.label_column=y"]
VALUES = ["model=regressor", "data.value_columns=[y]"]
TEXTUAL: dict[str, tuple[list[str], list[Any], list[str]]] = {
    "three examples a class": (TEXTS, [f"c{n // 3}" for n in range(60)], LABELS),
    "two examples a class": (TEXTS[:4], ["a", "a", "b", "b"], LABELS),
    "one example": (TEXTS[:1], ["a"], LABELS),
    "one class": (TEXTS, ["a"] * 60, LABELS),
    "texts of one word": (["fine", "bad"] * 30, ["a", "b"] * 30, LABELS),
    "equal texts": (["fine"] * 60, ["a", "b"] * 30, LABELS),
    "one word in 500": ([*TEXTS[:59], "fine " * 500], ["a", "b"] * 30, LABELS),
    "a class that weighs nothing": (
        TEXTS,
        ["a", "b"] * 30,
        [*LABELS, "model.output.class_weights=[0,1]"],
    ),
    "no class that weighs anything": (
        TEXTS,
        ["a", "b"] * 30,
        [*LABELS, "model.output.class_weights=[0,0]"],
    ),
    "a constant value": (TEXTS, [0.1] * 60, VALUES),
    "values at 1e8": (TEXTS, [*(1e8 + NOISE[:60])], VALUES),
    "few known values": (TEXTS, [1.5 * n if n % 5 == 0 else None for n in range(60)], VALUES),
    "no known value": (TEXTS, [None] * 60, VALUES),
}


def ends_well(config: Config, words: list[str], data: dict[str, Any]) -> None:
    quick = ["callbacks.dataflow=null", "trainer.max_epochs=1", "data.batch_size=7"]
    try:
        result = train(config(*words, *quick), data=data)
    except UserError as error:
        assert "\n" not in str(error) and "diverged" not in str(error), error
        return
    assert result["status"] == "completed"
    metrics = {k: v for k, v in result["metrics"].items() if k.endswith("/loss")}
    assert len(metrics) == 2 and all(math.isfinite(value) for value in metrics.values())
    assert max(metrics.values()) < 1e3, metrics  # of standardised values
    rows = pd.read_csv(Path(load_run(result["config"]["folder"]).folder) / "predictions.csv")
    assert len(rows) and np.isfinite(rows.select_dtypes("number").drop(columns="loss")).all().all()


def some(names: Iterable[str], *short: str) -> list[Any]:
    """These in CI, and the others with `pytest -m long`."""
    return [name if name in short else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.mark.parametrize(
    "name", some(FORECASTS, "a constant of 0.1", "a level of 1e8", "a sensor that dies")
)
def test_a_forecast(name: str, config: Config) -> None:
    columns, word = FORECASTS[name]
    ends_well(config, [*FORECAST, *word.split()], {"file": pd.DataFrame(columns)})


def test_predictions_keep_the_digits_of_a_high_level(config: Config) -> None:
    data = {"text": TEXTS, "y": [*(1.7e9 + NOISE[:60])]}
    words = [*TEXT, *VALUES, "trainer.max_epochs=1", "baseline=false"]
    folder = Path(train(config(*words), data={"train": data})["config"]["folder"])
    written = pd.read_csv(folder / "predictions.csv")["target.y"] - 1.7e9
    assert all(np.abs(NOISE[:60] - value).min() < 1e-4 for value in written)


@pytest.mark.parametrize(
    "name",
    some(
        TEXTUAL,
        *("three examples a class", "one example", "texts of one word"),
        *("no class that weighs anything", "values at 1e8", "no known value"),
    ),
)
def test_texts_and_their_labels_or_values(name: str, config: Config) -> None:
    texts, targets, words = TEXTUAL[name]
    ends_well(config, [*TEXT, *words], {"train": {"text": texts, "y": targets}})


@pytest.mark.parametrize(
    "texts", [["a b c\n" * 40] * 2, ["ab " * 400], ["a"], ["x " * 300, "y"], ["x " * 300, ""]]
)
def test_a_language_model(texts: list[str], config: Config, tmp_path: Path) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    words = [
        "model=language_model",
        "data=text_lm",
        "data.window=9",
        f"data.train={tmp_path}/*.txt",
    ]
    quick = ["callbacks.dataflow=null", "trainer.max_epochs=1", "data.batch_size=2"]
    try:
        result = train(config(*words, *quick))
    except UserError as error:
        assert "\n" not in str(error) and "diverged" not in str(error), error
    else:
        losses = (v for k, v in result["metrics"].items() if k.endswith("/loss"))
        assert all(map(math.isfinite, losses))
