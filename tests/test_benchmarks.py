"""Every benchmark runs, on a size that shows nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.in_process import run_in_process
from tests.pages import read
from tests.shipped import lacks

FOLDER = ROOT / "benchmarks"
# Even with `--smoke`. What long rows cost is tested in tests/data/test_long_rows.py, too.
TAKE_LONG = ("accelerator.py", "fit.py", "language_model.py", "long_rows.py")


def whole(file: Path) -> str:
    """A script, with the parts that it has in a folder of its own."""
    return "".join(map(read, [file, *sorted((FOLDER / f"{file.stem}_parts").glob("*.py"))]))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(file.name, marks=pytest.mark.long) if file.name in TAKE_LONG else file.name
        for file in sorted(FOLDER.glob("*.py"))
        if file.name != "report.py" and not lacks(whole(file))
    ],
)
def test_a_benchmark_runs_and_writes_its_table(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)  # which Python does for a script
    output = tmp_path / "results.md"
    done = run_in_process(FOLDER / script, ["--smoke", f"--output={output}"], tmp_path)
    assert done.returncode == 0, done.stderr
    title, _, *lines = output.read_text().splitlines()
    assert title.startswith("# ") and any(line.startswith("| ---") for line in lines)
    assert lines[-1].startswith("| ") and not lines[-1].startswith("| ---")
