"""The installed command `seqmodels`, and the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqmodels import __version__
from tests.conftest import ROOT, Script
from tests.in_process import run_in_process

COMMANDS = sorted(path.stem for path in (ROOT / "src/seqmodels/launch/commands").glob("[a-z]*.py"))
MINE = """# @package _global_
defaults:
  - override /data: japanese_vowels
model:
  head: max_pool
"""


@pytest.fixture
def seqmodels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """`seqmodels("train", "model.head=max_pool")`: the installed command, in tmp_path."""
    for name in [name for name in sys.modules if name.startswith("seqmodels.launch.commands.")]:
        monkeypatch.delitem(sys.modules, name)  # as in a new process
    # runpy would keep what jaxtyping compiled as if Python had, for every process after this one
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    main = ROOT / "src" / "seqmodels" / "__main__.py"
    return lambda *words: run_in_process(main, words, tmp_path)


def test_help_lists_every_command(seqmodels: Script) -> None:
    done = seqmodels("--help")
    titles = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert titles == COMMANDS and "train     Train a model, or a sweep of many." in done.stdout
    assert seqmodels().stdout == done.stdout and done.returncode == 0


def test_every_command_is_a_script_too() -> None:
    for name in set(COMMANDS) - {"new"}:
        script = (ROOT / "scripts" / f"{name}.py").read_text()
        assert f"from seqmodels.launch.commands.{name} import main\n" in script


def test_the_version_is_that_of_the_distribution(seqmodels: Script) -> None:
    assert seqmodels("--version").stdout == f"seqmodels {__version__}\n"


def test_an_unknown_command_is_one_line(seqmodels: Script) -> None:
    done = seqmodels("tarin", "model.head=max_pool")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: unknown command tarin: choose one of audit, ")
    assert done.stderr.endswith("did you mean train?\n")


# ---------------------------------------------------------------- the wheel


def test_the_wheel_brings_configurations_and_types(wheel: Path) -> None:
    def listed(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.yaml")}

    ours = {f: c for f, c in listed(ROOT / "configs").items() if not f.startswith("local")}
    assert listed(wheel / "seqmodels" / "configs") == ours
    assert (wheel / "seqmodels" / "py.typed").is_file()
    [metadata] = wheel.glob("*.dist-info")
    assert "seqmodels = seqmodels.__main__:main" in (metadata / "entry_points.txt").read_text()


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(MINE)
    words = ["--config-dir", "mine", "experiment=mine", "debug=fast"]
    words += ["trainer=ddp_sim", "baseline=false"]
    done = subprocess.run(
        [sys.executable, "-m", "seqmodels", "train", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "max_pool reads output" in done.stdout
    [environment] = (tmp_path / "runs").glob("*/environment.json")
    assert '"2 x cpu"' in environment.read_text()
