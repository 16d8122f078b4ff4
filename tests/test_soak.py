"""Many trainings in one process leave nothing behind; the two hours are `benchmarks/soak.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def soak(minutes: float, output: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), f"--minutes={minutes}"]
    done = subprocess.run([*command, f"--output={output}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_trainings_in_one_process_keep_no_memory_files_or_threads(tmp_path: Path) -> None:
    soak(0, tmp_path / "soak.md")  # 6 rounds
    lines = (tmp_path / "soak.md").read_text().count("\n| ")
    assert lines == 2 + 6  # those of the head, and of the rounds


@pytest.mark.long
def test_two_hours_of_trainings_keep_no_memory_files_or_threads(tmp_path: Path) -> None:
    soak(120, tmp_path / "soak.md")
