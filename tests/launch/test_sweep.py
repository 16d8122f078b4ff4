"""A sweep from the command line: its jobs and their folders, and launchers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqmodels.launch.composed import job_folder
from tests.conftest import ROOT, Completed, Config, Script, result_of, run_script
from tests.launch.conftest import jobs, lines_of_jobs, statuses
from tests.runs.resumed import content

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


@pytest.mark.long  # in every run: the signals of joblib, tests/launch/test_sweep_ends.py
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
        for key in ("status", "error", "metrics"):
            assert result_of(folder)[key] == result_of(theirs[name])[key]


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
