"""Each mistake's wrong code has it, and its right code has none: run by the audit, and read by the
linter; and so of each of `examples/katas` and its repair."""

from __future__ import annotations

import inspect
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from seqmodels.audit import Audit, audit, audit_stream
from seqmodels.lint import lint
from seqmodels.mistakes import MISTAKES, MISTAKES_BY_RULE, Example, Mistake
from tests.conftest import ROOT
from tests.in_process import run_in_process
from tests.pages import read, shell_lines, words_missing

PAIRS = [(mistake, example) for mistake in MISTAKES.values() for example in mistake.examples]
IDS = [f"{mistake.name} {example.wrong}" for mistake, example in PAIRS]
# How the models are audited that don't return one row of scores per sequence of features.
OPTIONS: dict[str, dict[str, Any]] = {
    "future_leak": {"kind": "per_step", "causal": True},
    "state_mixup": {"kind": "per_step"},
}


def audited(mistake: Mistake, code: str) -> Audit:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(code, mistake.name, "exec"), names)
    features, tokens = torch.randn(4, 20, 4), torch.randint(1, 8, (4, 20))
    if mistake.is_of_a_stream:
        return audit_stream(names["Stream"](), features)
    model, options = names["model"], OPTIONS.get(mistake.name, {})
    parameters = inspect.signature(model).parameters
    inputs = tokens if "tokens" in parameters else features
    if "lengths" in parameters:
        return audit(model, inputs, [20, 15, 9, 3], **options)
    return audit(lambda x, lengths: model(x), inputs, padding="none", **options)


@pytest.mark.parametrize(("mistake", "example"), PAIRS, ids=IDS)
def test_the_audit_finds_the_wrong_code_by_its_name(mistake: Mistake, example: Example) -> None:
    found = audited(mistake, example.wrong_file)
    # A network that starts in the wrong place may also lose steps.
    assert {*found.names} - {"unread_step"} == {mistake.name} - {"unread_step"}
    assert mistake.name in found.names
    assert all(mistake.cure in str(finding) for finding in found.findings[:1])
    assert audited(mistake, example.right_file).names == []


@pytest.mark.parametrize(("mistake", "example"), PAIRS, ids=IDS)
def test_the_linter_finds_the_wrong_code_by_its_rule(
    mistake: Mistake, example: Example, tmp_path: Path
) -> None:
    file = tmp_path / "model.py"
    file.write_text(example.wrong_file)
    findings = lint(file)
    rules = [example.rule] if example.rule else []
    assert [(found.code, found.name) for found in findings] == [
        (rule, mistake.name) for rule in rules
    ]
    for finding in findings:
        assert str(finding).startswith(f"{file}:{finding.line}: {finding.code} {mistake.name}: ")
    file.write_text(example.right_file)
    assert lint(file) == []


def test_every_rule_has_an_example_and_a_name() -> None:
    rules = {example.rule for _, example in PAIRS} - {""}
    assert rules == {*MISTAKES_BY_RULE} and len(rules) == 9
    assert all(mistake.examples for mistake in MISTAKES.values()) and len(MISTAKES) == 16


def test_it_needs_the_standard_library_alone() -> None:
    code = "from seqmodels.mistakes import MISTAKES; print(*MISTAKES)"
    command = [sys.executable, "-S", "-c", code]  # without installed packages
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [*MISTAKES], done.stderr


# ---------------------------------------------------------------- katas


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
        return run_in_process(tmp_path / "katas" / "check.py", ["1"], tmp_path)

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
