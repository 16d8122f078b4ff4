"""Every benchmark runs, on a size that shows nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import read
from tests.shipped import lacks

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(
    file.name for file in FOLDER.glob("*.py") if file.name != "report.py" and not lacks(read(file))
)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(name, marks=pytest.mark.long) if name == "sizes.py" else name
        for name in SCRIPTS
        if name != "soak.py"
    ],
)
def test_a_benchmark_runs_and_writes_its_table(script: str, tmp_path: Path) -> None:
    """In a process of its own: what others have imported, a user has not."""
    output = tmp_path / "results.md"
    command = [sys.executable, str(FOLDER / script), "--smoke", f"--output={output}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    title, _, *lines = output.read_text().splitlines()
    assert title.startswith("# ") and any(line.startswith("| ---") for line in lines)
    assert lines[-1].startswith("| ") and not lines[-1].startswith("| ---")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_is_listed(script: str) -> None:
    readme = (FOLDER / "README.md").read_text()
    assert f"| `{script}` |" in readme and f"python benchmarks/{script}" in readme
