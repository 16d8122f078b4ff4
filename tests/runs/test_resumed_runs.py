"""A resumed run is the uninterrupted one, bit for bit, whatever its parts keep between two steps.

Each task has a test of its own beside its data.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seqmodels.runs.folder import read_metrics
from tests.conftest import Script
from tests.runs.resumed import (
    as_if_killed_in_its_test,
    killed_at_each_checkpoint,
    resumes,
    same_run,
    same_weights,
)

QUICK = (
    *("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "model.encoder.hidden_size=4"),
    *("trainer.max_epochs=2", "trainer.limit_train_batches=5", "trainer.limit_val_batches=2"),
    *("trainer.limit_test_batches=1", "callbacks.pictures=null"),
)
TORCH = "~model.optimizer.fused model.optimizer._target_=torch.optim"
LINEAR = "_target_:torch.optim.lr_scheduler.LinearLR,total_iters:total_steps"
LEARN = "trainer.max_epochs=4 model.optimizer.lr=0.03"


@pytest.mark.parametrize(
    "words",
    [
        "model.dropout=0.2 model.encoder.num_layers=2 model.encoder.dropout=0.2",
        "optimizer=adam scheduler=cosine",
        "optimizer=nadam scheduler=one_cycle",
        f"optimizer=sgd scheduler=plateau model.scheduler.patience=0 {LEARN}",
        "optimizer=rmsprop scheduler=none trainer.precision=bf16-mixed",
        f"{TORCH}.Adafactor scheduler=none +model.scheduler={{{LINEAR}}}",
        f"{TORCH}.ASGD",
        f"{TORCH}.Rprop ~model.optimizer.weight_decay",
        f"callbacks=[default,early_stopping,ema,lr_monitor] {LEARN} "
        "callbacks.early_stopping.patience=1 trainer.log_every_n_steps=3",
        "trainer.val_check_interval=2 trainer.log_every_n_steps=2",
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(words: str, script: Script, tmp_path: Path) -> None:
    resumes(script, tmp_path, *QUICK, *words.split(), step=7)


# ---------------------------------------------------------------- at the end of a training

# an epoch has five batches
ENDS = [
    "trainer.val_check_interval=auto",
    "trainer.val_check_interval=auto trainer.max_steps=7",
    "trainer.val_check_interval=0.5 +callbacks=ema",
    *(
        pytest.param(words, marks=pytest.mark.long)
        for words in (
            "trainer.val_check_interval=auto trainer.accumulate_grad_batches=2",
            "trainer.val_check_interval=auto model.adversarial=0.5",
            "trainer.val_check_interval=3 trainer.check_val_every_n_epoch=2 trainer.max_epochs=3",
            "trainer.val_check_interval=5 trainer.check_val_every_n_epoch=null",
            "trainer.val_check_interval=4 trainer.check_val_every_n_epoch=null trainer.max_steps=8",
            "trainer.val_check_interval=0.5 trainer.max_steps=8",
        )
    ),
]


@pytest.mark.parametrize("words", ENDS)
def test_a_run_that_is_killed_at_its_last_checkpoint_trains_nothing_more(
    words: str, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = killed_at_each_checkpoint(monkeypatch, tmp_path)
    script("train.py", *QUICK, *words.split(), "folder=whole")
    killed = copies[-1]
    script("train.py", f"resume={killed}")
    same_run(tmp_path / "whole", killed)


def test_a_run_that_is_killed_in_its_test_trains_nothing_more(
    script: Script, tmp_path: Path
) -> None:
    script("train.py", *QUICK, "trainer.val_check_interval=auto", "folder=whole")
    killed = Path(shutil.copytree(tmp_path / "whole", tmp_path / "killed"))
    as_if_killed_in_its_test(killed)
    script("train.py", "resume=killed")
    same_run(tmp_path / "whole", killed)


STOPPED = "callbacks.early_stopping.patience=0 callbacks.early_stopping.min_delta=1.0"


@pytest.mark.parametrize(
    ("words", "short", "long"),
    [
        ("trainer.val_check_interval=auto", "trainer.max_epochs=1", "trainer.max_epochs=2"),
        ("", "trainer.max_steps=7", "trainer.max_steps=9"),
        (
            f"trainer.val_check_interval=3 +callbacks=early_stopping {STOPPED}",
            "trainer.max_steps=-1",
            "callbacks.early_stopping.patience=9",
        ),
    ],
)
def test_a_longer_training_goes_on_where_the_shorter_one_ended(
    words: str, short: str, long: str, script: Script, tmp_path: Path
) -> None:
    own = (*QUICK, "scheduler=none", *words.split())
    script("train.py", *own, short, "folder=short")
    script("train.py", *own, long, "folder=long")
    script("train.py", "resume=short", long)
    same_weights(tmp_path / "long", tmp_path / "short", ("last",))
    rows = [read_metrics(tmp_path / name / "metrics.csv") for name in ("long", "short")]
    expected, losses = (
        {r["step"]: r["train/loss"] for r in each if "train/loss" in r} for each in rows
    )
    assert expected.items() <= losses.items()  # the shorter one has a row at its end, too


@pytest.mark.parametrize("end", ["trainer.max_epochs=2", "trainer.max_steps=7"])
def test_a_run_that_is_killed_before_its_first_last_checkpoint_is_the_uninterrupted_one(
    end: str, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = killed_at_each_checkpoint(monkeypatch, tmp_path, "best")
    script("train.py", *QUICK, "trainer.val_check_interval=auto", end, "folder=whole")
    killed = copies[0]
    assert not (killed / "checkpoints" / "last.ckpt").exists()
    script("train.py", f"resume={killed}")
    same_run(tmp_path / "whole", killed)


def test_a_state_that_is_saved_in_time_does_not_lose_the_validation_after_it(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = (
        *QUICK,
        "trainer.max_epochs=1",
        "trainer.val_check_interval=3",
        "callbacks.last.minutes=0",
    )
    copies = killed_at_each_checkpoint(monkeypatch, tmp_path)
    script("train.py", *own, "folder=whole")
    assert len(copies) == 5  # one for each step
    killed = copies[2]
    script("train.py", f"resume={killed}")
    same_run(tmp_path / "whole", killed)
