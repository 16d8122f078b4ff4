"""Runs made by version 0.1, before tasks had contracts, load and give the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.instantiate import allowed_class
from seqmodels.runs import load_run, train
from seqmodels.runs.checkpoint import CheckpointFiles, read_checkpoint
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.language_model import LanguageModel
from tests.conftest import Config

OLDER = Path(__file__).parent / "older_runs"
TASKS = {"classifier": SequenceClassifier, "language_model": LanguageModel}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The text that the language model was trained on, where its run looks for it."""
    monkeypatch.chdir(tmp_path)
    lines = [f"def f{n % 7}(x):\n    return x + {n % 5}\n\n" for n in range(300)]
    (tmp_path / "code.txt").write_text("".join(lines))
    return tmp_path / "code.txt"


@pytest.mark.parametrize("name", TASKS)
def test_it_evaluates_to_the_numbers_it_gave(name: str, code: Path) -> None:
    run = load_run(OLDER / name)
    expected = {k: v for k, v in run.result["metrics"].items() if k.startswith("test/")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(expected, rel=1e-5)
    assert run.result["fingerprint"] == run.data.fingerprint


def test_it_predicts_and_generates(code: Path) -> None:
    run = load_run(OLDER / "classifier")
    [predicted] = run.predict([np.full((9, 12), 0.1)])
    assert predicted["label"] in run.task.hparams["data"]["classes"]
    assert len("".join(load_run(OLDER / "language_model").generate("def ", 12))) == 12


@pytest.mark.parametrize("name", TASKS)
def test_its_optimizer_goes_with_the_parameters_of_today(name: str) -> None:
    path = OLDER / name / "checkpoints" / "best.ckpt"
    task: Task = TASKS[name].load_from_checkpoint(path, weights_only=True)
    [saved] = torch.load(path, weights_only=True)["optimizer_states"]
    moments = [saved["state"][index]["exp_avg"] for index in range(len(saved["state"]))]
    parameters = list(task.parameters())
    assert [m.shape for m in moments] == [p.shape for p in parameters]


def test_a_language_model_keeps_the_splits_of_before(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "book.md"
    text.write_text("all happy families are alike, and each unhappy one is not.\n" * 5000)
    folder = tmp_path / "run"
    quick = ("data.batch_size=4", "data.window=16", "data.evaluation_streams=2")
    first = train(
        config(
            *("model=language_model", "data=text_lm", f"data.train={text}", *quick),
            *("data.validation_stretches=1", "baseline=false", "callbacks.sample=null"),
            *("trainer.max_steps=4", "trainer.max_epochs=-1", "model.scheduler=null"),
        )
    )
    # as a run of before is: one stretch, a column of hub data sets only, and no word about either
    settings = OmegaConf.load(folder / "config.yaml")
    settings.data.text_column = "text"
    for key in ("validation_stretches", "columns", "quoting"):
        del settings.data[key]
    OmegaConf.save(settings, folder / "config.yaml")
    for path in (folder / "checkpoints").glob("*.ckpt"):
        saved = read_checkpoint(path)
        for key in ("validation_stretches", "text_column", "tokenizer_options"):
            del saved["hyper_parameters"]["data"][key]
        CheckpointFiles().save_checkpoint(saved, path)

    run = load_run(folder)
    metrics = run.evaluate("validation", accelerator="cpu")
    assert metrics["validation/loss"] == pytest.approx(first["metrics"]["validation/loss"])
    assert run.data.fingerprint == first["fingerprint"]
    for steps in (6, 8):  # the second time from a checkpoint of today
        resumed = train(
            config(f"resume={folder}"), given={"trainer.max_steps": steps, "baseline": False}
        )
        assert resumed["fingerprint"] == first["fingerprint"]
    assert "fingerprint differs" not in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "seqmodels.callbacks.sample.SampleText",
        "seqmodels.tasks.optimization.LinearWarmup",
    ],
)
def test_a_class_that_has_moved_is_found_by_the_name_it_had(name: str) -> None:
    assert allowed_class({"_target_": name}).__name__ == name.rpartition(".")[2]


def test_nothing_else_is_found_by_a_name_that_it_never_had() -> None:
    with pytest.raises(UserError, match="cannot be found"):
        allowed_class({"_target_": "seqmodels.data.Paris"})
    with pytest.raises(UserError, match="cannot be found"):
        allowed_class({"_target_": "torch.optim.LinearWarmup"})
