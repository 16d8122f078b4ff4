"""Runs made by version 0.1, before tasks had contracts, load and give the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqmodels.errors import UserError
from seqmodels.instantiate import allowed_class
from seqmodels.runs import load_run
from tests.conftest import ROOT

TASKS = ROOT / "tests" / "tasks"
RUNS = sorted(TASKS.glob("*/older_run"))
every_run = pytest.mark.parametrize("folder", RUNS, ids=[run.parent.name for run in RUNS])


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text that the language model was trained on, where its run looks for it."""
    monkeypatch.chdir(tmp_path)
    lines = [f"def f{n % 7}(x):\n    return x + {n % 5}\n\n" for n in range(300)]
    (tmp_path / "code.txt").write_text("".join(lines))


@every_run
def test_it_evaluates_to_the_numbers_it_gave(folder: Path, code: None) -> None:
    run = load_run(folder)
    expected = {k: v for k, v in run.result["metrics"].items() if k.startswith("test/")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(expected, rel=1e-5)
    assert run.result["fingerprint"] == run.data.fingerprint


def test_it_predicts() -> None:
    run = load_run(TASKS / "classification" / "older_run")
    [predicted] = run.predict([np.full((9, 12), 0.1)])
    assert predicted["label"] in run.task.hparams["data"]["classes"]


@every_run
def test_its_optimizer_goes_with_the_parameters_of_today(folder: Path) -> None:
    path = folder / "checkpoints" / "best.ckpt"
    task = type(load_run(folder).task).load_from_checkpoint(path, weights_only=True)
    [saved] = torch.load(path, weights_only=True)["optimizer_states"]
    moments = [saved["state"][index]["exp_avg"] for index in range(len(saved["state"]))]
    parameters = list(task.parameters())
    assert [m.shape for m in moments] == [p.shape for p in parameters]


def test_a_class_that_has_moved_is_found_by_the_name_it_had() -> None:
    name = "seqmodels.tasks.optimization.LinearWarmup"
    assert allowed_class({"_target_": name}).__name__ == "LinearWarmup"


def test_nothing_else_is_found_by_a_name_that_it_never_had() -> None:
    with pytest.raises(UserError, match="cannot be found"):
        allowed_class({"_target_": "seqmodels.data.Paris"})
    with pytest.raises(UserError, match="cannot be found"):
        allowed_class({"_target_": "torch.optim.LinearWarmup"})
