"""Options of the trainer and its callbacks with values that don't divide: what is saved, and said.

An epoch has 14 batches.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import read_metrics
from tests.conftest import Script, result_of
from tests.runs.resumed import OWN, QUICK

ODD = [
    ("trainer.max_epochs=3 trainer.check_val_every_n_epoch=2 trainer.val_check_interval=5", 42),
    ("trainer.max_epochs=3 trainer.check_val_every_n_epoch=null trainer.val_check_interval=11", 42),
    ("trainer.max_epochs=2 trainer.val_check_interval=auto", 28),
    ("trainer.max_epochs=-1 trainer.max_steps=17 trainer.check_val_every_n_epoch=5", 17),
    ("trainer.max_epochs=2 trainer.accumulate_grad_batches=4 trainer.val_check_interval=5", 8),
    ("trainer.max_epochs=2 trainer.overfit_batches=3 trainer.check_val_every_n_epoch=3", 6),
    ("trainer.max_epochs=1 trainer.precision=bf16-true trainer.val_check_interval=0.4", 14),
    ("trainer.max_epochs=3 trainer.check_val_every_n_epoch=2 +callbacks=ema", 42),
    ("trainer.max_epochs=3 trainer.check_val_every_n_epoch=2 callbacks.last.minutes=0", 42),
    *(
        pytest.param(words, steps, marks=pytest.mark.long)
        for words, steps in (
            ("trainer.max_epochs=1 trainer.val_check_interval=0.3", 14),
            ("trainer.max_epochs=2 trainer.limit_train_batches=1 trainer.limit_val_batches=1", 2),
            ("trainer.max_epochs=3 +trainer.min_epochs=3 trainer.val_check_interval=0.4", 42),
            ("trainer.max_epochs=1 trainer.precision=64-true trainer.val_check_interval=0.4", 14),
            ("trainer.max_epochs=3 trainer.check_val_every_n_epoch=2", 42),
            ("trainer.max_epochs=2 trainer.val_check_interval=9", 28),
            ("trainer.max_epochs=-1 trainer.max_steps=17 trainer.val_check_interval=3", 17),
            (
                "trainer.max_epochs=2 trainer.limit_train_batches=5"
                " trainer.check_val_every_n_epoch=3",
                10,
            ),
        )
    ),
]


# the other options of configs/trainer, configs/callbacks and configs/debug
OTHERS = [
    "callbacks.last=null",
    "trainer.limit_val_batches=0",
    *(
        pytest.param(words, marks=pytest.mark.long)
        for words in (
            "callbacks.last.minutes=null trainer.limit_val_batches=0.3",
            "callbacks.checkpoint.monitor=null trainer.check_val_every_n_epoch=5",
            "callbacks.checkpoint.monitor=validation/accuracy trainer.val_check_interval=0.4",
            "callbacks.progress=null trainer.num_sanity_val_steps=3",
            "callbacks.predictions=null callbacks.pictures=null trainer.limit_test_batches=0.5",
            "+callbacks=early_stopping callbacks.early_stopping.patience=0",
            "+callbacks=lr_monitor trainer.log_every_n_steps=3",
            "+callbacks=model_summary trainer.enable_model_summary=true",
            "callbacks.dataflow.refuse=false trainer.deterministic=true",
            "trainer.gradient_clip_val=0.37 trainer.accumulate_grad_batches=5",
            "trainer.gradient_clip_val=null trainer.enable_progress_bar=false",
            "trainer.log_every_n_steps=0 trainer.precision=bf16-mixed",
            "trainer.limit_test_batches=0",
            "trainer.limit_train_batches=0.3 trainer.check_val_every_n_epoch=3",
            "trainer.detect_anomaly=true trainer.float32_matmul_precision=high",
            "trainer.max_steps=15 trainer.max_time=00:01:00:00",
            "trainer=ddp_sim trainer.devices=1 trainer.val_check_interval=0.4",
            "debug=limit",
            "debug=overfit",
            "debug=profile",
        )
    ),
]


@pytest.mark.parametrize("words", OTHERS)
def test_every_command_takes_what_a_training_took(
    words: str, script: Script, tmp_path: Path
) -> None:
    quick = ("trainer.max_epochs=2", "callbacks.dataflow.refuse=true", "folder=run")
    script("train.py", *OWN, *quick, *words.split())
    run, given = tmp_path / "run", ("run=run", "accelerator=cpu")
    assert result_of(run)["status"] == "completed"
    named = {path.stem for path in (run / "checkpoints").iterdir()}
    absent = (
        {"last"} if "last=null" in words else {"best"} if words.endswith("val_batches=0") else set()
    )
    assert named == {"best", "last"} - absent
    assert result_of(run)["weights"] == min(named)
    newest = run / "checkpoints" / f"{max(named)}.ckpt"
    before = read_checkpoint(newest)["global_step"]
    (tmp_path / "new.jsonl").write_text(f"{[[*range(12)]] * 5}\n")
    for name in named:
        script("evaluate.py", *given, f"checkpoint={name}", "split=validation")
        predicted = script("predict.py", *given, f"checkpoint={name}", "input=new.jsonl")
        assert '"label"' in predicted.stdout
    script("train.py", "resume=run", "trainer.max_epochs=3", "trainer.max_steps=-1")
    assert result_of(run)["status"] == "completed"
    assert read_checkpoint(newest)["global_step"] > before or "early_stopping" in words


@pytest.mark.parametrize(("words", "steps"), ODD)
def test_the_last_step_is_validated_saved_and_resumed(
    words: str, steps: int, script: Script, tmp_path: Path
) -> None:
    script("train.py", *QUICK, *words.split(), "folder=run")
    run = tmp_path / "run"
    result = result_of(run)
    assert result["status"] == "completed" and result["metrics"]["test/loss"] > 0
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == steps
    rows = [row for row in read_metrics(run / "metrics.csv") if "validation/loss" in row]
    assert rows[-1]["step"] == steps - 1
    # the best one is chosen from all of them
    best = min(rows, key=lambda row: row["validation/loss"])
    saved = read_checkpoint(run / "checkpoints" / "best.ckpt")["global_step"]
    assert saved - 1 == best["step"]
    script("evaluate.py", "run=run")
    further = "trainer.max_steps=20" if "max_steps" in words else "trainer.max_epochs=4"
    script("train.py", "resume=run", further)
    after = read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"]
    assert after > steps and result_of(run)["status"] == "completed"


def test_a_training_that_is_stopped_before_its_min_epochs_is_validated_at_its_end(
    script: Script, tmp_path: Path
) -> None:
    stopped = ("+callbacks=early_stopping", "callbacks.early_stopping.patience=0")
    never_better = ("callbacks.early_stopping.min_delta=1.0", "+trainer.min_epochs=2")
    across = ("trainer.val_check_interval=5", "trainer.check_val_every_n_epoch=null")
    script("train.py", *QUICK, *stopped, *never_better, *across, "folder=run")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows if "validation/loss" in row] == [4, 9, 14, 19, 24, 27]
