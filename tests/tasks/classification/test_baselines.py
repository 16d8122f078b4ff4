"""Baselines: what they compute, and what they are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import accuracy_score, f1_score

from seqmodels.data import UEA, Text, baseline_features
from seqmodels.target import Baselines

LINEAR = "logistic regression on tf-idf"


def test_a_baseline_has_the_scores_of_another_library(tmp_path: Path) -> None:
    """Classes of unequal size, and some that training never saw, which nobody gets right."""
    rows = [f"the film {n} is {'fine' if n % 5 else 'dull'},{n % 5 > 0}" for n in range(60)]
    for name, more in (("train", []), ("test", ["a film,odd", "a fine film,odder"])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows, *more]) + "\n")
    train, test = (str(tmp_path / f"{name}.csv") for name in ("train", "test"))
    data = Text(train, validation=train, test=test)
    data.setup()
    found, wrong_rows = data.compute_baselines()
    names = {f"{split}/{of}" for split in ("validation", "test") for of in ("accuracy", "macro_f1")}
    assert found.keys() == names
    right = data.datasets["test"].targets.clamp(min=-1).tolist()
    frequent = [1] * len(right)  # False, True
    linear = [int(row.endswith("True")) for row in rows] + [1, 1]
    for name, made in (("majority class", frequent), (LINEAR, linear)):
        accuracy, macro_f1 = accuracy_score(right, made), f1_score(right, made, average="macro")
        assert found["test/accuracy"][name] == pytest.approx(accuracy)
        assert found["test/macro_f1"][name] == pytest.approx(macro_f1)
        assert wrong_rows[name] == [row for row, one in enumerate(right) if one != made[row]]


def test_the_strength_is_that_which_is_best_on_the_validation_split() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    labels = {split: part.targets.numpy() for split, part in data.datasets.items()}
    _, features, _ = baseline_features.baseline_features(data)
    made = [*baseline_features._predictions(features, labels["train"])]
    right = [
        {split: (of[split] == labels[split]).mean() for split in ("validation", "test")}
        for of in made
    ]
    best = max(right, key=lambda of: of["validation"])
    assert best["test"] > 0.95 and best["test"] != max(of["test"] for of in right)
    found = data.compute_baselines().scores
    for split, share in best.items():
        name = "logistic regression on channel statistics"
        assert found[f"{split}/accuracy"][name] == pytest.approx(share)


def z_normalised(row: np.ndarray) -> np.ndarray:
    return (row - row.mean()) / row.std()


def test_series_have_all_their_baselines_whichever_the_validation_split_likes() -> None:
    data = UEA("ArrowHead")
    data.setup()
    found = data.compute_baselines().scores
    nearest_names = ["nearest neighbour", "nearest neighbour, z-normalised"]
    names = ["majority class", "logistic regression on channel statistics", *nearest_names]
    assert [[*scores] for scores in found.values()] == [names] * 4
    rows = {split: np.stack([*map(np.ravel, e.inputs)]) for split, e in data.examples.items()}
    labels = {split: np.array(each.targets) for split, each in data.examples.items()}
    nearest = labels["train"][cdist(rows["test"], rows["train"]).argmin(1)]
    share = (nearest == labels["test"]).mean()
    assert share > 0.7
    for name in nearest_names:  # the archive's are z-normalised
        assert found["test/accuracy"][name] == pytest.approx(share)


def test_what_a_neighbour_is_nearest_by() -> None:
    random = np.random.default_rng(0)
    shape = {"train": 20, "validation": 10, "test": 10}
    sets, labels, by_hand = {}, {}, {}
    for split, count in shape.items():
        labels[split] = np.arange(count) % 2
        made = []
        for n in range(count):  # a sine or a ramp, of any length, level and height
            at = np.linspace(0, 1, random.integers(5, 30))
            wave = np.sin(6.28 * at) if n % 2 else at**2
            made.append(torch.tensor(random.normal(0, 50) + random.uniform(1, 9) * wave)[:, None])
        sets[split] = made
    found = baseline_features.nearest_neighbour(sets, labels)
    assert [*found] == ["nearest neighbour", "nearest neighbour, z-normalised"]
    steps = int(np.median([*map(len, sets["train"])]))
    for name, read in zip(found, (lambda row: row, z_normalised), strict=True):
        for split, each in sets.items():
            by_hand[split] = [
                read(np.interp(np.linspace(0, len(s) - 1, steps), np.arange(len(s)), s[:, 0]))
                for s in each
            ]
        nearest = labels["train"][cdist(by_hand["test"], by_hand["train"]).argmin(1)]
        assert (found[name]["test"] == nearest).all()
    share = {name: (made["test"] == labels["test"]).mean() for name, made in found.items()}
    assert share["nearest neighbour, z-normalised"] == 1 > share["nearest neighbour"]


def test_baselines_leave_random_numbers_and_threads_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(_: object) -> Baselines:
        torch.set_num_threads(torch.get_num_threads() + 1)
        np.random.seed(7), torch.manual_seed(7)
        return Baselines(scores={})

    def state() -> list[object]:
        drawn = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return [torch.get_num_threads(), *drawn]

    monkeypatch.setattr(Text, "compute_baselines", compute)
    lines = [f"the film {n},{'no' if n % 2 else 'yes'}" for n in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    data = Text(str(tmp_path / "a.csv"))
    data.setup()
    before = state()
    assert data.baselines().scores == {} and state() == before
