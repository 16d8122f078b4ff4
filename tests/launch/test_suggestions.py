"""What a command line meant by words that name nothing: one line, before anything slow."""

from __future__ import annotations

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


def test_an_option_after_a_value_is_read(script: Script) -> None:
    done = script("train.py", "seed=4", "--cfg", "job", "trainer=cpu", "-p", "trainer")
    assert "\naccelerator: cpu\n" in done.stdout
