"""A configuration is checked once, before data is read, whoever builds what it describes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from seqmodels import arguments, compose, instantiate
from seqmodels.errors import UserError
from seqmodels.heads import base
from seqmodels.plain_values import change, read_yaml
from seqmodels.runs import load_run, plan, prepare, train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config, Refused

SPEC = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
MODEL = {"encoder": {"hidden_size": 3}, "head": "max_pool"}
SMALL = ("trainer=cpu", "trainer.max_epochs=1", "model.encoder.hidden_size=4", "baseline=false")


def holds(values: Any, key: str, value: Any) -> bool:
    """Whether a mapping, or one in it, has this value under this key."""
    if not isinstance(values, Mapping):
        return False
    inside = any(holds(inner, key, value) for inner in values.values())
    return inside or (key in values and values[key] == value)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, Any]]]:
    """The titles and values of all checks by pydantic, in order."""
    recorded = []
    check = arguments.validated

    def recording(takes: Any, values: Mapping[str, Any], *others: Any) -> dict[str, Any]:
        recorded.append((takes.title, values))
        return check(takes, values, *others)

    for module in (arguments, instantiate, plan, base):
        monkeypatch.setattr(module, "validated", recording)
    return recorded


@pytest.mark.parametrize(
    ("key", "value", "titles"),
    [
        ("head", "last_hidden", ["Keys", "SequenceClassifier"]),
        ("dropout", 0.125, ["Keys", "SequenceClassifier"]),
        ("batch_size", 17, ["Keys", "UEA"]),
        ("max_epochs", 7, ["Keys", "Trainer"]),
        ("monitor", "validation/loss", ["Keys", "BestCheckpoint"]),
    ],
)
def test_a_value_is_checked_by_the_keys_and_by_its_class(
    key: str, value: Any, titles: list[str], checks: list[Any], config: Config
) -> None:
    words = ("model.head=last_hidden", "model.dropout=0.125", "data.batch_size=17")
    training = prepare(config("data=japanese_vowels", *words, "trainer.max_epochs=7"))
    assert training.task.hparams["head"] == "last_hidden"
    assert [title for title, values in checks if holds(values, key, value)] == titles


# ---------------------------------------------------------------- everywhere as early


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(compose(*SMALL, "data=japanese_vowels", "model.optimizer.lr=0.01", f"folder={folder}"))
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


# a word, the values of the key in a notebook, and how the error begins
WRONG = [
    ("model.head=last_hiden", {"head": "last_hiden"}, "model.head=last_hiden: choose one of "),
    (
        "model.locked_dropout=maybe",
        {"locked_dropout": "maybe"},
        "model.locked_dropout=maybe: input should be a valid boolean",
    ),
    (
        "+model.encoder.cells=gru",
        {"encoder": {"hidden_size": 3, "cells": "gru"}},
        "model.encoder.cells is not an argument of ",
    ),
]
LONGER = "trainer.max_epochs=9"


def by_train(word: str, _: Path) -> None:
    prepare(compose(*SMALL, "data=japanese_vowels", word, "folder=new"))


def by_resume(word: str, run: Path) -> None:
    write_into(run, word)
    prepare(compose(f"resume={run}", LONGER, "trainer=cpu"), [LONGER])


def by_load_run(word: str, run: Path) -> None:
    write_into(run, word)
    load_run(run)


def write_into(run: Path, word: str) -> None:
    """Has the configuration of a run folder what a word says."""
    key, _, value = word.removeprefix("+").partition("=")
    config = read_yaml(run / "config.yaml")
    change(config, {key: value})
    (run / "config.yaml").write_text(json.dumps(config))


@pytest.fixture
def nothing_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instantiate.Blueprint, "build", lambda *_, **__: pytest.fail("too late"))


@pytest.mark.usefixtures("nothing_built")
@pytest.mark.parametrize(("word", "message"), [(word, message) for word, _, message in WRONG])
@pytest.mark.parametrize("way", [by_train, by_resume, by_load_run])
def test_a_wrong_value_is_refused_before_anything_is_built(
    way: Callable[[str, Path], None],
    word: str,
    message: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^{message}"):
        way(word, run)
    assert not Path("new").exists()


@pytest.mark.usefixtures("nothing_built")
@pytest.mark.parametrize(("word", "message"), [(word, message) for word, _, message in WRONG])
@pytest.mark.parametrize(
    "command", ["train.py -m seed=0,1", "explain.py", "explain.py -m folder=one,other"]
)
def test_a_command_refuses_a_wrong_value_before_anything_is_built(
    command: str, word: str, message: str, refused: Refused, tmp_path: Path
) -> None:
    assert refused(*command.split(), word).startswith(f"error: {message}")
    assert not (tmp_path / "runs").exists() and not (tmp_path / "one").exists()


@pytest.mark.parametrize(("values", "message"), [(values, message) for _, values, message in WRONG])
def test_a_notebook_refuses_a_wrong_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        SequenceClassifier(SPEC, **{**MODEL, **values})


def test_callbacks_and_loggers_are_checked_before_data_is_read(config: Config) -> None:
    for word in ("callbacks.checkpoint.mode=best", "+logger.own._target_=os.system"):
        with pytest.raises(UserError, match=f"^{word.removeprefix('+')}(:| is not allowed)"):
            prepare(config("data=text", "data.train=nowhere.csv", word))
