"""`pip install -U` of the engine: a thin project goes on, with its edited head and its runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.conftest import ROOT, result_of
from tests.launch.test_new_project import NAME

NEWER_HEAD = """from torch import Tensor

from seqmodels.heads.base import Head
from seqmodels.nn.encoder import RNNOutput


class Newer(Head, name="newer"):
    reads = ("h_n",)

    def select(self, states: RNNOutput) -> Tensor:
        return states.h_n[-1].transpose(0, 1).flatten(1)
"""
QUICK = ("experiment=baseline", "data.size=40", "trainer=cpu", "trainer.max_steps=3")
USE = """
from seqmodels import __version__, load_run

assert __version__ == "1.1.0"
run, newer = load_run("run"), load_run("newer")
assert run.result["config"]["seed"] == 0 and newer.result["config"]["seed"] == 7
scores = {name: value for name, value in run.result["metrics"].items() if name[:4] == "test"}
assert run.evaluate(accelerator="cpu") == scores
"""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of this package; the later one has another head, and another default."""
    tree, folder = tmp_path / "tree", tmp_path / "wheels"
    for name in ("src", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for version in ("1.0.0", "1.1.0"):
        monkeypatch.setenv("SETUPTOOLS_SCM_PRETEND_VERSION", version)
        [_] = WheelBuilder(str(tree)).build(directory=str(folder), versions=["standard"])
        (tree / "src" / "seqmodels" / "heads" / "newer.py").write_text(NEWER_HEAD)
        configured = tree / "configs" / "train.yaml"
        configured.write_text(configured.read_text().replace("\nseed: 0\n", "\nseed: 7\n"))
    return folder


@pytest.mark.long
def test_a_project_and_its_runs_go_on_with_a_newer_engine(wheels: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "own", symlinks=True)
    python = tmp_path / "own" / "bin" / "python"
    [site] = (tmp_path / "own").glob("lib/*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]  # all but this package
    (site / "others.pth").write_text("\n".join(others))
    outside = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}

    def run(*words: str | Path, cwd: Path = tmp_path) -> str:
        command = [python, *words]
        done = subprocess.run(command, cwd=cwd, env=outside, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(*words: str) -> None:
        offline = ("--no-index", "--no-deps", "--no-build-isolation", f"--find-links={wheels}")
        run("-m", "pip", "install", "-q", *offline, *words)

    project, script = tmp_path / NAME, f"{NAME}/scripts/train.py"
    install("seqmodels-template==1.0.0")
    run("-m", "seqmodels", "new", NAME)
    head = project / "src" / NAME / "heads.py"
    head.write_text(head.read_text().replace(".amax(dim=1)", ".amax(dim=1).tanh()"))
    install("-e", str(project))
    run(script, *QUICK, "folder=run")

    [line] = [x for x in (project / "README.md").read_text().splitlines() if "pip install -U" in x]
    install("-U", line.split('"')[1])
    assert "4 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    run(script, *QUICK, "folder=newer", "model.head=newer")
    assert ".tanh()" in head.read_text()
    run("-c", USE)
    run(script, "resume=run", "trainer.max_steps=6")
    result = result_of(tmp_path / "run")
    assert [each["packages"]["seqmodels"] for each in result["resumed"]] == ["1.1.0"]
    assert result["status"] == "completed" and result["config"]["trainer"]["max_steps"] == 6
