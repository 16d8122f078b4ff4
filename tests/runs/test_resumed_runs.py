"""A resumed run is the uninterrupted one, bit for bit, and a folder is never worse after a resume,
a kill or an evaluation, and never a dead end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from seqmodels import compose, load_run
from seqmodels.compare.runs import find_runs
from seqmodels.errors import UserError
from seqmodels.files import write_json
from seqmodels.runs import train
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import RunFolder, read_metrics
from seqmodels.runs.result import Result
from tests.conftest import Refused, Script, result_of
from tests.runs.resumed import (
    OWN,
    Fail,
    Signal,
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
        "model.dropout=0.2 model.encoder.num_layers=2 model.encoder.dropout=0.2 "
        "model.encoder.segment=10",  # of rows of 7 to 29 steps
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


# ---------------------------------------------------------------- nothing is lost


SHORT = (*OWN, "callbacks.dataflow=null", "trainer.max_epochs=2")


@pytest.fixture
def run(script: Script, tmp_path: Path) -> Path:
    script("train.py", *SHORT, "folder=run")
    return tmp_path / "run"


def test_a_run_without_its_last_checkpoint_is_resumed_from_its_best(
    run: Path, script: Script
) -> None:
    (run / "checkpoints" / "last.ckpt").unlink()
    best = read_checkpoint(run / "checkpoints" / "best.ckpt")["global_step"]
    done = script("train.py", "resume=run", "trainer.max_epochs=3")
    assert "run has no last.ckpt: resuming from its best.ckpt" in done.stdout
    assert "starts again" not in done.stdout
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 42 > best


def test_a_finished_run_stays_what_it_was_until_a_longer_one_is_finished(
    run: Path, script: Script
) -> None:
    before, text = result_of(run), repr(load_run(run))
    scores = load_run(run).evaluate("validation", accelerator="cpu")
    for step, changes in ((45, ["trainer.precision=bf16-mixed"]), (60, [])):
        words = (f"resume={run}", "trainer.max_epochs=9", *changes)
        with pytest.raises(SystemExit, match="143"):
            train(compose(*words), words, callbacks=[Signal([15], step=step)])
        assert read_checkpoint(run / "checkpoints" / "best.ckpt")["global_step"] > 28
        assert result_of(run) == {**before, "weights": "finished", "stretches": 1}
        kept = load_run(run)
        assert repr(kept) == text and kept.config["trainer"]["precision"] == "32-true"
        assert kept.evaluate("validation", accelerator="cpu") == scores
        assert "not those that were tested" in repr(load_run(run, "last"))
    script("train.py", "resume=run", "trainer.max_epochs=5")
    after = result_of(run)
    assert (after["status"], after["weights"]) == ("completed", "best")
    assert after["metrics"] != before["metrics"] and "stretches" not in after
    assert load_run(run).config["trainer"]["precision"] == "bf16-mixed"
    assert {file.name for file in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert read_metrics(run / "metrics.csv")[-1]["step"] == 69


def test_a_longer_training_that_nothing_interrupts_leaves_no_copy_of_the_weights(
    run: Path, script: Script
) -> None:
    script("train.py", "resume=run", "trainer.max_epochs=3")
    assert {file.name for file in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """A folder with a result and weights, which are a word."""
    (tmp_path / "checkpoints").mkdir()
    folder = RunFolder(tmp_path)
    folder.checkpoint_file("best").write_text("old")
    folder.write_result(Result(seed=0, config={}, status="completed"))
    return folder


def test_weights_are_kept_before_the_result_names_them_and_replace_no_file(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.checkpoint_file("finished").write_text("somebody's")
    before = finished.read_result()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "write_result", Mock(side_effect=KeyboardInterrupt))
        finished.keep_finished(before)
    assert finished.read_result() == before
    kept = finished.keep_finished(before)
    finished.checkpoint_file("best").write_text("new")
    assert finished.read_result() == kept == finished.keep_finished(kept)
    assert finished.checkpoint_file(kept.weights).read_text() == "old"
    finished.remove_kept(before)
    finished.remove_kept(kept)
    assert not finished.checkpoint_file(kept.weights).exists()
    assert finished.checkpoint_file("finished").read_text() == "somebody's"
    assert finished.checkpoint_file("best").read_text() == "new"


def test_weights_that_somebody_has_removed_are_not_those_of_a_longer_training(
    finished: RunFolder,
) -> None:
    finished.checkpoint_file("best").unlink()
    kept = finished.keep_finished(finished.read_result())
    assert not finished.checkpoint_file(kept.weights).exists() and kept.weights != "best"


@pytest.mark.parametrize("name", ["../../last", "finished/../last", "previous", "finished_x"])
def test_a_result_names_no_other_file(finished: RunFolder, name: str) -> None:
    result = json.loads(finished.result_file.read_text())
    finished.result_file.write_text(json.dumps({**result, "weights": name}))
    with pytest.raises(UserError, match="is not the result of a run of this version"):
        finished.read_result()


def test_a_limit_of_one_batch_is_not_a_limit_of_all(run: Path, script: Script) -> None:
    done = script("train.py", "resume=run", "trainer.max_epochs=3", "trainer.limit_train_batches=1")
    assert "trainer.limit_train_batches: 1.0 -> 1" in done.stdout
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 29


def test_an_end_before_the_checkpoint_is_refused(run: Path, refused: Refused) -> None:
    line = refused("train.py", "resume=run", "trainer.max_epochs=1")
    assert "trainer.max_epochs=1, and its checkpoint is at 2 already" in line


def test_tables_of_an_older_test_are_not_shown(run: Path, script: Script) -> None:
    words = ("trainer.max_epochs=3", "callbacks.predictions=null")
    done = script("train.py", "resume=run", *words)
    assert "largest losses" not in done.stdout


@pytest.mark.parametrize(
    ("status", "holds_run"), [("completed", True), ("failed", False), ("interrupted", False)]
)
def test_a_run_that_ended_before_its_first_checkpoint_has_nothing_to_lose(
    finished: RunFolder, status: str, holds_run: bool
) -> None:
    finished.checkpoint_file("best").unlink()
    finished.write_result(Result(seed=0, config={}, status=status))
    assert finished.holds_run is holds_run


def test_an_error_long_after_a_resume_is_not_one_of_its_checkpoint(run: Path) -> None:
    words = (f"resume={run}", "trainer.max_epochs=3")
    with pytest.raises(MemoryError, match="out of memory"):  # five steps after it
        train(compose(*words), words, callbacks=[Fail("in a step")])


@pytest.mark.parametrize("config", ["", "folder: ", "model: [", None])
def test_a_folder_with_nothing_to_lose_is_no_dead_end(
    config: str | None, tmp_path: Path, script: Script, refused: Refused
) -> None:
    run = tmp_path / "run"
    script("train.py", *SHORT, "folder=run")
    shutil.rmtree(run / "checkpoints")
    result = {**result_of(run), "status": "interrupted"}
    (run / "result.json").write_text(json.dumps(result))
    if config is not None:
        (run / "config.yaml").write_text(config)
    script("train.py", *SHORT, "folder=run")
    assert result_of(run)["status"] == "completed"
    assert {row["step"] for row in read_metrics(run / "metrics.csv")} <= set(range(28))
    assert "holds a run already" in refused("train.py", *SHORT, "folder=run")


def test_a_config_of_somebody_elses_is_not_overwritten(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    assert "holds a run already" in refused("train.py", *SHORT, "folder=.")
    assert (tmp_path / "config.yaml").read_text() == "mine: 1\n"


def test_a_damaged_job_does_not_stop_its_sweep(tmp_path: Path, script: Script) -> None:
    words = ("-m", *SHORT, "seed=0,1", "trainer.max_epochs=1", "hydra.sweep.dir=sweep")
    script("train.py", *words)
    first, second = sorted(each.parent for each in tmp_path.glob("sweep/*/config.yaml"))
    (first / "config.yaml").write_text("")
    (second / "result.json").unlink()
    shutil.rmtree(second / "checkpoints")
    done = script("train.py", *words)
    assert "config.yaml is not the configuration of a run" in done.stdout
    assert result_of(second)["status"] == "completed"
    assert RunFolder(first).holds_run


def test_a_folder_may_be_a_number_and_in_brackets(tmp_path: Path, script: Script) -> None:
    script("train.py", *SHORT, "trainer.max_epochs=1", "folder=2026")
    place = tmp_path / "a[1]" / "sweep"
    place.mkdir(parents=True)
    for number, seed in enumerate((1, 2)):
        shutil.copytree(tmp_path / "2026", place / str(number))
        result = {**result_of(place / str(number)), "seed": seed}
        (place / str(number) / "result.json").write_text(json.dumps(result))
    assert len(find_runs([str(place)])[0]) == 2


def test_a_score_that_is_nan_is_json(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, None]}


def test_weights_that_are_loaded_are_no_resume(run: Path) -> None:
    kind = type(load_run(run).task)
    torch.manual_seed(0)
    task = kind.load_from_checkpoint(run / "checkpoints" / "last.ckpt")
    assert task._resumed is None
