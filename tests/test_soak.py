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


@pytest.mark.skipif(lacks(read(SOAK)), reason="it trains a task whose folder is deleted")
@pytest.mark.parametrize(
    "minutes",
    [pytest.param(0, marks=pytest.mark.slow), pytest.param(120, marks=pytest.mark.long)],
)
def test_trainings_in_one_process_keep_no_memory_files_or_threads(
    minutes: int, tmp_path: Path
) -> None:
    output = tmp_path / "soak.md"
    command = [sys.executable, str(SOAK), f"--minutes={minutes}", f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # of the head, and of the rounds, which are 6 at least
    assert output.read_text().count("\n| ") >= 2 + 6
