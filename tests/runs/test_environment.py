"""What a run records of where it took place."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from seqmodels.runs import environment as module
from seqmodels.runs.environment import environment
from tests.conftest import ROOT


def test_each_version_that_is_recorded_is_of_a_package_that_everyone_has() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {*module.PACKAGES} <= {Requirement(each).name for each in needed}


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def committed(folder: Path, name: str) -> str:
    """The commit of a new repository that holds a file of this name."""
    folder.mkdir(parents=True)
    git(folder, "init")
    (folder / name).write_text("")
    git(folder, "add", name)
    git(folder, "commit", "-m", "first")
    return git(folder, "rev-parse", "HEAD")


def test_the_commits_of_your_project_and_of_the_package_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, package = tmp_path / "mine", tmp_path / "package"
    commits = committed(mine, "heads.py"), committed(package, "environment.py")
    monkeypatch.setattr(module, "__file__", str(package / "environment.py"))
    monkeypatch.chdir(mine)
    (mine / "new").write_text("")
    assert environment("cpu")["git"] == {
        "project": {"commit": commits[0], "dirty": True},
        "seqmodels": {"commit": commits[1], "dirty": False},
    }
    monkeypatch.chdir(tmp_path)
    installed = mine / ".venv" / "environment.py"  # in your repository, and not of it
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr(module, "__file__", str(installed))
    assert environment("cpu")["git"] == {"project": None, "seqmodels": None}
