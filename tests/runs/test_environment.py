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


def committed(file: Path) -> str:
    """The commit of a new repository that holds this file."""
    file.parent.mkdir(parents=True)
    file.write_text("")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(file.parent)]
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run([*git, *words], capture_output=True, check=True)
    return subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()


def test_the_commits_of_your_project_and_of_the_package_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, package = tmp_path / "mine" / "heads.py", tmp_path / "package" / "environment.py"
    commits = committed(mine), committed(package)
    (mine.parent / "new").write_text("")
    installed = mine.parent / ".venv" / "environment.py"  # in your repository, and not of it
    installed.parent.mkdir()
    installed.write_text("")
    known = {"project": (commits[0], True), "seqmodels": (commits[1], False)}
    for folder, code, expected in ((mine.parent, package, known), (tmp_path, installed, {})):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(module, "__file__", str(code))
        found = {k: v and (v["commit"], v["dirty"]) for k, v in environment("cpu")["git"].items()}
        assert found == {"project": None, "seqmodels": None} | expected
