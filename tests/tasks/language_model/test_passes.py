"""Dropout that is `auto` follows how often the budget lets a training read its text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from seqmodels.errors import UserError
from seqmodels.runs import train
from seqmodels.tasks.language_model import LanguageModel, passes
from seqmodels.tasks.language_model.passes import dropout_for
from tests.conftest import Config, result_of
from tests.runs.resumed import Stop, weights
from tests.tasks.language_model.test_language_model import model

WINDOWS = 9  # in an epoch
SMALL = (
    "experiment=word_lm",
    "data.batch_size=3",
    "data.evaluation_streams=2",
    "data.window=11",
    "data.vary_window=false",
    "model.encoder.hidden_size=16",
    "callbacks.sample=null",
    "callbacks.dataflow=null",
    "trainer.precision=32-true",
    "trainer.max_time=null",
    "trainer.max_epochs=-1",
    "trainer.val_check_interval=1.0",
    "baseline=false",
)
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
    result = train(config(*small, "trainer.max_epochs=3", f"folder={folder}"))
    assert in_use(folder) == (0.24, 0.24)
    assert result["decided"] == {"model.dropout": 0.24}
    assert result_of(folder)["decided"] == result["decided"]
    said = (
        "auto: the budget allows 3 passes over the text, so model.dropout=0.24; to choose yourself"
    )
    assert f"{said}, set it\n" in capsys.readouterr().out

    folder, steps = tmp_path / "steps", f"trainer.max_steps={10 * WINDOWS}"
    train(config(*small, steps, f"folder={folder}"))
    assert in_use(folder) == (0.4, 0.4)
    capsys.readouterr()
    folder = tmp_path / "set"
    result = train(config(*small, steps, "model.dropout=0.2", f"folder={folder}"))
    assert in_use(folder) == (0.2, 0.2) and result["decided"] == {}
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
    resumed = train(config(*common, f"folder={broken}", f"resume={broken}"))
    assert "auto: " not in capsys.readouterr().out
    assert resumed["metrics"] == expected["metrics"]
    assert resumed["decided"] == expected["decided"]
    for key, value in weights(whole, "last").items():
        assert value.equal(weights(broken, "last")[key]), key


def test_dropout_of_the_embedding_of_its_own_does_not_follow() -> None:
    task = model(dropout="auto", embedding={"size": 5, "dropout": 0.3})
    task._decide(0.45)
    assert task.embedding.dropout.p == 0.3 and task.head.dropout.p == 0.45
    with pytest.raises(UserError, match="model.dropout=often: choose one of auto, or a number"):
        model(dropout="often")
