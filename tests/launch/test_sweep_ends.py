"""How sweeps end before their end, and who may work in their folders."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from seqmodels.compare.records import read_record
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.lock import is_locked, locked
from tests.conftest import Refused, Script, command, result_of
from tests.runs.resumed import NEEDLE, OWN, content, same_run, stopped_by

SWEEP = ("-m", *OWN, "seed=3,4", "callbacks.dataflow=null")


def statuses(sweep: Path) -> dict[str, str]:
    results = sorted(sweep.glob("*/result.json"))
    return {file.parent.name: json.loads(file.read_text())["status"] for file in results}


def words_to_resume(stdout: str) -> list[str]:
    [line] = [line for line in stdout.splitlines() if line.startswith("interrupted by ")]
    return shlex.split(line.partition("resume with python scripts/train.py ")[2])


@pytest.mark.slow
def test_a_signal_ends_the_sweep_and_its_job_is_resumed(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    sweep, whole = tmp_path / "sweep", tmp_path / "whole"
    script("train.py", *SWEEP, f"hydra.sweep.dir={whole}")
    stop = stopped_by(signal.SIGTERM)  # in each job
    done = script("train.py", *SWEEP, *stop, f"hydra.sweep.dir={sweep}", status=143)
    assert done.stderr == ""
    assert statuses(sweep) == {"0_seed-3": "interrupted"}
    words = words_to_resume(done.stdout)
    assert words[-1] == f"sweep.resume={sweep}"

    done = script("train.py", *words, status=143)
    assert done.stderr == ""
    assert "interrupted by SIGTERM; resume with" in done.stdout
    assert statuses(sweep) == {"0_seed-3": "completed", "1_seed-4": "interrupted"}
    job = RunFolder(sweep / "1_seed-4")
    assert read_record(job).result["status"] == "interrupted"
    with locked(job.lock, "is training"):
        assert read_record(job).result["status"] == "running"
        before = content(sweep)
        shown = script("compare.py", str(sweep), f"output={tmp_path / 'comparison'}")
        assert "1 of 2 runs running" in shown.stdout and "failed" not in shown.stdout
        line = refused("train.py", *words)  # the job has outlived the sweep that started it
        assert "is training in this folder" in line
        assert content(sweep) == before

    script("train.py", *words)
    for name in statuses(sweep):
        same_run(whole / name, sweep / name)
        assert len(result_of(sweep / name)["resumed"]) == 1


def interrupt_here(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_before_a_job_trains_ends_the_sweep_in_one_line(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.runs.training.prepare", interrupt_here)
    done = script("train.py", *SWEEP, status=130)
    assert done.stderr == ""
    assert words_to_resume(done.stdout)[-1].startswith("sweep.resume=")


def test_a_handler_of_another_library_is_not_taken_for_that_of_the_sweep(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []

    def leave_a_handler() -> None:  # before the sweep has its own
        signal.signal(signal.SIGINT, lambda signum, frame: called.append(signum))

    monkeypatch.setattr("seqmodels.launch.hydra_setup.ignore_launcher_warning", leave_a_handler)
    monkeypatch.setattr("seqmodels.runs.training.prepare", interrupt_here)
    done = script("train.py", *SWEEP, status=130)
    assert done.stderr == "" and called == []


def test_ctrl_c_while_the_runs_are_compared_says_how_to_compare_them(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(config: DictConfig, *_: object) -> None:
        RunFolder(Path(config.folder)).write_result({"status": "completed"})

    monkeypatch.setattr("seqmodels.runs.training.train", completed)
    monkeypatch.setattr("seqmodels.compare.comparison.compare", interrupt_here)
    done = script("train.py", *SWEEP, status=130)
    assert done.stderr == ""
    assert words_to_resume(done.stdout)[-1].startswith("sweep.resume=")


def lose_an_interruption(*_: object, **__: object) -> None:
    try:
        interrupt_here()
    except KeyboardInterrupt:  # as an import in C++ does
        raise RecursionError from None


def hide_an_interruption(*_: object, **__: object) -> None:
    try:
        interrupt_here()
    finally:  # as OmegaConf does, which cannot undo half a change
        raise AttributeError


@pytest.mark.parametrize(
    ("place", "interruption"),
    [
        ("runs.training.prepare", interrupt_here),
        ("runs.training.prepare", lose_an_interruption),
        ("launch.composing.leave_out", hide_an_interruption),
        ("launch.checks.check_settings", hide_an_interruption),
    ],
)
def test_ctrl_c_before_a_run_trains_ends_it_and_leaves_nothing(
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    interruption: Callable[..., None],
) -> None:
    monkeypatch.setattr(f"seqmodels.{place}", interruption)
    done = script("train.py", *OWN, status=130)
    assert done.stderr == "interrupted\n"
    assert not (tmp_path / "runs").exists()


def test_a_second_sweep_in_a_folder_is_refused_and_changes_nothing(
    refused: Refused, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    with locked(sweep / "lock", "is running a sweep"):
        (sweep / "sweep.json").write_text("{}")
        before = content(sweep)
        for more in (f"hydra.sweep.dir={sweep}", f"sweep.resume={sweep}"):
            line = refused("train.py", *SWEEP, more)
            assert f"process {os.getpid()} on" in line and "is running a sweep in this" in line
            assert content(sweep) == before


def sweep_of_two_processes(sweep: Path) -> subprocess.Popen[str]:
    """A sweep whose jobs train at the same time, and have saved a checkpoint each."""
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=200")
    running = subprocess.Popen(
        command("train.py", *SWEEP, *NEEDLE, *launcher, f"hydra.sweep.dir={sweep}"),
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
    assert words_to_resume(stdout)[-1] == f"sweep.resume={sweep}"
    assert set(statuses(sweep).values()) == {"interrupted"}
    assert not any(map(is_locked, sweep.rglob("lock")))


@pytest.mark.slow
def test_the_workers_of_a_sweep_that_is_killed_save_their_states_and_end(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    running = sweep_of_two_processes(sweep)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=90)  # the workers hold these pipes too, until they end
    assert running.returncode == -signal.SIGKILL
    assert set(statuses(sweep).values()) == {"interrupted"}
    assert not any(map(is_locked, sweep.rglob("lock")))
