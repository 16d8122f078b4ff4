"""A sweep from the command line: failures, interruptions, and nothing that leaks between jobs."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from seqmodels.errors import UserError
from seqmodels.launch.hydra_setup import sweep_folder
from seqmodels.launch.plan import PLAN, job_folder, make_plan, short_name
from seqmodels.launch.sweep import SweepReport
from seqmodels.runs import train
from seqmodels.runs.training import prepare
from tests.conftest import ROOT, Config, Refused, Script, command, run_script

Serial = tuple[dict[str, Any], list[str]]

QUICK = (
    "model.encoder.hidden_size=16",
    "trainer.max_epochs=2",
    "trainer=cpu",
    "baseline=false",
    "data=needle",  # which need not be parsed
    "data.length=12",
    "data.sizes=[64,16,16]",
)


BOTH = ("model.encoder.bidirectional=true",)  # which last_hidden refuses


def results(sweep: Path) -> dict[str, Any]:
    """By head and seed."""
    found = [json.loads(file.read_text()) for file in sweep.glob("*/result.json")]
    return {f"{result['head']} {result['seed']}": result for result in found}


def the_sweep(folder: Path) -> Path:
    [sweep] = [path.parent for path in (folder / "runs").glob(f"*/{PLAN}")]
    return sweep


@pytest.mark.slow
@pytest.mark.pictures
def test_a_job_that_fails_does_not_stop_the_others(script: Script, tmp_path: Path) -> None:
    done = script(
        "train.py",
        "-m",
        "model.head=bidirectional_concat,last_hidden,max_pool",
        "seed=0,1",
        *BOTH,
        *QUICK,
        status=1,
    )
    assert "Traceback" not in done.stderr
    sweep = the_sweep(tmp_path)
    found = results(sweep)
    assert {name: result["status"] for name, result in found.items()} == {
        "bidirectional_concat 0": "completed",
        "bidirectional_concat 1": "completed",
        "last_hidden 0": "failed",
        "last_hidden 1": "failed",
        "max_pool 0": "completed",
        "max_pool 1": "completed",
    }
    assert "last_hidden" in found["last_hidden 0"]["error"]
    # a line for each job, with a bar over all; what a run prints is in its log
    assert done.stdout.startswith("sweep of 6 jobs: ") and "6/6" in done.stdout
    lines = [line for line in done.stdout.splitlines() if re.match(r"\d_", line)]
    assert [line[0] for line in lines] == list("012345")
    assert re.fullmatch(
        r"0_bidirectional_concat_seed-0: test/accuracy 0\.\d{4}, \d+\.\d s", lines[0]
    )
    assert re.search("failed, .*last_hidden", lines[2])
    assert not re.search("where it goes", done.stdout)
    [log] = sweep.glob("0_*/train.log")
    assert "where it goes" in log.read_text() and "train 64 (" in log.read_text()
    # and an answer at the end
    assert re.search(r"max_pool +2 +\d+\.\d\d", done.stdout) and "2 of 6 runs failed" in done.stdout
    for kind in ("csv", "md", "png", "html"):
        assert (sweep / f"comparison.{kind}").stat().st_size > 0


@pytest.mark.slow
def test_a_sweep_that_is_killed_is_completed(script: Script, tmp_path: Path) -> None:
    arguments = ("-m", "seed=0,1", *QUICK)
    script("train.py", *arguments, f"hydra.sweep.dir={tmp_path / 'whole'}")

    process = subprocess.Popen(
        command("train.py", *arguments),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while True:
        done = [json.loads(f.read_text()) for f in (tmp_path / "runs").glob("*/*/result.json")]
        if any(result["status"] == "completed" for result in done):
            break
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    sweep = the_sweep(tmp_path)
    before = {
        file: file.stat().st_mtime_ns
        for file in sweep.glob("*/result.json")
        if json.loads(file.read_text())["status"] == "completed"
    }
    assert len(before) == 1

    script("train.py", *arguments, "sweep.resume=true")
    assert the_sweep(tmp_path) == sweep and len(results(sweep)) == 2
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in before.items())

    def table(folder: Path) -> list[dict[str, str]]:
        rows = list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))
        return [{k: v for k, v in row.items() if "second" not in k} for row in rows]

    assert table(sweep) == table(tmp_path / "whole")
    by_name = script("train.py", *arguments, f"sweep.resume={sweep}")
    assert "2 already completed" in by_name.stdout


# two heads, one of which fails
JOBS = ("-m", "model.head=mean_pool,last_hidden", *BOTH, *QUICK, "callbacks.dataflow=null")
JOBS = (*JOBS, "seed=0,1")


def ended(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The line of each job, without its seconds, by number."""
    lines = re.findall(r"^\d_.*", done.stdout, flags=re.MULTILINE)
    return sorted(re.sub(r"[\d.]+ s$", "", line) for line in lines)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Serial:
    """The results and the lines of JOBS, one after the other."""
    folder = tmp_path_factory.mktemp("serial")
    done = run_script(folder, "train.py", *JOBS, f"hydra.sweep.dir={folder}", status=1)
    return results(folder), ended(done)


@pytest.fixture
def same(process: Script, tmp_path: Path, serial: Serial) -> Callable[..., None]:
    """`same("joblib")`: this launcher does the same."""

    def check(launcher: str, *words: str) -> None:
        done = process("train.py", *JOBS, f"hydra/launcher={launcher}", *words, status=1)
        assert "Traceback" not in done.stderr
        assert "Warning" not in done.stderr
        theirs, (expected, lines) = results(the_sweep(tmp_path)), serial
        assert set(expected) == set(theirs)
        for name, result in expected.items():
            for key in ("status", "error", "metrics"):
                assert result[key] == theirs[name][key]
        assert ended(done) == lines

    return check


@pytest.mark.long  # in every run: its signals, tests/launch/test_sweep_ends.py
def test_joblib_gives_the_same(same: Callable[..., None]) -> None:
    same("joblib", "hydra.launcher.n_jobs=2")


@pytest.mark.long
def test_submitit_gives_the_same(same: Callable[..., None]) -> None:
    same("submitit_local")


SLURM = {  # what submitit asks of a cluster, on this machine
    "sbatch": """\
        last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%2$/\\1/p' "$1")
        grep -q '^#SBATCH --cpus-per-task=1$' "$1" || exit 1
        export SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=here
        export SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_ARRAY_JOB_ID=7
        for task in $(seq 0 $last); do
            SLURM_JOB_ID=7$task SLURM_ARRAY_TASK_ID=$task bash "$1" >/dev/null 2>&1 &
        done
        echo "Submitted batch job 7"
        """,
    "srun": 'shift 5; exec "$@"',  # --unbuffered --output <file> --error <file>
    "sacct": "echo 'JobID|State|NodeList'; echo '7_[0-3]|RUNNING|here'",
}


@pytest.mark.long
def test_slurm_gives_the_same(
    same: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in SLURM.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    same("submitit_slurm", "hydra.launcher.array_parallelism=2")


@pytest.fixture
def ray_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Ray cluster of two workers, started in another folder."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # otherwise workers give way to all else
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "elsewhere").mkdir()
    started: list[subprocess.Popen[bytes]] = []
    head = ["--head", f"--port={port}", "--include-dashboard=false"]
    try:
        for role in (head, [f"--address=127.0.0.1:{port}"]):
            ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *role]
            path = tmp_path / f"ray{len(started)}.log"
            with path.open("w") as log:
                started.append(
                    subprocess.Popen(
                        [*ray, "--num-cpus=1", "--block"],
                        cwd=tmp_path / "elsewhere",
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
            deadline = time.monotonic() + 120
            while "Ray runtime started" not in path.read_text():
                assert time.monotonic() < deadline and started[-1].poll() is None, path.read_text()
                time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


@pytest.mark.long
def test_ray_gives_the_same(same: Callable[..., None], tmp_path: Path, ray_cluster: str) -> None:
    same("ray", f"hydra.launcher.ray.init.address={ray_cluster}")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.filterwarnings("ignore:\\s*.hydra/launcher.* is validated against")
@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_launcher_that_is_not_installed(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = name.partition("_")[0]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("train", [f"hydra/launcher={name}"], return_hydra_config=True)
    monkeypatch.setitem(sys.modules, f"hydra_plugins.hydra_{extra}_launcher", None)
    for module in [
        m for m in sys.modules if m.startswith(f"hydra_plugins.hydra_{extra}_launcher.")
    ]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit, match="2"):
        SweepReport().on_multirun_start(composed)
    error = capsys.readouterr().err
    assert error.startswith(f"error: hydra/launcher={name} needs a package that is not installed")
    assert re.search(rf": pip install '.*\b{extra}\b.*'\n$", error)


@pytest.mark.slow
def test_a_completed_job_is_not_taken_for_one_of_another_configuration(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    arguments = ("-m", "seed=0", *QUICK, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    script("train.py", *arguments)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("sweep/*/*")}
    line = refused("train.py", *arguments, "model.dropout=0.4")
    assert "runs with another configuration (model.dropout=0.4 is not in both commands)" in line
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.glob("sweep/*/*")}


@pytest.mark.slow
def test_a_job_alone_equals_the_same_job_in_a_sweep(
    script: Script, tmp_path: Path, config: Any
) -> None:
    script("train.py", "-m", "model.head=attention_pool,max_pool", "seed=4", *QUICK)
    alone: DictConfig = config("model.head=max_pool", "seed=4", *QUICK)
    assert results(the_sweep(tmp_path))["max_pool 4"]["metrics"] == train(alone)["metrics"]


def test_the_name_of_a_job_is_what_varies() -> None:
    varied = ["model.head", "seed", "data", "a.b"]

    def name(*overrides: str) -> str:
        return short_name(overrides, varied)

    assert name("model.head=max_pool", "seed=2", "trainer=cpu") == "max_pool_seed-2"
    assert name("sweep.resume=true", "data=needle", "+a.b=[1,2]") == "data-needle_b--1-2-"
    assert name("a.b=1e-09") == "b-1e-09" and name("a.b=1e+18") == "b-1e+18"
    assert name("seed=" + "2" * 200) == "seed-" + "2" * 75


def test_the_folder_of_a_sweep(tmp_path: Path) -> None:
    fresh, command = str(tmp_path / "new"), ["seed=0,1"]
    assert sweep_folder(None, fresh, command) == fresh
    with pytest.raises(UserError, match="no earlier sweep of this command"):
        sweep_folder(True, fresh, command)
    for number, overrides in enumerate((command, ["seed=0,1,2"], command, ["seed=0"], ["x=0"])):
        folder = tmp_path / f"sweep{number}"
        folder.mkdir()
        (folder / PLAN).write_text(json.dumps({"overrides": overrides, "jobs": 2}))
        os.utime(folder / PLAN, (number, number))
    resumed = [*command, "sweep.resume=true"]
    assert sweep_folder(True, fresh, resumed) == str(tmp_path / "sweep2")
    assert sweep_folder(str(tmp_path / "sweep1"), fresh, command) == str(tmp_path / "sweep1")
    assert sweep_folder(True, fresh, ["seed=0,2"]) == str(tmp_path / "sweep3")  # extended
    assert sweep_folder(True, fresh, ["seed=0,1,2,3"]) == str(tmp_path / "sweep3")
    with pytest.raises(UserError, match="is not a sweep folder"):
        sweep_folder(str(tmp_path), fresh, command)


def test_a_job_that_has_not_the_metric_of_its_sweep_does_not_train(
    config: Config,
) -> None:
    with pytest.raises(UserError, match=r"^sweep.metric=test/f1: choose one of test/accuracy, "):
        prepare(config("sweep.metric=test/f1"))


def test_a_longer_sweep_keeps_the_folders_of_its_jobs() -> None:
    heads = "model.head=max_pool,mean_pool"
    first = make_plan([heads, "seed=0,1", "trainer=cpu"])
    names = [*first["folders"].values()]
    assert names == [
        "0_max_pool_seed-0",
        "1_max_pool_seed-1",
        "2_mean_pool_seed-0",
        "3_mean_pool_seed-1",
    ]
    longer = make_plan(
        ["trainer=cpu", "seed=0,1,2", heads, "tags=[x]", "sweep.resume=true"], None, first
    )
    assert [*longer["folders"].values()] == [*names, "4_seed-2_max_pool", "5_seed-2_mean_pool"]
    assert longer["jobs"] == 6
    single = make_plan(["seed=0", "trainer=cpu"])
    assert [*make_plan(["seed=0,1", "trainer=cpu"], None, single)["folders"].values()] == [
        "0_",
        "1_seed-1",
    ]
    for other in ("trainer=gpu", "trainer=cpu", "trainer=cpu model.dropout=0.1"):
        words = ["seed=0,1", *other.split()]
        if other == "trainer=cpu":
            make_plan(words, {"params": {"model.head": "max_pool,mean_pool"}}, first)
        else:
            with pytest.raises(UserError, match="runs with another configuration"):
                make_plan(words, None, single)


def test_a_plan_names_no_folder_outside_of_its_sweep(tmp_path: Path) -> None:
    plan = {"overrides": ["seed=0"], "varied": [], "jobs": 1, "folders": {"seed=0": "../../0_"}}
    (tmp_path / PLAN).write_text(json.dumps(plan))
    with pytest.raises(UserError, match="is not the folder of a job"):
        job_folder(0, ["seed=0"], str(tmp_path))


@pytest.mark.slow
def test_a_sweep_extended_by_seeds_trains_only_what_is_new(script: Script, tmp_path: Path) -> None:
    words = ("-m", *QUICK, "callbacks.dataflow=null")
    script("train.py", *words, "seed=0,1")
    sweep = the_sweep(tmp_path)
    [first, second] = sorted(sweep.glob("*/result.json"))
    before = first.stat().st_mtime_ns
    # somebody has trained the other job longer meanwhile
    script("train.py", f"resume={second.parent}", "trainer.max_epochs=3")
    done = script("train.py", *words, "seed=0,1,2", "sweep.resume=true")
    assert "sweep of 3 jobs" in done.stdout and "2 already completed" in done.stdout
    assert "3/3" in done.stdout and the_sweep(tmp_path) == sweep
    assert [line[0] for line in ended(done)] == ["2"]
    assert len(results(sweep)) == 3 and first.stat().st_mtime_ns == before
    done = script("train.py", *words, "seed=3", f"hydra.sweep.dir={sweep}")
    assert "sweep of 1 job" in done.stdout and "already completed" not in done.stdout
    assert [line[0] for line in ended(done)] == ["3"] and "1/1" in done.stdout
