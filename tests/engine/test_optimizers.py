"""Optimisers and schedulers by name; tests/runs/test_resumed_runs.py has what a resume continues,
tests/test_examples.py those of your own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import Parameter
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seqmodels.errors import UserError
from seqmodels.runs.folder import read_metrics
from seqmodels.runs.plan import check_keys, plan_of
from tests.conftest import Config, Refused, Script

QUICK = (
    *("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "model.encoder.hidden_size=4"),
    *("trainer.max_epochs=2", "trainer.limit_train_batches=5", "trainer.limit_val_batches=2"),
    *("trainer.limit_test_batches=1", "callbacks.pictures=null", "folder=run"),
)
TORCH = "model.optimizer._target_=torch.optim"


def test_an_argument_that_another_class_left_is_refused_with_the_key_that_leaves_it_out(
    config: Config,
) -> None:
    words = f"{TORCH}.RMSprop"
    with pytest.raises(UserError, match="^model.optimizer.fused is not an argument .* with ~"):
        plan_of(check_keys(config(words)))
    plan_of(check_keys(config(words, "~model.optimizer.fused")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("optimizer=sgd model.optimizer.momentum=-1", "Invalid momentum value: -1"),
        (f"{TORCH}.Lyon", "torch.optim.Lyon cannot be found"),
        ("scheduler=plateau model.scheduler.factor=2", "Factor should be < 1.0"),
    ],
)
def test_each_mistake_is_one_line_and_leaves_no_folder(
    words: str, message: str, refused: Refused, tmp_path: Path
) -> None:
    assert message in refused("train.py", *QUICK, *words.split())
    assert not (tmp_path / "run").exists()


def test_a_plateau_lowers_the_rate_by_the_loss_of_each_validation(
    script: Script, tmp_path: Path
) -> None:
    """As PyTorch's own would, from the values that the run has logged."""
    words = ("optimizer=sgd", "scheduler=plateau", "model.scheduler.patience=0")
    words += ("model.optimizer.lr=0.5", "trainer.max_epochs=6")
    script("train.py", *QUICK, *words)
    optimizer = torch.optim.SGD([Parameter(torch.zeros(2))], lr=0.5)
    expected = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for row in (rows := read_metrics(tmp_path / "run" / "metrics.csv")):
        expected.step(row["validation/loss"])
        assert row["learning_rate"] == optimizer.param_groups[0]["lr"]
    assert rows[-1]["learning_rate"] < 0.5
