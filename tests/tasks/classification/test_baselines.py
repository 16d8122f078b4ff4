"""Baselines: what they compute, and what they are trained on."""

from __future__ import annotations

import io
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from rich.console import Console

from seqmodels.data import UEA, Text
from seqmodels.data.baseline_features import n_grams
from seqmodels.runs.report import metrics_table, verdict
from seqmodels.tasks.classification.linear import TF_IDF_C, classifiers


def some_texts(path: Path, rows: int = 60) -> Path:
    words = ("good", "fine", "bad", "dull")
    lines = [
        f"the film {n} is {words[n % 4]} !,{'no' if n % 4 > 1 else 'yes'}" for n in range(rows)
    ]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


def test_two_classes_are_held_back_like_any_others() -> None:
    """The weights of a softmax over two classes, whose squares add up."""
    counts, labels = scipy.sparse.csr_array(np.eye(4)), np.array([0, 0, 1, 1])
    model = classifiers(2)["tf-idf"][1].fit(counts, labels)
    probabilities = model.predict_proba(counts)
    [weights] = model[-1].coef_ / 2  # of class 1; those of class 0 are their opposite
    errors = TF_IDF_C[1] * (np.eye(2)[labels] - probabilities)[:, 1]
    np.testing.assert_allclose(weights, errors, atol=1e-3)  # the gradient is 0


def test_ratios_are_those_of_naive_bayes() -> None:
    counts = scipy.sparse.csr_array([[2, 0], [1, 0], [0, 1]])  # two texts of class 0, one of 1
    model = classifiers(2)["naive-Bayes features"][-1].fit(counts, [0, 0, 1]).estimators_[0]
    p, q = np.array([1, 2]) / 3, np.array([3, 1]) / 4  # a text counts once
    made = model[:-1].transform(counts).toarray()
    np.testing.assert_allclose(made, (counts.toarray() > 0) * np.log(p / q))


def test_n_grams_see_what_the_model_sees() -> None:
    words = n_grams("words", lowercase=False)
    assert set(words.build_analyzer()("Fine !")) == {"Fine", "!", "Fine !"}
    assert set(n_grams("words", lowercase=True).build_analyzer()("Fine !")) >= {"fine"}
    assert "Fi" in n_grams("characters", lowercase=False).build_analyzer()("Fine")


def test_a_subsample_is_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqmodels.data.baseline_features.TEXTS", 20)
    data = Text(str(some_texts(tmp_path / "a.csv")), validation_fraction=0.2, test_fraction=0.2)
    data.setup()
    found = data.baselines()["test/accuracy"]
    assert "tf-idf + logistic regression on 20 of 38 examples" in found
    assert "naive-Bayes features + logistic regression on 20 of 38 examples" in found
    monkeypatch.setattr("seqmodels.data.baseline_features.TEXTS", 1)  # of one class
    assert list(data.compute_baselines()["test/accuracy"]) == ["majority class"]


class Fixed:
    def __init__(self, *predictions: np.ndarray) -> None:
        self.predictions = iter(predictions)

    def fit(self, features: object, labels: object) -> Fixed:
        return self

    def predict(self, features: object) -> np.ndarray:
        return next(self.predictions)


def test_choices_are_made_on_the_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Text(str(some_texts(tmp_path / "a.csv")))
    data.setup()
    right = {split: data.datasets[split].targets.numpy() for split in ("validation", "test")}
    good = Fixed(right["validation"], 1 - right["test"])
    bad = Fixed(1 - right["validation"], right["test"])
    models = {"tf-idf": [bad, good]}
    monkeypatch.setattr("seqmodels.tasks.classification.linear.classifiers", lambda _: models)
    name = "tf-idf + logistic regression"
    found = data.compute_baselines()
    assert found["validation/accuracy"][name] == 1.0 and found["test/accuracy"][name] == 0.0


def test_baselines_leave_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads, environment and random numbers, which libraries may change. Not Python's own random
    numbers, which beartype draws."""
    monkeypatch.setenv("KMP_INIT_AT_FORK", "TRUE")
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)

    def compute(_: object) -> dict:
        torch.set_num_threads(torch.get_num_threads() + 1)
        os.environ |= {"KMP_INIT_AT_FORK": "FALSE", "KMP_DUPLICATE_LIB_OK": "True"}
        np.random.seed(7), torch.manual_seed(7)
        return {}

    def state() -> list[object]:
        drawn = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return [torch.get_num_threads(), dict(os.environ), *drawn]

    monkeypatch.setattr(Text, "compute_baselines", compute)
    data = Text(str(some_texts(tmp_path / "a.csv", rows=61)))
    data.setup()
    before = state()
    assert data.baselines() == {} and state() == before


def test_the_nearest_series_is_the_nearest_over_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    labels = {split: data.datasets[split].targets.numpy() for split in ("train", "test")}
    series = {s: [np.array(x, float) for x in data.examples[s].inputs] for s in labels}
    longest = max(map(len, series["train"]))
    padded = {
        split: np.stack(
            [np.pad(x[:longest], ((0, longest - len(x[:longest])), (0, 0))) for x in all_]
        )
        for split, all_ in series.items()
    }
    nearest = [((padded["train"] - x) ** 2).sum(axis=(1, 2)).argmin() for x in padded["test"]]
    right = (labels["train"][nearest] == labels["test"]).mean()
    monkeypatch.setattr("seqmodels.tasks.classification.baselines.find_spec", lambda _: None)
    found = data.compute_baselines()["test/accuracy"]
    assert found["nearest neighbour on the series"] == pytest.approx(right) and right > 0.9


def test_without_numba_the_table_says_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqmodels.tasks.classification.baselines.find_spec", lambda _: None)
    data = UEA("JapaneseVowels")
    data.setup()
    found = data.compute_baselines()
    metrics = {"validation/accuracy": 0.5, "test/accuracy": 0.5}
    table = metrics_table(metrics, "title", found)
    shown = io.StringIO()
    Console(file=shown, width=100).print(table)
    assert "MiniRocket (left out: pip install numba)" in shown.getvalue()
    [lost] = verdict(
        {"baselines": found, "metrics": metrics, "config": {}, "examples": data.split_sizes}
    )
    assert "lost to nearest neighbour on channel means" in lost
    # numba would not help
    monkeypatch.setattr("seqmodels.tasks.classification.baselines.SHORTEST", 1000)
    assert not any("MiniRocket" in name for name in data.compute_baselines()["test/accuracy"])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("numba") is None, reason="MiniRocket needs numba")
@pytest.mark.filterwarnings("ignore")
def test_minirocket_of_series_of_unequal_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    threads = torch.get_num_threads()
    found = data.baselines()["test/accuracy"]  # from no cache, which has the name of no test
    assert torch.get_num_threads() == threads
    assert found["MiniRocket + ridge classifier"] > 0.95
    assert found["nearest neighbour by dynamic time warping"] > 0.94
    monkeypatch.setattr("seqmodels.tasks.classification.baselines.SHORTEST", 1000)
    assert "MiniRocket + ridge classifier" not in data.compute_baselines()["test/accuracy"]
