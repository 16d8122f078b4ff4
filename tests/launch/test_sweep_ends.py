"""How sweeps and runs end before their end."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from seqmodels.compare.records import read_record
from seqmodels.errors import UserError
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.lock import locked
from tests.conftest import Script, command, result_of
from tests.runs.resumed import OWN, content, same_run, stopped_by

SWEEP = ("-m", *OWN, "seed=3,4", "callbacks.dataflow=null")


def jobs(sweep: Path) -> dict[int, Path]:
    """The folder of each job, by its seed."""
    return {result_of(file.parent)["seed"]: file.parent for file in sweep.glob("*/result.json")}


def statuses(sweep: Path) -> dict[int, str]:
    return {seed: result_of(folder)["status"] for seed, folder in sorted(jobs(sweep).items())}


def words_to_finish(stdout: str) -> list[str]:
    [line] = [line for line in stdout.splitlines() if line.startswith("interrupted by ")]
    return shlex.split(line.partition("finish it with seqmodels train ")[2])


@pytest.mark.slow
def test_a_signal_ends_the_sweep_and_its_command_in_its_folder_finishes_it(
    script: Script, tmp_path: Path
) -> None:
    sweep, whole = tmp_path / "a sweep", tmp_path / "whole"
    script("train.py", *SWEEP, f"hydra.sweep.dir={whole}")
    stop = stopped_by(signal.SIGTERM)  # in each job
    done = script("train.py", *SWEEP, *stop, f"hydra.sweep.dir='{sweep}'", status=143)
    assert done.stderr == ""
    assert statuses(sweep) == {3: "interrupted"}

    done = script("train.py", *words_to_finish(done.stdout), status=143)
    assert done.stderr == ""
    assert statuses(sweep) == {3: "completed", 4: "interrupted"}
    words, before = words_to_finish(done.stdout), content(jobs(sweep)[4])
    with locked(jobs(sweep)[4] / "lock"):  # by another machine
        assert read_record(RunFolder(jobs(sweep)[4])).status == "running"
        shared = script("train.py", *words)
        assert "2 of 2: seed=4: another process trains it\n" in shared.stdout
        assert "1 of 2 runs running" in shared.stdout and "failed" not in shared.stdout
        assert before.items() <= content(jobs(sweep)[4]).items()

    script("train.py", *words)
    for seed, folder in jobs(sweep).items():
        same_run(jobs(whole)[seed], folder)
        assert len(result_of(folder)["resumed"]) == 1


def test_a_job_that_another_process_begins_meanwhile_is_its_own(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = "process 7 on another machine is training in this folder"
    held = ExitStack()

    def refused(config: DictConfig, *_: object, **__: object) -> None:
        if config.seed == 3:  # the other one has just begun this job, and completed the next
            held.enter_context(locked(Path(config.folder) / "lock"))
        else:
            write_completed(config)
        raise UserError(refusal)

    monkeypatch.setattr("seqmodels.runs.training.train", refused)
    with held:
        done = script("train.py", *SWEEP, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert done.stdout.count(f"failed, {refusal}\n") == 2
    assert statuses(tmp_path / "sweep") == {4: "completed"}


class PowerCut(Callback):
    """Ends a training by an error, as long as the environment says so."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 33 and "POWER_CUT" in os.environ:
            raise OSError("the disk is full")


@pytest.mark.slow
def test_a_job_that_failed_is_resumed_from_its_checkpoint(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{__name__}.PowerCut"
    own = (f"+callbacks.cut={{_target_:{name}}}", f"allowed_targets=[{name}]")
    script("train.py", *SWEEP, *own, f"hydra.sweep.dir={tmp_path / 'whole'}")
    words = (*SWEEP, *own, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    monkeypatch.setenv("POWER_CUT", "1")
    done = script("train.py", *words, status=2)
    assert "1 of 2: seed=3: failed, OSError: the disk is full\n" in done.stdout
    assert done.stderr == "error: none of these runs is completed: there is nothing to compare\n"
    assert "Traceback" in (jobs(tmp_path / "sweep")[3] / "train.log").read_text()
    monkeypatch.delenv("POWER_CUT")
    script("train.py", *words)
    for seed, folder in jobs(tmp_path / "sweep").items():
        assert len(result_of(folder)["resumed"]) == 1
        same_run(jobs(tmp_path / "whole")[seed], folder)


def interrupt_here(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


def write_completed(config: DictConfig, *_: object, **__: object) -> None:
    result: dict[str, Any] = {"status": "completed", "seed": config.seed, "config": {}}
    result |= {"metrics": {"test/loss": 0.5}, "seconds": {"fit": 1.0, "total": 1.0}}
    result |= {"data": "x", "fingerprint": "x", "head": "x", "metric": "loss", "parameters": 1}
    RunFolder(Path(config.folder)).write_result(result)


@pytest.mark.parametrize("place", ["runs.training.prepare", "compare.comparison.compare"])
def test_ctrl_c_while_no_job_trains_ends_the_sweep_in_one_line(
    script: Script, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place.startswith("compare"):
        monkeypatch.setattr("seqmodels.runs.training.train", write_completed)
    monkeypatch.setattr(f"seqmodels.{place}", interrupt_here)
    done = script("train.py", *SWEEP, status=130)
    assert done.stderr == ""
    [folder] = [word for word in words_to_finish(done.stdout) if "hydra.sweep.dir=" in word]
    assert Path(folder.partition("=")[2]).is_dir()


def test_a_job_that_exits_by_itself_ends_the_sweep_with_its_status(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: object, **__: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr("seqmodels.runs.training.train", leave)
    assert script("train.py", *SWEEP, status=3).stderr == ""


def test_ctrl_c_before_a_run_trains_ends_it_and_leaves_nothing(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.runs.training.prepare", interrupt_here)
    done = script("train.py", *OWN, status=130)
    assert done.stderr == "interrupted\n"
    assert not (tmp_path / "runs").exists()


def sweep_of_two_processes(sweep: Path, epochs: int = 200) -> subprocess.Popen[str]:
    """A sweep whose jobs train at the same time, and have saved a checkpoint each."""
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"trainer.max_epochs={epochs}")
    running = subprocess.Popen(
        command("train.py", *SWEEP, *launcher, f"hydra.sweep.dir={sweep}"),
        cwd=sweep.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while len(list(sweep.glob("*/checkpoints/last.ckpt"))) < 2:
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    return running


@pytest.mark.long
@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGTERM, False), (2, True)])
def test_a_signal_ends_a_sweep_of_several_processes(
    tmp_path: Path, number: int, to_all: bool
) -> None:
    sweep = tmp_path / "sweep"
    running = sweep_of_two_processes(sweep)
    (os.killpg if to_all else os.kill)(running.pid, number)
    stdout, stderr = running.communicate(timeout=90)
    assert running.returncode == 128 + number and stderr == ""
    assert f"hydra.sweep.dir={sweep}" in words_to_finish(stdout)
    assert statuses(sweep) == {3: "interrupted", 4: "interrupted"}


@pytest.mark.slow
def test_the_workers_of_a_sweep_that_is_killed_finish_their_jobs(tmp_path: Path) -> None:
    running = sweep_of_two_processes(tmp_path / "sweep", epochs=20)
    try:
        os.kill(running.pid, signal.SIGKILL)
        deadline = time.monotonic() + 90
        while statuses(tmp_path / "sweep") != {3: "completed", 4: "completed"}:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        os.killpg(running.pid, signal.SIGKILL)  # joblib would end its workers in a minute or so
        running.communicate()
