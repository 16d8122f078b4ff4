"""What a command line meant by words that name nothing: one line, before anything slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqmodels.errors import nearest
from tests.conftest import Script

NAMES = (
    *("seed", "data.seed", "data.batch_size", "data.name", "data.num_workers", "trainer.devices"),
    *("model.head", "model.head_options", "model.dropout", "model.encoder.dropout"),
    *("model.encoder.hidden_size", "model.encoder.bidirectional", "model.optimizer._target_"),
    *("model.optimizer.lr", "trainer.max_epochs", "trainer.gradient_clip_val"),
)
OTHERS = ("trainer.min_epochs", "model.scheduler.epochs", "model.optimizer.betas")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("lr", ["model.optimizer.lr"]),
        ("model.lr", ["model.optimizer.lr"]),
        ("learning_rate", ["model.optimizer.lr"]),
        ("head", ["model.head"]),
        ("modle.head", ["model.head"]),
        ("sed", ["seed"]),
        ("data.sed", ["data.seed"]),
        ("epochs", ["trainer.max_epochs"]),
        ("hidden", ["model.encoder.hidden_size"]),
        ("hiden_size", ["model.encoder.hidden_size"]),
        ("batchsize", ["data.batch_size"]),
        ("bidir", ["model.encoder.bidirectional"]),
        ("workers", ["data.num_workers"]),
        ("clip", ["trainer.gradient_clip_val"]),
        ("device", ["trainer.devices"]),
        ("dropout", ["model.dropout", "model.encoder.dropout"]),
        ("model.encoder.dropot", ["model.encoder.dropout"]),
        ("min_epochs", ["trainer.min_epochs"]),
        ("trainer.min_epoch", ["trainer.min_epochs"]),
        ("betas", ["model.optimizer.betas"]),
        ("data.hidden", []),
        ("trainer.num_workers", ["data.num_workers"]),
        ("model.hidden", ["model.encoder.hidden_size"]),
        ("_target_", []),
        ("momentum", []),
        ("k", []),
    ],
)
def test_the_last_part_of_a_key_finds_it_at_any_depth(wrong: str, meant: list[str]) -> None:
    assert nearest(wrong, NAMES, OTHERS) == meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("lr=0.1", "lr is not a key of the configuration: did you mean model.optimizer.lr?"),
        ("+lr=0.1", "lr is not a key of the configuration: did you mean model.optimizer.lr?"),
        ("-m lr=0.1,1", "lr is not a key of the configuration: did you mean model.optimizer.lr?"),
        ("head=mean_pol", "head is not a key of the conf.*: did you mean model.head=mean_pool?"),
        ("expriment=char", "expriment is not .*: did you mean experiment=char_lm?"),
        ("launcher=jobli", "launcher is not .*: did you mean hydra/launcher=joblib?"),
        ("~trainer.epochs", "trainer.epochs is not a key .*: did you mean trainer.max_epochs?"),
        ("+trainer.epochs=3", "trainer.epochs is not a key .*: did you mean trainer.max_epochs?"),
        ("trainer.min_epochs=2", "trainer.min_epochs is an arg.*: add it as +trainer.min_epochs=2"),
        ("min_epochs=2", "min_epochs is not a key .*: did you mean +trainer.min_epochs?"),
        (
            "data=needle data.sise=2",
            "data.sise is not a key of the configuration: did you mean data.sizes?",
        ),
        (
            "model.head_options.k=2",
            "model.head_options.k is not in the conf.*: add it as +model.head_options.k=2",
        ),
        (
            "callbacks.checkpoint.every_n_epochs=2",
            "callbacks.checkpoint.every_n_epochs is an arg.*: add it as +callbacks.checkpoint.ev",
        ),
        ("hydra.run.dr=x", "hydra.run.dr is not a key of .*: did you mean hydra.run.dir?"),
        ("other=1", "other is not a key of the configuration: choose one of allowed_targets, "),
        ("+seed=1", "+seed=1: the configuration has this key: write seed=1"),
        ("model=last_hidden", "model=last_hidden: choose .*; did you mean model.head=last_hidden?"),
        ("data=japanese_vowel", "data=japanese_v.*; did you mean data=japanese_vowels?"),
        ("trainer=16-mixed", "trainer=16-mixed: .*; did you mean trainer.precision=16-mixed?"),
        ("callbacks=[default,emma]", "callbacks=emma: choose .*; did you mean callbacks=ema?"),
        ("+callbacks=emma", "+callbacks=emma: choose .*; did you mean +callbacks=ema?"),
        (
            "model.head=max_pool,mean_pool",
            "model.head=max_pool,mean_pool lists several values: add -m to run with each of them",
        ),
        ("-m data=needle,nedle seed=0,1", "data=nedle: choose .*; did you mean data=needle?"),
        ("seed=range(3)", "seed=range(3) lists several values: add -m"),
        ("model.optimizer=adam", "model.optimizer=adam: set it to a group of keys, or null"),
    ],
)
def test_a_word_that_names_nothing_is_asked_about(
    script: Script, tmp_path: Path, words: str, message: str
) -> None:
    done = script("train.py", *words.split())
    [line] = done.stderr.splitlines()
    pattern = message.split(".*")
    assert done.returncode == 2 and line.startswith(f"error: {pattern[0]}"), line
    assert all(part in line for part in pattern[1:]), line
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    "words",
    [
        "-m seed=5,6 --cfg job",  # refused: both at once
        "seed=x,6 -m trainer=cpu",
        "seed=x,6 trainer=cpu --multirun",
        "seed=x,6 --config-dir mine -m trainer=cpu",
        "--config-dir mine trainer=cpu -m seed=x,6",
    ],
)
def test_options_may_stand_anywhere(script: Script, tmp_path: Path, words: str) -> None:
    (tmp_path / "mine").mkdir()
    done = script("train.py", *words.split())
    refusal = "Only one of --run" if "--cfg" in words else "seed=x: set it to a whole number"
    assert done.returncode == 2 and refusal in done.stderr, done.stderr


def test_an_option_after_a_value_is_read(script: Script) -> None:
    done = script("train.py", "seed=4", "--cfg", "job", "trainer=cpu", "-p", "trainer")
    assert done.returncode == 0 and "\naccelerator: cpu\n" in done.stdout
