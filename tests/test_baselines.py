"""Baselines: what they compute, and what they are trained on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from seqmodels.data import UEA, Text
from seqmodels.data.linear import logistic_regression, n_grams, with_ratios


def some_texts(path: Path, rows: int = 60) -> Path:
    words = ("good", "fine", "bad", "dull")
    lines = [
        f"the film {n} is {words[n % 4]} !,{'no' if n % 4 > 1 else 'yes'}" for n in range(rows)
    ]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


def test_logistic_regression_finds_the_optimum_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(90, 6)), np.arange(90) % 3
    labels[::7] = 0
    scale = random.uniform(0.5, 2, size=(1, 6))
    reference = LogisticRegression(C=0.7, tol=1e-8).fit(features * scale, labels)
    found = logistic_regression(
        scipy.sparse.csr_array(features), labels, np.repeat(scale.T, 3, axis=1), 0.7
    )
    np.testing.assert_allclose(found[:-1], reference.coef_.T, atol=0.02)


def test_ratios_are_those_of_naive_bayes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def remember(features, labels, scale, choices):
        seen.append(scale)
        yield {}

    monkeypatch.setattr("seqmodels.data.linear._predictions", remember)
    monkeypatch.setattr("seqmodels.data.linear.SMOOTHING", (1.0,))
    counts = scipy.sparse.csr_array([[2, 0], [1, 0], [0, 1]])  # two texts of class 0, one of 1
    list(with_ratios({"train": counts}, np.array([0, 0, 1]), 2))
    p, q = np.array([3, 1]) / 4, np.array([1, 2]) / 3  # a text counts once
    np.testing.assert_allclose(seen[0], np.log([p / q, q / p]).T)


def test_n_grams_see_what_the_model_sees() -> None:
    words = n_grams("words", lowercase=False)
    assert set(words.build_analyzer()("Fine !")) == {"Fine", "!", "Fine !"}
    assert set(n_grams("words", lowercase=True).build_analyzer()("Fine !")) >= {"fine"}
    assert "Fi" in n_grams("characters", lowercase=False).build_analyzer()("Fine")


def test_a_subsample_is_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqmodels.data.baselines.TEXTS", 20)
    data = Text(str(some_texts(tmp_path / "a.csv")), validation_fraction=0.2, test_fraction=0.2)
    data.setup()
    found = data.baselines()["test/accuracy"]
    assert "tf-idf + logistic regression on 20 of 38 examples" in found
    assert "naive-Bayes features + logistic regression on 20 of 38 examples" in found
    monkeypatch.setattr("seqmodels.data.baselines.TEXTS", 1)  # of one class
    assert len(data.compute_baselines()["test/accuracy"]) == 3


def test_choices_are_made_on_the_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Text(str(some_texts(tmp_path / "a.csv")))
    data.setup()
    right = {split: data.datasets[split].targets.numpy() for split in ("validation", "test")}
    good = {"validation": right["validation"], "test": 1 - right["test"]}
    bad = {"validation": 1 - right["validation"], "test": right["test"]}
    monkeypatch.setattr("seqmodels.data.baselines.with_tf_idf", lambda *_: iter([bad, good]))
    name = "tf-idf + logistic regression"
    found = data.compute_baselines()
    assert found["validation/accuracy"][name] == 1.0 and found["test/accuracy"][name] == 0.0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("numba") is None, reason="MiniRocket needs numba")
@pytest.mark.filterwarnings("ignore")
def test_minirocket_of_series_of_unequal_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    found = data.compute_baselines()["test/accuracy"]
    assert found["MiniRocket + ridge classifier"] > 0.95
    monkeypatch.setattr("seqmodels.data.baselines.SHORTEST", 1000)
    assert "MiniRocket + ridge classifier" not in data.compute_baselines()["test/accuracy"]
