"""How sweeps and runs end before their end, and that the same command finishes a sweep."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from seqmodels.runs.lock import locked
from tests.conftest import Script, result_of, run_script
from tests.launch.conftest import jobs, running_sweep, statuses, words_to_finish
from tests.runs.resumed import OWN, content, same_run, stopped_by

SWEEP = (
    "-m",
    *(word for word in OWN if not word.startswith(("seed", "trainer.max_epochs"))),
    "seed=3,4",
    "trainer.max_epochs=6",
    "callbacks.dataflow=null",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The jobs of the sweep when nothing ends it."""
    sweep = tmp_path_factory.mktemp("whole") / "sweep"
    run_script(sweep.parent, "train.py", *SWEEP, f"hydra.sweep.dir={sweep}")
    return jobs(sweep)


def resumed_to_the_bit(sweep: Path, whole: dict[str, Path]) -> list[int]:
    """Asserts that its jobs are those of the whole one; how often each was resumed."""
    for folder, found in zip(whole.values(), jobs(sweep).values(), strict=True):
        same_run(folder, found)
    return [len(result_of(folder).get("resumed", [])) for folder in jobs(sweep).values()]


@pytest.mark.slow
def test_a_sweep_that_is_killed_is_finished_by_its_command_in_its_folder(
    whole: dict[str, Path], script: Script, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    with running_sweep(sweep, 2, *SWEEP) as running:
        running.kill()
        running.wait()
    cut = statuses(sweep)
    assert cut == {"max_pool 3": "completed", "max_pool 4": "interrupted"}
    before = content(jobs(sweep)["max_pool 3"])
    words = ("-m", *reversed(SWEEP[1:]))  # the order does not matter
    done = script("train.py", *words, f"hydra.sweep.dir={sweep}")
    assert content(jobs(sweep)["max_pool 3"]) == before and "failed" not in done.stdout
    assert resumed_to_the_bit(sweep, whole) == [0, 1]


@pytest.mark.slow
def test_a_signal_ends_the_sweep_and_says_the_command_that_finishes_it(
    whole: dict[str, Path], script: Script, tmp_path: Path
) -> None:
    sweep = tmp_path / "a sweep"
    stop = stopped_by(signal.SIGTERM)  # in each job
    done = script("train.py", *SWEEP, *stop, f"hydra.sweep.dir='{sweep}'", status=143)
    assert done.stderr == "" and statuses(sweep) == {"max_pool 3": "interrupted"}
    done = script("train.py", *words_to_finish(done.stdout), status=143)
    assert statuses(sweep) == {"max_pool 3": "completed", "max_pool 4": "interrupted"}
    words, last = words_to_finish(done.stdout), jobs(sweep)["max_pool 4"]
    before = content(last)
    with locked(last / "lock"):  # by another machine
        shared = script("train.py", *words)
        assert "2 of 2: seed=4: another process trains it\n" in shared.stdout
        assert "1 of 2 runs running" in shared.stdout and "failed" not in shared.stdout
        assert before.items() <= content(last).items()
    script("train.py", *words)
    assert resumed_to_the_bit(sweep, whole) == [1, 1]


def interrupt_here(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_no_job_trains_ends_the_sweep_in_one_line(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.runs.training.prepare", interrupt_here)
    done = script("train.py", *SWEEP, status=130)
    assert done.stderr == ""
    [folder] = [word for word in words_to_finish(done.stdout) if "hydra.sweep.dir=" in word]
    assert Path(folder.partition("=")[2]).is_dir()


def test_ctrl_c_before_a_run_trains_ends_it_and_leaves_nothing(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.runs.training.prepare", interrupt_here)
    assert script("train.py", *OWN, status=130).stderr == "interrupted\n"
    assert not (tmp_path / "runs").exists()


# ---------------------------------------------------------------- several processes

TWO = (*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.mark.long
@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGTERM, False), (2, True)])
def test_a_signal_ends_a_sweep_of_several_processes(
    tmp_path: Path, number: int, to_all: bool
) -> None:
    sweep = tmp_path / "sweep"
    with running_sweep(sweep, 2, *TWO, "trainer.max_epochs=200") as running:
        (os.killpg if to_all else os.kill)(running.pid, number)
        stdout, stderr = running.communicate(timeout=90)
    assert running.returncode == 128 + number and stderr == ""
    assert f"hydra.sweep.dir={sweep}" in words_to_finish(stdout)
    assert statuses(sweep) == {"max_pool 3": "interrupted", "max_pool 4": "interrupted"}
    for folder in jobs(sweep).values():  # it has waited for them
        assert "saved after step" in (folder / "train.log").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_the_workers_of_a_sweep_that_is_killed_finish_their_jobs(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    with running_sweep(sweep, 2, *TWO, "trainer.max_epochs=20") as running:
        running.kill()
        deadline = time.monotonic() + 90
        while {*statuses(sweep).values()} != {"completed"}:
            assert time.monotonic() < deadline
            time.sleep(0.2)
