"""Blend: the mean of the network's probabilities and a simple model's, beside the network alone."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.base import TransformerMixin, clone
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seqmodels.data import Text
from seqmodels.data.baseline_features import n_grams
from seqmodels.errors import UserError
from seqmodels.runs import Run, load_run
from seqmodels.tasks.classification import linear
from seqmodels.tasks.classification.blend import Blend
from seqmodels.tasks.classification.linear import RidgeProbabilities, classifiers
from tests.conftest import Script, result_of

TRAIN = ("train.py", "data=text", "model.head=max_pool", "trainer=cpu", "trainer.max_epochs=4")
QUICK = ("callbacks.dataflow=null", "data.batch_size=8", "data.min_count=12")


@pytest.fixture
def files(tmp_path: Path, reviews: Path) -> tuple[str, ...]:
    """Texts whose words tell their class more often than not, some by words too rare for the
    network; and a class that training never saw."""
    random = np.random.default_rng(0)
    words = (["fine", "good", "dull", "well"], ["bad", "dull", "poor", "well"])
    for name, size in (("train", 90), ("validation", 40), ("test", 40)):
        rows = ["text,label"]
        for number in range(size):
            label = number % 2
            rare = f"{'ab'[label]}{number % 8}" if number % 3 == 0 else ""
            rows.append(f"{' '.join(random.choice(words[label], 3))} {rare},{'ab'[label]}")
        odd = [] if name == "train" else ["odd and dull,c"]
        (tmp_path / f"{name}.csv").write_text("\n".join([*rows, *odd]) + "\n")
    return tuple(f"data.{name}={tmp_path / name}.csv" for name in ("train", "validation", "test"))


def test_the_share_is_the_likeliest_on_validation_and_the_network_stays_alone(
    files: tuple[str, ...], script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = script(*TRAIN, *QUICK, *files, "blend=auto", "folder=run")
    script(*TRAIN, *QUICK, *files, "folder=alone")
    result, alone = result_of(tmp_path / "run"), result_of(tmp_path / "alone")
    assert result["metrics"] == alone["metrics"] and "blend" not in alone
    assert result["baselines"] == alone["baselines"]
    share, rows = result["blend"]["share"], result["blend"]["metrics"]
    run = load_run(tmp_path / "run")
    models = [
        (kind, make_pipeline(n_grams("words", True, 2), model))
        for kind, strengths in classifiers(2).items()
        for model in strengths
    ]
    texts, labels = _read(run, tmp_path / "train.csv")
    for _, model in models:
        model.fit(texts, labels)
    texts, labels = _read(run, tmp_path / "validation.csv")
    network = _probabilities(run.predict(texts, accelerator="cpu"))
    known = labels >= 0
    losses = {}
    for at, (_, model) in enumerate(models):
        linear = np.pad(model.predict_proba(texts), ((0, 0), (0, network.shape[1] - 2)))
        for part in np.linspace(0, 1, 21):
            mean = (1 - part) * network + part * linear
            likely = [*mean[known, labels[known]], max(part * part * (1 - part), 1e-9)]
            losses[part, at] = -np.log(likely).sum()
    assert min(losses, key=losses.__getitem__) == (share, result["blend"]["strength"])
    kind, model = models[result["blend"]["strength"]]
    name = f"blend with {100 * share:.0f} % {kind}"
    assert name in done.stdout and f"{kind} of the blend" in done.stdout
    assert f"blend: {share:.2f} of it is {kind}" in (tmp_path / "run/train.log").read_text()
    for split in ("validation", "test"):
        texts, labels = _read(run, tmp_path / f"{split}.csv")
        network = _probabilities(run.predict(texts, accelerator="cpu"))
        blended = _probabilities(run.predict(texts, accelerator="cpu", blend=True))
        linear = model.predict_proba(texts)
        np.testing.assert_allclose(blended, (1 - share) * network + share * linear, atol=1e-4)
        right = (blended.argmax(1) == labels).mean()
        assert rows[f"{split}/accuracy"][name] == pytest.approx(right)
        right = (linear.argmax(1) == labels).mean()
        assert rows[f"{split}/accuracy"][f"{kind} of the blend"] == pytest.approx(right)

    # version 0.1 knew tf-idf alone
    result["blend"] |= {"share": 0.3, "strength": 1}
    old = replace(run, result=result)
    blended = _probabilities(old.predict(texts, accelerator="cpu", blend=True))
    linear = models[1][1].predict_proba(texts)
    np.testing.assert_allclose(blended, 0.7 * network + 0.3 * linear, atol=1e-4)

    texts = tmp_path / "new.txt"
    texts.write_text("a fine film\npoor and bad\n")
    lines = script("predict.py", "run=run", f"input={texts}", "blend=true", "accelerator=cpu")
    new = run.predict(["a fine film", "poor and bad"], accelerator="cpu", blend=True)
    assert [json.loads(line) for line in lines.stdout.splitlines()] == [*new]
    without = script("predict.py", "run=alone", f"input={texts}", "blend=true", status=2)
    assert "alone has no blend: train with blend=auto" in without.stderr
    (tmp_path / "train.csv").write_text("text,label\nfine,a\nbad,b\nbad,b\n")
    with caplog.at_level(logging.WARNING):
        next(load_run(tmp_path / "run").predict(["a"], accelerator="cpu", blend=True))
    assert "not the data the model was trained on" in caplog.text


def test_a_share_may_be_given(files: tuple[str, ...], script: Script, tmp_path: Path) -> None:
    script(*TRAIN, *QUICK, *files, "blend=0", "folder=run", "baseline=false")
    result = result_of(tmp_path / "run")
    rows = result["blend"]["metrics"]
    assert result["blend"]["share"] == 0
    for name in ("test/accuracy", "test/macro_f1", "validation/accuracy"):
        assert rows[name]["blend with 0 % tf-idf"] == pytest.approx(result["metrics"][name])


class Flat(TransformerMixin):
    def fit(self, series: np.ndarray, labels: object = None) -> Flat:
        return self

    def transform(self, series: np.ndarray) -> np.ndarray:
        return series.reshape(len(series), -1)


def test_series_are_blended_with_a_classifier_of_convolutions(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = make_pipeline(StandardScaler(), RidgeProbabilities([10.0]))
    monkeypatch.setattr(linear, "minirocket", lambda: (Flat(), clone(classify)))
    monkeypatch.setattr("seqmodels.tasks.classification.blend.find_spec", lambda _: True)
    quick = ("trainer.max_epochs=2", "callbacks.dataflow=null", "baseline=false", "trainer=cpu")
    done = script("train.py", *quick, "blend=auto", "folder=run")
    blended = result_of(tmp_path / "run")["blend"]
    share, name = blended["share"], f"blend with {100 * blended['share']:.0f} % MiniRocket"
    assert name in done.stdout and "MiniRocket of the blend" in done.stdout
    run = load_run(tmp_path / "run")
    run.data.setup()
    longest = max(map(len, run.data.examples["train"].inputs))
    flat = {}
    for split in ("train", "test"):
        flat[split] = np.zeros((len(run.data.examples[split]), 12, longest))
        for row, series in zip(flat[split], run.data.examples[split].inputs, strict=True):
            row[:, : len(series)] = np.array(series).T[:, :longest]
    labels = {split: run.data.datasets[split].targets.numpy() for split in flat}
    classify.fit(flat["train"].reshape(len(flat["train"]), -1), labels["train"])
    simple = classify.predict_proba(flat["test"].reshape(len(flat["test"]), -1))
    series = run.data.examples["test"].inputs
    network = _probabilities(run.predict(series, accelerator="cpu"))
    made = _probabilities(run.predict(series, accelerator="cpu", blend=True))
    np.testing.assert_allclose(made, (1 - share) * network + share * simple, atol=1e-4)
    right = (made.argmax(1) == labels["test"]).mean()
    assert blended["metrics"]["test/accuracy"][name] == pytest.approx(right) and 0 < share < 1


def test_a_ridge_classifier_is_as_sure_as_it_is_right_about_rows_left_out() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    rows = random.normal(size=(30, 40))
    rows[:, :3] += 2 * np.eye(3)[labels]
    model = RidgeProbabilities([1.0, 20.0]).fit(rows, labels)
    wide = np.hstack([rows, np.full((30, 1), 40**0.5)])  # an intercept
    scores = np.empty((30, 3))
    for at in range(30):
        others = np.arange(30) != at
        ridge = RidgeClassifier(model.alpha_, fit_intercept=False)
        scores[at] = ridge.fit(wide[others], labels[others]).decision_function(wide[[at]])
    found = {
        sharpness: likely[range(30), labels].sum() + likely.mean()
        for sharpness in linear.SHARPNESS
        for likely in [log_softmax(sharpness * scores, axis=1)]
    }
    assert model.sharpness == max(found, key=found.__getitem__)
    new = random.normal(size=(4, 40))
    expected = softmax(model.sharpness * model.decision_function(new), axis=1)
    np.testing.assert_allclose(model.predict_proba(new), expected)

    two = RidgeProbabilities([1.0]).fit(rows, labels > 0)
    assert ((two.predict_proba(new)[:, 1] > 0.5) == two.predict(new)).all()
    easy = RidgeProbabilities([1.0]).fit(10 * np.eye(3)[labels], labels)
    assert easy.predict(easy_rows := 10 * np.eye(3)).tolist() == [0, 1, 2]
    assert easy.predict_proba(easy_rows).max() < 0.999


def test_other_data_has_no_blend(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("model=regressor", "data.name=Tecator", "data=uea", "trainer=cpu", "folder=run")
    done = script("train.py", "blend=auto", *words, status=2)
    assert "blend=auto averages a classifier of texts or series with a simple" in done.stderr
    assert "Tecator is other data: leave it out" in done.stderr
    done = script("train.py", "blend=2", "trainer=cpu", "folder=run", status=2)
    assert "blend" in done.stderr
    # before anything is written
    monkeypatch.setattr("seqmodels.tasks.classification.blend.find_spec", lambda _: None)
    done = script("train.py", "blend=auto", "trainer=cpu", "folder=run", status=2)
    assert "blend: MiniRocket needs numba: pip install numba, or leave it out" in done.stderr
    monkeypatch.setattr("seqmodels.tasks.classification.blend.SHORTEST", 100)
    done = script("train.py", "blend=auto", "trainer=cpu", "folder=run", status=2)
    assert "MiniRocket needs 100 steps, the longest has 26: leave it out" in done.stderr
    assert not (tmp_path / "run").exists()
    (tmp_path / "a.csv").write_text("text,label\n" + "fine,a\nbad,b\n" * 9)
    monkeypatch.setattr("seqmodels.data.baseline_features.TEXTS", 1)
    data = Text(str(tmp_path / "a.csv"))
    data.setup()
    with pytest.raises(UserError, match="of one class: leave it out"):
        Blend(data)


def _read(run: Run, path: Path) -> tuple[list[str], np.ndarray]:
    texts, labels = zip(*run.data.read_file(str(path)), strict=True)
    return [*texts], np.array(["ab".find(label) for label in labels])


def _probabilities(rows: object) -> np.ndarray:
    return np.array([[*row["probabilities"].values()] for row in rows])  # type: ignore[attr-defined]
