"""Baselines: what they compute, and what they are trained on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

from seqmodels.data import UEA, Text
from seqmodels.data.baseline_features import n_grams
from seqmodels.tasks.classification import baselines

LINEAR = "logistic regression on tf-idf"


def some_texts(path: Path, rows: int = 60) -> Text:
    words = ("good", "fine", "bad", "dull")
    lines = [
        f"the film {n} is {words[n % 4]} !,{'no' if n % 4 > 1 else 'yes'}" for n in range(rows)
    ]
    (path / "a.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    data = Text(str(path / "a.csv"))
    data.setup()
    return data


def test_n_grams_see_what_the_model_sees() -> None:
    words = n_grams("words", lowercase=False)
    assert set(words.build_analyzer()("Fine !")) == {"Fine", "!", "Fine !"}
    assert set(n_grams("words", lowercase=True).build_analyzer()("Fine !")) >= {"fine"}
    assert "Fi" in n_grams("characters", lowercase=False).build_analyzer()("Fine")


def test_a_subsample_is_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, features = some_texts(tmp_path), "seqmodels.data.baseline_features"
    for limit, most, count in (
        ("EXAMPLES", 20, 20),
        ("PREDICTIONS", 50, 25),  # of two classes
        ("CHARACTERS", {"words": 600}, 29),  # of 20 or 21 characters
    ):
        with monkeypatch.context() as few:
            few.setattr(f"{features}.{limit}", most)
            found = data.compute_baselines()["test/accuracy"]
            assert list(found) == ["majority class", f"{LINEAR} ({count} of 38 examples)"]
    monkeypatch.setattr(f"{features}.EXAMPLES", 1)  # of one class
    assert list(data.compute_baselines()["test/accuracy"]) == ["majority class"]


def test_a_baseline_has_the_scores_of_another_library(tmp_path: Path) -> None:
    """Classes of unequal size, and some that training never saw, which nobody gets right."""
    rows = [f"the film {n} is {'fine' if n % 5 else 'dull'},{n % 5 > 0}" for n in range(60)]
    for name, more in (("train", []), ("test", ["a film,odd", "a fine film,odder"])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows, *more]) + "\n")
    train, test = (str(tmp_path / f"{name}.csv") for name in ("train", "test"))
    data = Text(train, validation=train, test=test)
    data.setup()
    found = data.compute_baselines()
    names = {f"{split}/{of}" for split in ("validation", "test") for of in ("accuracy", "macro_f1")}
    assert found.keys() == names
    right = data.datasets["test"].targets.clamp(min=-1).tolist()
    frequent = [1] * len(right)  # False, True
    linear = [int(row.endswith("True")) for row in rows] + [1, 1]
    for name, made in (("majority class", frequent), (LINEAR, linear)):
        accuracy, macro_f1 = accuracy_score(right, made), f1_score(right, made, average="macro")
        assert found["test/accuracy"][name] == pytest.approx(accuracy)
        assert found["test/macro_f1"][name] == pytest.approx(macro_f1)


def test_the_strength_is_that_which_is_best_on_the_validation_split() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    labels = {split: part.targets.numpy() for split, part in data.datasets.items()}
    _, features, _ = baselines.baseline_features(data)
    made = [*baselines._predictions(features, labels["train"])]
    right = [
        {split: (of[split] == labels[split]).mean() for split in ("validation", "test")}
        for of in made
    ]
    for strength, predictions in zip(baselines.STRENGTHS, made, strict=True):
        model = LogisticRegression(C=strength, max_iter=10_000, tol=1e-6)  # in one fit
        alone = model.fit(features["train"], labels["train"]).predict(features["test"])
        assert (alone == predictions["test"]).mean() > 0.99
    best = max(right, key=lambda of: of["validation"])
    assert best["test"] > 0.95 and best["test"] != max(of["test"] for of in right)
    found = data.compute_baselines()
    for split, share in best.items():
        name = "logistic regression on channel means and deviations"
        assert found[f"{split}/accuracy"][name] == pytest.approx(share)


@pytest.mark.filterwarnings(f"error::{ConvergenceWarning.__module__}.ConvergenceWarning")
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
    data = some_texts(tmp_path, rows=61)
    before = state()
    assert data.baselines() == {} and state() == before
