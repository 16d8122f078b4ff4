"""A loss is a mean over targets: of a batch, of an epoch, of a row, and of all processes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seqmodels.batch import SequenceBatch
from seqmodels.engine import Task
from seqmodels.engine.contract import Step, Sums
from seqmodels.errors import UserError
from tests.conftest import ROOT
from tests.engine.costing import (
    NAMES,
    ROWS,
    WEIGHTS,
    batches_of,
    partly_known,
    rows_of,
    run,
    step_of,
    task_of,
    without_targets,
)

every_case = pytest.mark.parametrize("name", NAMES)


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.engine.costing", str(tmp_path), "1"]
    with subprocess.Popen(command, cwd=ROOT) as other:
        run(str(tmp_path), 0)
        assert other.wait(timeout=120) == 0
    two = torch.load(tmp_path / "found.pt")
    for name in NAMES:
        task = task_of(name)
        for text, batch in batches_of(task).items():
            one = step_of(task, batch)
            assert all(bool(value.isfinite().all()) for value in one), (name, text)
            for ours, theirs in zip(two[name, text], one, strict=True):
                torch.testing.assert_close(
                    ours, theirs, rtol=1e-5, atol=1e-6, msg=f"{name}, {text}"
                )
            steps = name == "forecasts step by step"  # learns from the window, too
            learns = any(bool(value.any()) for value in one)
            assert learns == (text != "none" or steps), (name, text)


@torch.no_grad()
def evaluated(task: Task, batch: SequenceBatch, *parts: slice) -> dict[str, float]:
    sums = Sums()
    for rows in parts:
        task.split = "validation"
        score = task.score if task.contract.kind.decoder else lambda part: task.step(part).score
        sums.add(Step(score(rows_of(batch, rows))))
    totals = sums.of_all(torch.device("cpu"))
    return {k: float(v) for k, v in totals.items()}


@every_case
def test_batches_of_one_have_the_loss_of_all_together(name: str) -> None:
    task = task_of(name).eval()
    batch = partly_known(task)
    whole = evaluated(task, batch, slice(None))
    single = evaluated(task, batch, *(slice(row, row + 1) for row in range(ROWS)))
    uneven = evaluated(task, batch, slice(0, 5), slice(5, 6), slice(6, None))
    assert batch.targets is not None
    known = ~batch.targets.isnan() if batch.targets.is_floating_point() else batch.targets >= 0
    assert "weighted" in name or whole["weight"] == known.sum()
    assert single == pytest.approx(whole, rel=1e-6) and uneven == pytest.approx(whole, rel=1e-6)


@every_case
def test_the_loss_of_each_row_is_that_of_the_row_alone(name: str) -> None:
    task = task_of(name).eval()
    batch = partly_known(task)
    task.split = "validation"
    decoder = task.contract.kind.decoder
    with torch.no_grad():
        score = task.score(batch) if decoder else task.step(batch).score
    for row, loss in enumerate(score.of_rows(ROWS).tolist()):
        alone = evaluated(task, batch, slice(row, row + 1))
        if alone["weight"]:
            assert loss == pytest.approx(alone["loss"] / alone["weight"], rel=1e-5)
        else:
            assert math.isnan(loss) and alone["loss"] == 0


def test_a_class_of_weight_0_costs_nothing_and_the_others_their_share() -> None:
    task = task_of("weighted classes")
    batch, weights = partly_known(task), torch.tensor(WEIGHTS["class_weights"])
    assert batch.targets is not None
    assert {0, 1, 2} <= {*batch.targets.tolist()}
    known = batch.targets >= 0
    of_rows, targets = weights[batch.targets[known]], batch.targets[known]
    costs = torch.nn.functional.cross_entropy(task(batch)[known], targets, reduction="none")
    expected = (costs * of_rows).sum() / of_rows.sum()
    torch.testing.assert_close(task.training_step(batch), expected)
    only = SequenceBatch(batch.inputs, batch.lengths, torch.ones_like(batch.targets))
    assert not any(bool(value.any()) for value in step_of(task, only))


@every_case
def test_a_split_without_a_target_is_no_divergence(name: str) -> None:
    task = task_of(name).eval()
    task.sums["validation"] = Sums()
    batch = without_targets(partly_known(task), slice(None))
    totals = evaluated(task, batch, slice(None))
    assert totals["loss"] == totals["weight"] == 0
    task._trainer = trainer = SimpleNamespace(sanity_checking=False, global_step=3)  # type: ignore[assignment]
    trainer.val_dataloaders = None
    task.measured = lambda *_: {"loss": torch.tensor(math.nan)}  # type: ignore[method-assign]
    task.sums["validation"].totals = {k: torch.tensor(v) for k, v in totals.items()}
    with pytest.raises(UserError, match="no target of the validation split counts"):
        task.on_validation_epoch_end()
    task.sums["validation"].totals["weight"] += 1
    with pytest.raises(UserError, match="the training has diverged"):
        task.on_validation_epoch_end()
