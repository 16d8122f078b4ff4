"""`examples/katas`: the audit names what is wrong with each, and lets its repair pass."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from seqmodels.audit import ADVICE
from seqmodels.audit.findings import STREAM_ADVICE
from tests.conftest import ROOT
from tests.pages import read, shell_lines, words_missing

KATAS = ROOT / "examples" / "katas"
CHECK = runpy.run_path(str(KATAS / "check.py"))
FINDINGS = {
    1: "padding_leak",
    2: "truncated_direction",
    3: "batch_leak",
    4: "padding_leak",
    5: "state_mixup",
    6: "padding_leak",
    7: "padding_leak",
    8: "batch_leak",
    9: "future_leak",
    10: "stale_state",
    11: "lost_state",
    12: "kept_state",
    13: "shared_state",
}


@pytest.mark.parametrize(("number", "finding"), FINDINGS.items())
def test_a_kata_has_its_finding_and_its_solution_has_none(
    number: int, finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = KATAS / f"kata{number:02}.py"
    assert 15 <= len(file.read_text().splitlines()) <= 30
    assert CHECK["check"](number) == [finding]
    assert CHECK["SEE"].keys() == (ADVICE | STREAM_ADVICE).keys()
    assert CHECK["SEE"][finding] in capsys.readouterr().out
    solution = runpy.run_path(str(KATAS / "solutions" / file.name))
    assert CHECK["check"](number, solution["Model"]) == []
    assert capsys.readouterr().out == f"kata {number}: repaired\n"


def test_the_command_checks_the_file_that_you_edit(tmp_path: Path) -> None:
    shutil.copytree(KATAS, tmp_path / "katas")

    def run(word: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "katas/check.py", word]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    page = read(ROOT / "docs" / "why_does_my_lstm_depend_on_the_batch.md")
    [shown] = [each for each in shell_lines(page) if "katas" in each.line]
    assert (done := run("1")).returncode == 1
    assert words_missing(shown.output, done.stdout) == set()
    shutil.copy(KATAS / "solutions" / "kata01.py", tmp_path / "katas")
    done = run("1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "kata 1: repaired\n", "")
    assert (done := run("14")).returncode == 2 and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_notebook_holds_the_katas_and_checks_them() -> None:
    notebook = nbformat.read(KATAS / "katas.ipynb", as_version=4)
    tasks = [cell.source for cell in notebook.cells if cell.source.startswith("## Kata")]
    assert len(tasks) == len(FINDINGS) == len([*KATAS.glob("kata*.py")])
    for number, task in enumerate(tasks, 1):
        docstring, _, model = (KATAS / f"kata{number:02}.py").read_text().partition("class ")
        assert task.partition("\n\n")[2] in docstring
        [cell] = [cell for cell in notebook.cells if f"{cell.source}\n" == f"class {model}"]
        if number > 1:  # the first is left as it is
            cell.source = (KATAS / "solutions" / f"kata{number:02}.py").read_text()
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(KATAS)}}).execute()
    checks = [cell for cell in notebook.cells if cell.source.startswith("check(")]
    for (number, finding), cell in zip(FINDINGS.items(), checks, strict=True):
        printed = [output.text for output in cell.outputs if output.output_type == "stream"]
        says = f"kata {number}: {'repaired' if number > 1 else finding}\n"
        assert "".join(printed).startswith(says)  # a busy kernel sends a line in parts
