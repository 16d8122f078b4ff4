"""Many trainings in one process leave nothing behind; the two hours are `benchmarks/soak.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import read
from tests.shipped import lacks

SOAK = ROOT / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.skipif(lacks(read(SOAK)), reason="it trains a task whose folder is deleted")
def test_trainings_in_one_process_keep_no_memory_files_or_threads(tmp_path: Path) -> None:
    output = tmp_path / "soak.md"
    command = [sys.executable, str(SOAK), "--minutes=0", f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # of the head, and of the rounds, which are 6 at least
    assert output.read_text().count("\n| ") >= 2 + 6
