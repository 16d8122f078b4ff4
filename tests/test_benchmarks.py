"""Every benchmark runs, on a size that shows nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import read
from tests.shipped import lacks

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(
    file.name for file in FOLDER.glob("*.py") if file.name != "report.py" and not lacks(read(file))
)
FORKS = """import json, os, runpy, sys
import lightning.pytorch, torchmetrics  # four of the five seconds that a benchmark takes
for line in sys.stdin:
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    folder, *sys.argv = json.loads(line)
    os.chdir(folder)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
    break
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    """Runs each script in a process of its own, which has imported the libraries, and none of
    this package: what others have imported, a user has not."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=pipe, stdout=pipe, text=True, bufsize=1
    ) as process:
        yield process


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(name, marks=pytest.mark.long) if name == "sizes.py" else name
        for name in SCRIPTS
        if name != "soak.py"
    ],
)
def test_a_benchmark_runs_and_writes_its_table(
    script: str, tmp_path: Path, forks: subprocess.Popen[str]
) -> None:
    output = tmp_path / "results.md"
    words = [str(tmp_path), str(FOLDER / script), "--smoke", f"--output={output}"]
    assert forks.stdin and forks.stdout
    forks.stdin.write(f"{json.dumps(words)}\n")
    assert forks.stdout.readline() == "0\n", (tmp_path / "stderr").read_text()
    title, _, *lines = output.read_text().splitlines()
    assert title.startswith("# ") and any(line.startswith("| ---") for line in lines)
    assert lines[-1].startswith("| ") and not lines[-1].startswith("| ---")
