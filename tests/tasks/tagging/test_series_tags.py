"""A label for each step of series: baselines, pictures, what stands beside a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from seqmodels import compose, load_run, train
from seqmodels.data import SeriesTable
from seqmodels.tasks.tagging.task import draw_tags

QUICK = ("trainer=cpu", "trainer.max_epochs=2", "model.encoder.hidden_size=8")
NIGHTS = {"series": "night", "time": "epoch", "label_column": "stage", "missing": "last"}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stages that last, and two channels that show them with noise; some of both are missing."""
    random, rows = np.random.default_rng(0), []
    for night in range(24):
        stage = 0
        for epoch in range(random.integers(20, 60)):
            stage = stage if random.random() < 0.9 else int(random.integers(3))
            eeg, pulse = random.normal(stage), random.normal(2 * (stage == 1))
            known = "" if random.random() < 0.05 else ["wake", "light", "deep"][stage]
            rows.append(
                (f"n{night}", 30 * epoch, eeg if random.random() > 0.1 else "", pulse, known)
            )
    path = tmp_path_factory.mktemp("nights") / "nights.csv"
    pd.DataFrame(rows, columns=["night", "epoch", "eeg", "pulse", "stage"]).to_csv(
        path, index=False
    )
    return str(path)


def test_the_baseline_is_logistic_regression_on_windows_of_steps(nights: str) -> None:
    data = SeriesTable(nights, **NIGHTS)
    data.setup()
    found = data.compute_baselines()

    def windows(split: str) -> tuple[np.ndarray, np.ndarray]:  # by hand
        rows, tags = [], []
        dataset = data.datasets[split]
        for series, own in zip(dataset.sequences, dataset.targets, strict=True):
            for step, tag in enumerate(own.tolist()):
                near = [min(max(step + n, 0), len(series) - 1) for n in range(-5, 6)]
                rows.append(np.concatenate([series[n].numpy() for n in near]))
                tags.append(tag)
        return np.array(rows), np.array(tags)

    (inputs, tags), (tested, true) = windows("train"), windows("test")
    scaler, scores = StandardScaler().fit(inputs), set()
    for strength in (0.1, 1.0, 10.0, 100.0):
        model = LogisticRegression(C=strength, max_iter=2000)
        model.fit(scaler.transform(inputs)[tags >= 0], tags[tags >= 0])
        made = model.predict(scaler.transform(tested))[true >= 0]
        right = true[true >= 0]
        scores.add((np.mean(made == right), f1_score(right, made, average="macro")))
    name = "logistic regression on windows of 11 steps"
    pair = (found["test/accuracy"][name], found["test/macro_f1"][name])
    assert any(pair == pytest.approx(each, abs=0.01) for each in scores)
    assert found["test/accuracy"]["most frequent tag"] < pair[0]


def test_a_training_shows_its_tags_with_series_and_time(nights: str, tmp_path: Path) -> None:
    words = [f"data.{key}={value}" for key, value in NIGHTS.items()]
    words += ["experiment=series_tagging", f"data.train={nights}", *QUICK, "trainer.max_steps=20"]
    result = train(compose(*words, f"folder={tmp_path / 'run'}"))
    assert {"test/accuracy", "test/macro_f1"} <= result["baselines"].keys()
    assert (tmp_path / "run" / "figures" / "tags.png").is_file()
    rows = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert rows.series.str.startswith("n").all()
    assert json.loads(rows.time[0])[:3] == [0, 30, 60]
    run = load_run(tmp_path / "run")
    for each in run.predict(run.data.read_inputs(nights)):
        shares = np.array([*each["probabilities"].values()])  # (C, T)
        assert shares.shape[1] == len(each["time"]) == len(each["tags"])
        assert shares.sum(axis=0) == pytest.approx(1.0)
        likeliest = np.array([*each["probabilities"]])[shares.argmax(axis=0)]
        assert likeliest.tolist() == each["tags"]


def test_a_picture_has_a_bar_for_the_true_tags_above_that_of_those_predicted() -> None:
    rows = [(np.array([0, 1, -100]), np.array([0, 0, 1])), (np.array([1]), np.array([1]))]
    figure = draw_tags(rows, ["one", "$two$"], ["a", "b"])
    first, second = figure.axes
    shown = first.images[0].get_array()
    assert shown.shape == (2, 3) and shown.mask.tolist() == [[False, False, True], [False] * 3]
    assert shown[1].tolist() == [0, 0, 1] and second.images[0].get_array().shape == (2, 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert first.images[0].origin == "upper" and first.get_yticklabels()[0].get_text() == "true"
