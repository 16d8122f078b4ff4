"""`rm -r` of a task's folder and its YAML leaves a project that works, and whose tests pass; in a
copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import read

QUICK = ("trainer=cpu", "trainer.max_epochs=1", "model.encoder.hidden_size=4", "baseline=false")
TASKS = {  # but classification, which most tests train: its name, and a head of its own
    "forecasting": ("forecaster", None),
    "language_model": ("language_model", "softmax"),
    "regression": ("regressor", None),
    "seq2seq": ("seq2seq", "attention"),
    "tagging": ("tagger", None),
}
# what docs/your_own.md says, of sequence to sequence
[(FIND, REMOVE)] = re.findall(
    r"^(grep -rl .*)\n(rm -r .*)$", read(ROOT / "docs" / "your_own.md"), re.MULTILINE
)
Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.long, pytest.mark.parametrize("task", TASKS)]


@pytest.fixture
def run(task: str, tmp_path: Path) -> Run:
    """Runs a command in a copy of what git knows, without the task."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # not one that is deleted, and not committed yet
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": "src", "COLUMNS": "120"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    files = run("bash", "-ec", FIND.replace("seq2seq", task)).stdout.split()
    folders = f"src/seqmodels/tasks/{task}", f"tests/tasks/{task}"
    if task == "seq2seq":  # the page names them all
        named = run("bash", "-ec", f"echo {REMOVE.removeprefix('rm -r ')}").stdout.split()
        assert sorted(named) == sorted([*folders, *files])
    assert run("rm", "-r", *folders, *files).returncode == 0
    return run


def test_a_task_is_deleted_with_its_folder(task: str, run: Run, tmp_path: Path) -> None:
    trained = run("python", "scripts/train.py", "model.head=max_pool", *QUICK, "folder=other")
    assert trained.returncode == 0, trained.stderr
    name, head = TASKS[task]
    for word in (f"model={name}", *([f"model.head={head}"] if head else [])):
        refused = run("python", "scripts/train.py", word, *QUICK, "folder=run")
        assert refused.returncode == 2 and f"{word}: choose one of" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()
    offered = run("python", "scripts/train.py", "--help").stdout
    assert "classifier" in offered and not re.search(rf"\b({task}|{name})\b", offered)


def test_all_other_tests_pass(task: str, run: Run) -> None:
    here = f"--ignore={Path(__file__).relative_to(ROOT)}"
    tested = run("python", "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", here)
    assert tested.returncode == 0, tested.stdout
