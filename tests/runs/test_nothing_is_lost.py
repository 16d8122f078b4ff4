"""A folder is never worse after a resume, a kill or an evaluation, and never a dead end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from seqmodels import compose, load_run
from seqmodels.compare.records import find_runs
from seqmodels.files import write_json
from seqmodels.runs import train
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import RunFolder, read_metrics
from tests.conftest import Refused, Script, result_of
from tests.runs.resumed import OWN, Signal

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


def test_a_finished_run_keeps_its_result_until_it_has_another(run: Path, script: Script) -> None:
    before = result_of(run)
    words = (f"resume={run}", "trainer.max_epochs=9")
    with pytest.raises(SystemExit, match="143"):
        train(compose(*words), words, callbacks=[Signal([15], step=30)])
    assert result_of(run) == before
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] > 28
    script("train.py", "resume=run", "trainer.max_epochs=3")
    after = result_of(run)
    assert after["status"] == "completed" and after["metrics"] != before["metrics"]
    assert read_metrics(run / "metrics.csv")[-1]["step"] == 41


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
    assert len(find_runs([str(place)])) == 2


def test_a_score_that_is_nan_is_json(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, None]}


def test_weights_that_are_loaded_are_no_resume(run: Path) -> None:
    kind = type(load_run(run).task)
    torch.manual_seed(0)
    task = kind.load_from_checkpoint(run / "checkpoints" / "last.ckpt")
    assert task._resumed is None
