"""Which name an error offers for a wrong one: a near one, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqmodels.errors import UserError, closest, near_keys
from seqmodels.files import existing_file

KEYS = (
    "seed",
    "model.head",
    "model.dropout",
    "model.encoder.hidden_size",
    "model.optimizer.lr",
    "trainer.max_epochs",
    "data.seed",
    "callbacks.checkpoint.mode",
)


@pytest.mark.parametrize(
    ("wrong", "name", "near"),
    [
        ("hiden", "hidden", True),
        ("lst_hidden", "last_hidden", True),
        ("lable", "label", True),
        ("epochs", "max_epochs", True),
        ("acuracy", "accuracy", True),
        ("mine", "baseline", False),
        ("mine", "minlstm", False),
        ("cosine", "none", False),
        ("beam", "mean", False),
        ("input", "output", False),
        ("s25", "s24", False),  # another series
    ],
)
def test_a_name_is_near_another_or_not(wrong: str, name: str, near: bool) -> None:
    assert closest(wrong, [name]) == (name if near else None)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("modle", ["model"]),  # not a key that is one letter off in another group
        ("mode", ["callbacks.checkpoint.mode"]),
        ("sed", ["seed", "data.seed"]),
        ("lr", ["model.optimizer.lr"]),
        ("encodr", ["model.encoder"]),
        ("model.encodr", ["model.encoder"]),
        ("trainer.epochs", ["trainer.max_epochs"]),
        ("model.hidden_sise", ["model.encoder.hidden_size"]),
        ("foo", []),
        ("trainer.foo", []),
    ],
)
def test_a_key_is_near_others_of_its_own_group_first(wrong: str, near: list[str]) -> None:
    assert near_keys(wrong, KEYS) == near


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("smei.csv", "; did you mean semi.csv?"),
        ("mine.tsv", "; did you mean mine.csv?"),
        ("missing.csv", ""),
        ("my.csv", ""),
    ],
)
def test_a_file_is_near_another_by_its_name_without_the_ending(
    tmp_path: Path, wrong: str, near: str
) -> None:
    for name in ("mine.csv", "semi.csv", "semi.json"):
        (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        existing_file(str(tmp_path / wrong))
    assert str(caught.value) == f"{tmp_path / wrong}: no such file{near}"
