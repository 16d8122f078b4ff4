"""A sweep from the command line: its jobs and their folders, launchers, and how it ends before its
end and is finished by the same command."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from seqmodels.launch.composed import job_folder
from seqmodels.runs.lock import locked
from tests.conftest import ROOT, Completed, Config, Refused, Script, result_of, run_script
from tests.launch.conftest import jobs, lines_of_jobs, running_sweep, statuses, words_to_finish
from tests.runs.resumed import OWN, content, same_run, stopped_by

QUICK = (
    "model.encoder.hidden_size=16",
    "trainer.max_epochs=2",
    "trainer=cpu",
    "baseline=false",
    "data=uea",
    "data.name=GunPoint",
    "callbacks.dataflow=null",
)
BOTH = "model.encoder.bidirectional=true"  # which last_hidden refuses
JOBS = ("-m", "model.head=max_pool,mean_pool,last_hidden", "seed=0,1", BOTH, *QUICK)


def the_sweep(folder: Path) -> Path:
    [sweep] = (folder / "runs").glob("*_sweep_*")
    return sweep


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Completed]:
    """The folder of JOBS, one after the other, and what they printed."""
    folder = tmp_path_factory.mktemp("serial")
    done = run_script(folder, "train.py", *JOBS, status=1)
    return the_sweep(folder), done


@pytest.mark.slow
def test_a_job_that_fails_stops_no_other_and_each_is_as_if_alone(
    serial: tuple[Path, Completed], script: Script, tmp_path: Path
) -> None:
    sweep, done = serial
    ended = {"max_pool": "completed", "mean_pool": "completed", "last_hidden": "failed"}
    assert statuses(sweep) == {f"{head} {n}": how for head, how in ended.items() for n in (0, 1)}
    assert done.stderr == "" and done.stdout.startswith(f"sweep of 6 jobs: {sweep}\n")
    # a line for each; what a run prints is in its log, once
    first, *_, last = lines_of_jobs(done)
    assert re.fullmatch(r"1 of 6: model.head=max_pool seed=0: test/accuracy 0\.\d{4}, .* s", first)
    error = result_of(jobs(sweep)["last_hidden 1"])["error"]
    assert last == f"6 of 6: model.head=last_hidden seed=1: failed, {error}"
    assert "run folder: " not in done.stdout
    assert (jobs(sweep)["max_pool 1"] / "train.log").read_text().count("run folder: ") == 1
    # and an answer at the end
    assert re.search(r"max_pool +2 +\d+\.\d\d", done.stdout) and "2 of 6 runs failed" in done.stdout
    for kind in ("csv", "md", "png"):
        assert (sweep / f"comparison.{kind}").stat().st_size > 0
    script("train.py", "model.head=max_pool", "seed=1", BOTH, *QUICK, "folder=alone")
    alone, swept = result_of(tmp_path / "alone"), result_of(jobs(sweep)["max_pool 1"])
    assert alone["metrics"] == swept["metrics"]


# ---------------------------------------------------------------- the folder of a job


def test_the_folder_of_a_job_is_named_by_its_settings() -> None:
    words = ["seed=2", "model.head=max_pool", "+a.lr=1e-3", "data.train=my ü/x.csv"]
    name = job_folder(words)
    assert re.fullmatch(r"head-max_pool_seed-2_lr-1e-3_train-my-x\.csv_[0-9a-f]{10}", name)
    assert job_folder(["logger=wandb", "tags=[a]", *reversed(words)]) == name
    alike = ["", "a=1", "+a=1", "~a", "a=2", "b=1", "a=1;b=1", "a='1'", "a=x/y", "a=x-y", "a=${b}"]
    alike += ["a=日本", "a=日木", "a=" + "x" * 300, "a=" + "x" * 301]
    names = {job_folder(each.split(";") if each else []) for each in alike}
    assert len(names) == len(alike)
    assert all(re.fullmatch(r"[\w.+-]{10,120}", each, re.ASCII) for each in names)


@pytest.mark.slow
def test_a_sweep_extended_by_seeds_trains_only_what_is_new(
    script: Script, reviews: Path, tmp_path: Path
) -> None:
    # as on a cluster, Hydra starts each job in a folder of its own
    own = ("data=text", "data.train=reviews.csv", "hydra.job.chdir=true")
    words = ("-m", *QUICK[:4], *own, "hydra.sweep.dir=sweep")
    script("train.py", *words, "seed=0,1")
    [*first] = jobs(tmp_path / "sweep").values()
    # somebody has trained a job longer meanwhile
    script("train.py", f"resume={first[0]}", "trainer.max_epochs=3")
    before = [content(folder) for folder in first]
    done = script("train.py", *words, "seed=2,0,1", "tags=[x]")
    assert [line.split(":")[1] for line in lines_of_jobs(done)] == [" seed=2", " seed=0", " seed=1"]
    assert len(jobs(tmp_path / "sweep")) == 3 and "failed" not in done.stdout
    assert [content(folder) for folder in first] == before


@pytest.mark.slow
def test_a_sweep_deletes_nothing_and_mixes_nothing(script: Script, tmp_path: Path) -> None:
    first = tmp_path / "results" / "first"
    (first / "figures").mkdir(parents=True)
    (first / "figures" / "thesis.txt").write_text("years of work")
    (first / "notes.txt").touch()
    before = content(first)
    words = (f"hydra.sweep.dir={first.parent}", "hydra.sweep.subdir=first", "seed=0,1")
    done = script("train.py", "-m", *QUICK, *words, status=2)
    assert "1 of 2: seed=0: test/accuracy" in done.stdout
    assert "holds a run with another configuration" in done.stderr
    assert before.items() <= content(first).items()
    assert [name.split()[1] for name in jobs(first.parent)] == ["0"]


# ---------------------------------------------------------------- launchers


def outcome(folder: Path) -> dict[str, Any]:
    """How a run has ended: with metrics, or with an error."""
    result = result_of(folder)
    return {key: result[key] for key in ("status", "error", "metrics") if key in result}


@pytest.mark.long  # in every run: the signals of joblib, below
@pytest.mark.parametrize(
    "words", [("joblib", "hydra.launcher.n_jobs=2"), ("submitit_local",), ("ray",)], ids=str
)
def test_other_launchers_give_the_same(
    words: tuple[str, ...],
    serial: tuple[Path, Completed],
    process: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # as in many containers
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # otherwise workers give way to all else
    launcher, *more = words
    done = process("train.py", *JOBS, f"hydra/launcher={launcher}", *more, status=1)
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    if launcher == "joblib":  # others have logs
        assert len(lines_of_jobs(done)) == 6
    theirs, ours = jobs(the_sweep(tmp_path)), jobs(serial[0])
    assert {*theirs} == {*ours}
    for name, folder in ours.items():
        assert outcome(folder) == outcome(theirs[name])
    assert sum("error" in outcome(folder) for folder in ours.values()) == 2


def test_a_group_that_varies_may_give_what_the_data_must_have(
    script: Script, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "set").mkdir(parents=True)
    for name in ("GunPoint", "ArrowHead"):
        text = f"# @package _global_\ndata:\n  name: {name}\n"
        (tmp_path / "mine" / "set" / f"{name}.yaml").write_text(text)
    words = ("data=uea", "+set=GunPoint,ArrowHead", "model.head=last_hidden", BOTH)
    done = script("train.py", "-m", "--config-dir=mine", *words, status=2)
    first, second = lines_of_jobs(done)  # a head of one direction
    assert first.startswith("1 of 2: +set=GunPoint: failed, head 'last_hidden' needs")
    assert second.startswith("2 of 2: +set=ArrowHead: failed, head 'last_hidden' needs")


@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher:UserWarning")  # as the scripts do
def test_every_launcher_has_the_options_that_its_file_sets(config: Config) -> None:
    for file in (ROOT / "configs" / "hydra" / "launcher").glob("*.yaml"):
        config(f"hydra/launcher={file.stem}")


@pytest.mark.parametrize("words", ["trainer.devices=2", "trainer=ddp_sim", "trainer.devices=[0,1]"])
def test_several_processes_would_each_start_the_sweep(words: str, refused: Refused) -> None:
    line = refused("train.py", "-m", "seed=0,1", words)
    assert "start this command again in every process" in line


# ---------------------------------------------------------------- ends before the end


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
