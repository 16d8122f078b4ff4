"""Dropout and size that are `auto` follow how often the budget lets a training read its text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.runs.training import prepare
from seqmodels.tasks.language_model import LanguageModel, passes
from seqmodels.tasks.language_model.passes import dropout_for
from tests.conftest import Config, Script, result_of
from tests.runs.resumed import Stop, weights
from tests.tasks.language_model.test_language_model import model

WINDOWS = 9  # in an epoch
SMALL = (
    "experiment=word_lm",
    "data.batch_size=3",
    "data.evaluation_streams=2",
    "data.window=11",
    "model.encoder.hidden_size=16",
    "callbacks.sample=null",
    "callbacks.dataflow=null",
    "trainer.precision=32-true",
    "trainer.max_time=null",
    "trainer.max_epochs=-1",
    "trainer.val_check_interval=1.0",
    "baseline=false",
)
LARGE, LESS = 16, 8  # than 512 and 256
AUTO = "model.encoder.hidden_size=auto"
QUARTER = "trainer.max_time=00:00:15:00"  # of an hour, 900 s
STOP = f"allowed_targets=[{Stop.__module__}.Stop]"


@pytest.fixture
def small(config: Config, tmp_path: Path) -> tuple[str, ...]:
    for split, lines in {"train": 75, "validation": 20, "test": 20}.items():
        (tmp_path / f"{split}.txt").write_text("a b c\n" * lines)
    return (*SMALL, *(f"data.{s}={tmp_path / s}.txt" for s in ("train", "validation", "test")))


def stop(step: int) -> tuple[str, str]:
    return f"+callbacks.stop={{_target_:{Stop.__module__}.Stop,step:{step}}}", STOP


def in_use(folder: Path) -> tuple[float, ...]:
    """Dropout of the head and of the embedding, of the checkpoint's plain values."""
    task = LanguageModel.load_from_checkpoint(folder / "checkpoints" / "last.ckpt")
    return task.head.dropout.p, task.embedding.dropout.p


@pytest.mark.parametrize(
    ("count", "dropout"), [(0.2, 0.0), (1.0, 0.1), (3.0, 0.24), (10.0, 0.4), (math.inf, 0.5)]
)
def test_more_passes_take_more_dropout(count: float, dropout: float) -> None:
    assert dropout_for(count) == dropout


def test_epochs_and_steps_say_how_often_and_what_is_set_stays(
    config: Config, small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "epochs"
    train(config(*small, "trainer.max_epochs=3", f"folder={folder}"))
    assert in_use(folder) == (0.24, 0.24)
    said = (
        "auto: the budget allows 3 passes over the text, so model.dropout=0.24; to choose yourself"
    )
    assert f"{said}, set it\n" in capsys.readouterr().out

    folder, steps = tmp_path / "steps", f"trainer.max_steps={10 * WINDOWS}"
    train(config(*small, steps, f"folder={folder}"))
    assert in_use(folder) == (0.4, 0.4)
    capsys.readouterr()
    folder = tmp_path / "set"
    train(config(*small, steps, "model.dropout=0.2", f"folder={folder}"))
    assert in_use(folder) == (0.2, 0.2)
    assert "auto: " not in capsys.readouterr().out


def test_time_says_how_often_once_a_fiftieth_of_it_has_shown_the_speed(
    config: Config,
    small: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # 2.1 s a step: 429 steps in 15 minutes, and the 9th ends a fiftieth of the time
    monkeypatch.setattr(passes, "seconds_used", lambda trainer: 2.1 * trainer.global_step)
    time = "trainer.max_time=00:00:15:00"
    for step, more, said in (
        (9, "", ""),
        (10, "", "the budget allows 48 passes over the text, so model.dropout=0.5; "),
        (9, "trainer.max_epochs=3", "the budget allows 3 passes over the text, so model.dropout="),
    ):
        words = (*small, *stop(step), time, *more.split(), f"folder={tmp_path / str(len(said))}")
        with pytest.raises(RuntimeError, match="the power went out"):
            train(config(*words))
        out = capsys.readouterr().out
        assert said in out and ("auto: " in out) is bool(said)


def test_a_resumed_training_keeps_what_was_chosen(
    config: Config, small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    common = (*small, "trainer.max_epochs=3")
    expected = train(config(*common, f"folder={whole}"))
    with pytest.raises(RuntimeError):
        train(config(*common, *stop(2 * WINDOWS + 3), f"folder={broken}"))
    capsys.readouterr()
    resumed = train(config(f"resume={broken}"), ())
    assert "auto: " not in capsys.readouterr().out
    assert resumed["metrics"] == expected["metrics"]
    assert in_use(broken) == in_use(whole)
    for key, value in weights(whole, "last").items():
        assert value.equal(weights(broken, "last")[key]), key


def test_dropout_of_the_embedding_of_its_own_does_not_follow() -> None:
    task = model(dropout="auto", embedding={"size": 5, "dropout": 0.3})
    task._decide(0.45)
    assert task.embedding.dropout.p == 0.3 and task.head.dropout.p == 0.45
    with pytest.raises(UserError, match="model.dropout=often: input should"):
        model(dropout="often")


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "LARGE", LARGE)
    monkeypatch.setattr(passes, "SMALL", LESS)


def reads(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    """The large network reads the text so often in 900 s."""
    seconds = 900 / WINDOWS / count
    monkeypatch.setattr(passes, "seconds_per_batch", lambda task, trainer, data: seconds)


def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: Any) -> float:
        raise AssertionError("no speed matters here")

    monkeypatch.setattr(passes, "seconds_per_batch", measure)


@pytest.mark.parametrize(
    ("count", "ends", "size", "said"),
    [
        (1.0, (), LESS, "900 s allow 1 passes over the text with 16"),
        (2.9, (), LESS, "900 s allow 2.9 passes over the text with 16"),
        (3.5, (), LARGE, "900 s allow 3.5 passes over the text with 16"),
        (1.0, ("trainer.max_epochs=3",), LESS, "900 s allow 1 passes over the text with 16"),
        (1.0, ("trainer.max_epochs=1",), LARGE, "with 16, and 1 end the training"),
        (1.0, (f"trainer.max_steps={WINDOWS}",), LARGE, "with 16, and 1 end the training"),
        (1.0, ("trainer.max_steps=9", "trainer.accumulate_grad_batches=4"), LESS, "with 16"),
    ],
)
def test_time_for_few_passes_takes_the_smaller_network(
    config: Config,
    small: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    count: float,
    ends: tuple[str, ...],
    size: int,
    said: str,
) -> None:
    reads(monkeypatch, count)
    training = prepare(config(*small, AUTO, QUARTER, *ends))
    assert training.config.model.encoder.hidden_size == size
    assert training.task.hparams["encoder"]["hidden_size"] == size
    assert training.task.encoder.rnn.hidden_size == training.task.encoder.rnn.input_size == size
    note = training.notes[-1]
    assert note.startswith(f"model.encoder.hidden_size=auto is {size}: ") and note.endswith(said)


@pytest.mark.parametrize("ends", [("trainer.max_epochs=1",), ("trainer=ddp_sim", QUARTER)])
def test_passes_and_several_processes_take_the_larger_one_unmeasured(
    config: Config,
    small: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    ends: tuple[str, ...],
) -> None:
    unmeasured(monkeypatch)
    training = prepare(config(*small, AUTO, *ends))
    assert training.config.model.encoder.hidden_size == LARGE
    note = training.notes[-1]
    assert note.endswith("auto is 16: only trainer.max_time of a single process makes it smaller")


def test_the_measurement_leaves_no_trace_in_the_training(
    config: Config,
    small: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = passes.seconds_per_batch
    monkeypatch.setattr(passes, "PROBE", 0.0)
    taken = []
    monkeypatch.setattr(
        passes, "seconds_per_batch", lambda *those: taken.append(measured(*those)) or taken[-1]
    )
    common = (*small, "trainer.max_epochs=2", "trainer.max_time=10:00:00:00")
    folders = {AUTO: tmp_path / "auto", f"model.encoder.hidden_size={LARGE}": tmp_path / "number"}
    results = {}
    for words, folder in folders.items():
        results[words] = train(config(*common, words, f"folder={folder}"))
        torch.rand(1)
    assert len(taken) == 1 and 0 < taken[0] < 10
    assert "with 16, and 2 end the training" in capsys.readouterr().out
    one, other = results.values()
    assert one["metrics"] == other["metrics"]
    one, other = (weights(folder, "last") for folder in folders.values())
    assert all(value.equal(other[key]) for key, value in one.items())


def test_what_is_settled_is_a_number_from_then_on(
    config: Config,
    small: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    reads(monkeypatch, 1.0)
    folder, common = tmp_path / "run", (*small, AUTO, QUARTER)
    with pytest.raises(RuntimeError, match="the power went out"):
        train(config(*common, *stop(WINDOWS + 2), f"folder={folder}"))
    saved = OmegaConf.load(folder / "config.yaml")
    assert saved.model.encoder.hidden_size == LESS
    assert result_of(folder)["config"]["model"]["encoder"]["hidden_size"] == LESS
    last = folder / "checkpoints" / "last.ckpt"
    assert LanguageModel.load_from_checkpoint(last).hparams["encoder"]["hidden_size"] == LESS

    reads(monkeypatch, 50.0)
    resume = config(f"resume={folder}")
    assert prepare(resume, ()).task.encoder.rnn.hidden_size == LESS
    result = train(resume, ["trainer.max_epochs=2"])
    assert result["config"]["model"]["encoder"]["hidden_size"] == LESS
    assert load_run(folder).task.encoder.rnn.hidden_size == LESS
    with pytest.raises(UserError, match="leave out model.encoder.hidden_size"):
        prepare(resume, [f"model.encoder.hidden_size={LARGE}"])


def test_a_sweep_names_sizes_that_differ_and_resumes_what_it_settled(
    small: tuple[str, ...],
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def slow_if_tied(task: LanguageModel, *_: Any) -> float:
        return 900 / WINDOWS / (1.0 if task.hparams["head"] == "tied_softmax" else 9.0)

    monkeypatch.setattr(passes, "seconds_per_batch", slow_if_tied)
    words = ("-m", *small, AUTO, QUARTER, "trainer.max_epochs=3", "trainer=cpu")
    words = (*words, "model.head=softmax,tied_softmax", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    shown = script("train.py", *words).stdout
    results = [json.loads(f.read_text()) for f in (tmp_path / "sweep").glob("*/result.json")]
    found = {(r["head"], r["config"]["model"]["encoder"]["hidden_size"]) for r in results}
    assert len(results) == 2 and found == {("softmax", LARGE), ("tied_softmax", LESS)}
    assert "caution: head and hidden_size vary together" in shown
    reads(monkeypatch, 99.0)
    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "sweep").glob("*/result.json")}
    script("train.py", *words)
    assert files == {f: f.stat().st_mtime_ns for f in (tmp_path / "sweep").glob("*/result.json")}


def test_a_network_of_ones_own_needs_a_number() -> None:
    with pytest.raises(UserError, match=r"model\.encoder\.hidden_size=auto: input should"):
        model(encoder={"hidden_size": "auto"})
