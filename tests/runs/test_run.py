"""One run: what it leaves, validates, tests and says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from sklearn.linear_model import LogisticRegression

import seqmodels
from seqmodels.data import UEA, Text
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.runs.environment import environment
from seqmodels.runs.folder import read_metrics
from seqmodels.target import Baselines
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config, result_of, run_script
from tests.runs.resumed import callback, weights
from tests.shipped import CLASSIFIER_HEADS
from tests.summaries import summary_of

Metrics = dict[str, float]
WORDS = ("model.head=max_pool", "seed=3", "model.encoder.hidden_size=16", "trainer=cpu")
FILES = (
    *("config.yaml", "overrides.yaml", "environment.json", "metrics.csv", "predictions.csv"),
    *("scores.csv", "train.log", "lock", "dataflow.svg", "result.json"),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
    *("figures/learning_curves.png", "figures/confusion_matrix.png", "figures/steps.png"),
)
WRONG = ("data=text", "data.train=absent.csv", "trainer=cpu")


def of_split(metrics: Metrics, split: str) -> Metrics:
    return {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, and what it printed in `printed`."""
    place = tmp_path_factory.mktemp("finished")
    words = (*WORDS, "trainer.max_epochs=2", "baseline=true", f"folder={place / 'run'}")
    (place / "printed").write_text(run_script(place, "train.py", *words).stdout)
    return place / "run"


def test_a_run_leaves_everything_in_its_folder(finished: Path) -> None:
    found = {str(p.relative_to(finished)) for p in finished.rglob("*") if p.is_file()}
    assert found == {*FILES}
    result = result_of(finished)
    assert result["status"] == "completed" and "error" not in result
    assert (result["task"], result["data"]) == ("SequenceClassifier", "JapaneseVowels")
    assert (result["head"], result["reads"], result["seed"]) == ("max_pool", ["output"], 3)
    names = ("accuracy", "loss", "macro_f1")
    assert {*result["metrics"]} == {f"{s}/{n}" for s in ("validation", "test") for n in names}
    assert result["parameters"] == 4 * 16 * (12 + 16 + 2) + 9 * 17
    assert result["examples_per_second"] > 0
    assert {*result["seconds"]} == {"setup", "fit", "test", "total"}
    [beginning] = OmegaConf.load(finished / "overrides.yaml")
    assert (beginning.step, beginning.changes) == (0, {})
    assert [*beginning.overrides][:2] == ["model.head=max_pool", "seed=3"]
    saved = OmegaConf.load(finished / "config.yaml")
    assert saved.model.head == "max_pool" and saved.data.seed == 3  # resolved
    packages = json.loads((finished / "environment.json").read_text())["packages"]
    assert packages["torch"] == torch.__version__
    assert packages["seqmodels"] == seqmodels.__version__
    rows = read_metrics(finished / "metrics.csv")
    assert [row["epoch"] for row in rows if "validation/accuracy" in row] == [0, 1]
    sizes = ", ".join(f"{split} {size}" for split, size in result["examples"].items())
    assert (finished.parent / "printed").read_text().startswith(f"JapaneseVowels: {sizes}\n")
    for picture in finished.glob("figures/*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000
    for name in ("best", "last"):  # plain values, which Lightning alone can load
        path = finished / "checkpoints" / f"{name}.ckpt"
        json.dumps(torch.load(path, weights_only=True)["hyper_parameters"])
        assert isinstance(SequenceClassifier.load_from_checkpoint(path), SequenceClassifier)


def test_a_finished_run_evaluates_to_the_same_numbers(finished: Path) -> None:
    metrics, run = result_of(finished)["metrics"], load_run(finished)
    for split in ("test", "validation"):
        assert run.evaluate(split, accelerator="cpu") == of_split(metrics, split)
    other = load_run(finished, batch_size=5).evaluate(accelerator="cpu")
    assert other == pytest.approx(of_split(metrics, "test"))


def test_predictions_come_in_order_and_equal_one_by_one(finished: Path) -> None:
    run, data = load_run(finished, batch_size=7), UEA("JapaneseVowels")
    data.setup()
    test = data.examples["test"]
    predictions = [*run.predict(test.inputs)]
    right = [each["label"] == label for each, label in zip(predictions, test.targets, strict=True)]
    assert np.mean(right) == pytest.approx(result_of(finished)["metrics"]["test/accuracy"])
    for index in (0, 100, 369):
        [alone] = run.predict([test.inputs[index]])
        shares = predictions[index]["probabilities"]
        assert alone["probabilities"] == pytest.approx(shares, abs=1e-6)
        assert alone["label"] == max(shares, key=shares.get) and sum(shares.values()) > 0.999


@pytest.mark.parametrize(
    "words",
    [
        *(f"model.head={head}" for head in CLASSIFIER_HEADS),
        *(f"model.encoder.cell={cell} model.encoder.num_layers=2" for cell in ("gru", "rnn")),
    ],
)
def test_every_head_and_cell_trains_by_its_name_alone(config: Config, words: str) -> None:
    assert train(config(*words.split(), "trainer.max_epochs=1"))["status"] == "completed"


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    config: Config, tmp_path: Path
) -> None:
    seeds = ((0, 0), (0, 0), (1, 0), (0, 1))  # of the weights, of the order of the data
    first, again, *others = (
        train(config(f"seed={seed}", f"data.seed={data}", f"folder={tmp_path / str(n)}"))["metrics"]
        for n, (seed, data) in enumerate(seeds)
    )
    assert first == again and all(other != first for other in others)


# ---------------------------------------------------------------- what is validated and tested


@pytest.mark.parametrize(("steps", "epochs"), [(5, [0]), (20, [0, 1])])
def test_a_run_that_ends_within_an_epoch_is_validated_and_saved(
    config: Config, steps: int, epochs: list[int]
) -> None:
    settings = config(f"trainer.max_steps={steps}", "trainer.max_epochs=60", "baseline=false")
    metrics = train(settings)["metrics"]
    rows = read_metrics(Path(settings.folder) / "metrics.csv")
    assert [row["epoch"] for row in rows] == epochs
    best = min(row["validation/loss"] for row in rows)
    assert metrics["validation/loss"] == pytest.approx(best)
    last = torch.load(Path(settings.folder) / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == steps


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # of Lightning
@pytest.mark.parametrize(("part", "splits"), [("test", {"validation"}), ("val", {"test"})])
def test_a_part_that_is_limited_to_nothing_has_no_metrics(
    config: Config, part: str, splits: set[str]
) -> None:
    settings = config(f"trainer.limit_{part}_batches=0", "baseline=false")
    metrics = train(settings)["metrics"]
    assert {name.partition("/")[0] for name in metrics} == splits
    if part == "val":  # without a validation, the last weights are tested
        run = load_run(settings.folder, checkpoint="last")
        assert run.evaluate(accelerator="cpu") == metrics


class Spoil(Callback):
    """Does to the weights of the second epoch what too high a learning rate does."""

    def on_train_batch_start(self, trainer: pl.Trainer, task: Any, *_: object) -> None:
        if trainer.global_step == 20:
            torch.nn.init.constant_(task.network.head.output.project.weight, torch.nan)


def test_a_training_that_diverges_ends_with_a_sentence_and_the_weights_before(
    config: Config,
) -> None:
    settings = config(*callback(Spoil), "baseline=false")
    with pytest.raises(UserError, match="validation/loss is nan after 28 steps, so .* diverged"):
        train(settings)
    folder = Path(settings.folder)
    assert "has diverged" in result_of(folder)["error"]
    for name in ("best", "last"):
        assert all(value.isfinite().all() for value in weights(folder, name).values())


# ---------------------------------------------------------------- the machine


@pytest.mark.parametrize(
    ("told", "precision"), [("avx512_bf16", "bf16-mixed"), ("avx512_f", "32-true")]
)
def test_bfloat16_is_chosen_only_where_the_cpu_computes_in_it(
    told: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {told: True}, raising=False)
    assert OmegaConf.create({"a": "${fastest_precision:cpu}"}).a == precision


# ---------------------------------------------------------------- baselines


def test_baselines_of_series_are_the_majority_and_a_linear_model() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    found = data.baselines().scores["test/accuracy"]
    train, test = data.examples["train"], data.examples["test"]
    # classes of the training part are equally frequent, so the majority is the first met
    shares = [np.mean([label == c for label in test.targets]) for c in data.spec["classes"]]
    assert found["majority class"] in [pytest.approx(share) for share in shares]
    first, second = (np.array([*map(summary_of, p.inputs)]) for p in (train, test))
    mean, deviation = first.mean(0), first.std(0)
    model = LogisticRegression(max_iter=1000).fit((first - mean) / deviation, train.targets)
    score = model.score((second - mean) / deviation, test.targets)
    assert found["logistic regression on channel statistics"] == pytest.approx(score, abs=0.02)


def test_baselines_are_kept_by_fingerprint(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Text(str(reviews))
    data.setup()
    first = data.baselines().scores
    assert first["test/accuracy"]["logistic regression on tf-idf"] == 1.0
    monkeypatch.setattr(Text, "compute_baselines", lambda _: Baselines({}))
    assert data.baselines().scores == first
    for other in (Text(str(reviews), split_seed=1), Text(str(reviews), lowercase=True)):
        other.setup()
        assert other.baselines().scores == {}
    monkeypatch.setattr("seqmodels.data.module.BASELINES", 0)  # those of another version
    assert data.baselines().scores == {}


def test_the_commit_of_your_project_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads.py").touch()
    for words in (("init",), ("add", "."), ("commit", "-m", "first")):
        git(*words)
    (tmp_path / "new").touch()
    os.utime(tmp_path / "heads.py", (0, 0))  # which git would note
    index = (tmp_path / ".git" / "index").read_bytes()
    found = environment("cpu")["git"]["project"]
    assert (tmp_path / ".git" / "index").read_bytes() == index
    assert (found["commit"], found["dirty"]) == (git("rev-parse", "HEAD"), True)
