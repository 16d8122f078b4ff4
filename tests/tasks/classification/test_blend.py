"""Blend: the mean of the network's probabilities and those of tf-idf, beside the network alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from seqmodels.runs import load_run
from tests.conftest import Config, Script, result_of

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
    name = f"blend with {100 * share:.0f} % tf-idf"
    assert name in done.stdout and "tf-idf of the blend" in done.stdout
    assert f"blend: {share:.2f} of it is tf-idf" in (tmp_path / "run/train.log").read_text()
    run = load_run(tmp_path / "run")
    scores = {}
    for split in ("validation", "test"):
        pairs = [*run.data.read_file(str(tmp_path / f"{split}.csv"))]
        texts, labels = [text for text, _ in pairs], [label for _, label in pairs]
        network = _probabilities(run.predict(texts, accelerator="cpu"))
        blended = _probabilities(run.predict(texts, accelerator="cpu", blend=True))
        targets = np.array(["ab".find(label) for label in labels])
        linear = (blended - (1 - share) * network) / share
        known = targets >= 0
        for at in np.linspace(0, 1, 21):
            mean = (1 - at) * network + at * linear
            scores[split, round(at, 2)] = -np.log(mean[known, targets[known]]).mean()
        right = (blended.argmax(1) == targets).mean()
        assert rows[f"{split}/accuracy"][name] == pytest.approx(right)
        right = (linear.argmax(1) == targets).mean()
        assert rows[f"{split}/accuracy"]["tf-idf of the blend"] == pytest.approx(right)
    validation = {at: loss for (split, at), loss in scores.items() if split == "validation"}
    assert 0 < share < 1 and min(validation, key=validation.__getitem__) == pytest.approx(share)

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


def test_other_data_has_no_blend(config: Config, script: Script) -> None:
    for words in ((), ("model=regressor", "data.name=Tecator", "data=uea")):
        done = script("train.py", "blend=auto", *words, "trainer=cpu", "folder=run", status=2)
        assert "blend=auto averages a classifier of texts with tf-idf" in done.stderr
    assert "other data: leave it out" in done.stderr
    done = script("train.py", "blend=2", "trainer=cpu", "folder=run", status=2)
    assert "blend" in done.stderr


def _probabilities(rows: object) -> np.ndarray:
    return np.array([[*row["probabilities"].values()] for row in rows])  # type: ignore[attr-defined]
