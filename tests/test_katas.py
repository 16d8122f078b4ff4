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

from seqmodels.mistakes import MISTAKES
from tests.conftest import ROOT
from tests.pages import read, shell_lines, words_missing

KATAS = ROOT / "examples" / "katas"
CHECK = runpy.run_path(str(KATAS / "check.py"))
FINDINGS = {number: CHECK["KATAS"][number].name for number in CHECK["NUMBERS"]}


@pytest.mark.parametrize(("number", "finding"), FINDINGS.items())
def test_a_kata_has_its_finding_and_its_solution_has_none(
    number: int, finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = KATAS / f"kata{number:02}.py"
    assert CHECK["check"](number) == [finding]
    assert MISTAKES[finding].check in capsys.readouterr().out
    solution = runpy.run_path(str(KATAS / "solutions" / file.name))
    assert CHECK["check"](number, solution["Model"]) == []
    assert capsys.readouterr().out == f"kata {number}: repaired\n"


def test_the_command_checks_the_file_that_you_edit(tmp_path: Path) -> None:
    shutil.copytree(KATAS, tmp_path / "katas")

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "katas/check.py", "1"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    page = read(ROOT / "docs" / "why_does_my_lstm_depend_on_the_batch.md")
    [shown] = [each for each in shell_lines(page) if "katas" in each.line]
    assert (done := run()).returncode == 1
    assert words_missing(shown.output, done.stdout) == set()
    shutil.copy(KATAS / "solutions" / "kata01.py", tmp_path / "katas")
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "kata 1: repaired\n", "")


def test_every_kata_is_one_of_a_mistake() -> None:
    assert [f"kata{number:02}.py" for number in FINDINGS] == sorted(
        file.name for file in KATAS.glob("kata*.py")
    )


@pytest.mark.slow
def test_the_notebook_holds_the_katas_and_checks_them() -> None:
    notebook = nbformat.read(KATAS / "katas.ipynb", as_version=4)
    sources = [cell.source for cell in notebook.cells]
    for number in FINDINGS:
        docstring, _, model = (KATAS / f"kata{number:02}.py").read_text().partition("class ")
        [task] = [source for source in sources if source.startswith(f"## Kata {number}\n")]
        assert task.partition("\n\n")[2] in docstring and f"class {model}".rstrip() in sources
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(KATAS)}}).execute()
    checks = [cell for cell in notebook.cells if cell.source.startswith("check(")]
    for (number, finding), cell in zip(FINDINGS.items(), checks, strict=True):
        printed = [output.text for output in cell.outputs if output.output_type == "stream"]
        # a busy kernel sends a line in parts
        assert "".join(printed).startswith(f"kata {number}: {finding}\n")
