"""`rm -r` of a task's folder leaves a project that works, and whose tests pass; in a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

COPIED = ("src", "configs", "scripts", "tests")
QUICK = ("trainer=cpu", "trainer.max_epochs=1", "model.encoder.hidden_size=4", "baseline=false")
# of other rooms; the whole suite takes an hour
TESTS = ("tests/test_layout.py", "tests/heads", "tests/engine/test_contract.py")


@pytest.mark.slow
def test_a_task_is_deleted_with_its_folder(tmp_path: Path) -> None:
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ("src/seqmodels", "tests"):
        shutil.rmtree(tmp_path / room / "tasks" / "seq2seq")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "COLUMNS": "120"}
        return subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    trained = run("scripts/train.py", "-m", "model.head=max_pool", "seed=0,1", *QUICK)
    assert trained.returncode == 0, trained.stderr
    explained = run("scripts/explain.py", "folder=pictures")
    assert explained.returncode == 0, explained.stderr
    assert "Seq2Seq" not in (tmp_path / "pictures" / "dataflow.html").read_text()
    for words, message in (
        (("model=seq2seq", "data=dates"), "seqmodels.tasks.seq2seq.Seq2Seq cannot be found"),
        (("model.head=attention",), "unknown model.head=attention: choose one of attention_pool"),
    ):
        refused = run("scripts/train.py", *words, *QUICK, "folder=run")
        assert refused.returncode == 2 and message in refused.stderr
        assert len(refused.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()
    assert run("-m", "seqmodels.launch.schema").returncode == 0
    tested = run("-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *TESTS)
    assert tested.returncode == 0, tested.stdout
