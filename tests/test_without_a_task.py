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

TASKS = {  # but classification, which most tests train: its name in configs/model
    "forecasting": "forecaster",
    "language_model": "language_model",
    "regression": "regressor",
    "seq2seq": "seq2seq",
    "tagging": "tagger",
}
# what docs/your_own.md says, of sequence to sequence
[FIND] = re.findall(r"^(grep -rl .*)$", read(ROOT / "docs" / "your_own.md"), re.MULTILINE)
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
    assert files and run("rm", "-r", *folders, *files).returncode == 0
    return run


def test_a_task_is_deleted_with_its_folder(task: str, run: Run) -> None:
    quick = ("trainer=cpu", "trainer.max_epochs=1", "model.encoder.hidden_size=4", "baseline=false")
    trained = run("python", "scripts/train.py", "model.head=max_pool", *quick)
    assert trained.returncode == 0, trained.stderr
    refused = run("python", "scripts/train.py", f"model={TASKS[task]}", *quick)
    assert refused.returncode == 2 and f"model={TASKS[task]}: choose one of" in refused.stderr
    here = f"--ignore={Path(__file__).relative_to(ROOT)}"
    tested = run("python", "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", here)
    assert tested.returncode == 0, tested.stdout
