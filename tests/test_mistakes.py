"""Each mistake's wrong code has it, and its right code has none: run by the audit, and read by the
linter."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels.audit import Audit, audit, audit_stream
from seqmodels.lint import lint
from seqmodels.mistakes import MISTAKES, MISTAKES_BY_RULE, Example, Mistake
from tests.conftest import ROOT

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
    assert rules == {*MISTAKES_BY_RULE} and len(rules) == 11
    assert all(mistake.examples for mistake in MISTAKES.values()) and len(MISTAKES) == 15


def test_it_needs_the_standard_library_alone() -> None:
    code = "from seqmodels.mistakes import MISTAKES; print(*MISTAKES)"
    command = [sys.executable, "-S", "-c", code]  # without installed packages
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [*MISTAKES], done.stderr
