"""A command that is refused has written nothing, and removes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Refused, Script

WRONG = ("data=text", "data.train=absent.csv", "trainer=cpu")


@pytest.mark.parametrize("key", ["folder", "hydra.run.dir"])
def test_an_empty_folder_of_your_own_and_its_parent_stay(
    refused: Refused, tmp_path: Path, key: str
) -> None:
    mine = tmp_path / "experiments" / "mine"
    mine.mkdir(parents=True)
    assert "absent.csv" in refused("train.py", *WRONG, f"{key}={mine}")
    assert mine.is_dir() and not [*mine.iterdir()]
    assert [*tmp_path.iterdir()] == [mine.parent]


def test_the_current_folder_stays(refused: Refused, tmp_path: Path) -> None:
    refused("train.py", *WRONG, "hydra.run.dir=.")
    assert tmp_path.is_dir() and not [*tmp_path.iterdir()]


def test_no_folder_is_made_for_it(refused: Refused, tmp_path: Path) -> None:
    for words in ((), ("folder=a/b",), ("seed=x",)):
        refused("train.py", *WRONG, *words)
        assert not [*tmp_path.iterdir()]


def test_hydra_may_choose_the_folder_of_a_run(script: Script, tmp_path: Path) -> None:
    quick = ("trainer=cpu", "debug=fast", "model.encoder.hidden_size=4", "baseline=false")
    script("train.py", *quick, "hydra.run.dir=.")
    assert (tmp_path / "result.json").is_file() and not (tmp_path / "runs").exists()
