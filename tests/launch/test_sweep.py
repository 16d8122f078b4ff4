"""A sweep from the command line: its jobs and their folders, failures, launchers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError
from seqmodels.launch.composed import job_folder
from seqmodels.launch.sweep import SweepReport
from seqmodels.runs import train
from seqmodels.runs.training import prepare
from tests.conftest import ROOT, Config, Script, command, result_of, run_script
from tests.runs.resumed import content, same_run

Serial = tuple[dict[str, Any], list[str]]

QUICK = (
    "model.encoder.hidden_size=16",
    "trainer.max_epochs=2",
    "trainer=cpu",
    "baseline=false",
    "data=uea",
    "data.name=GunPoint",
    "callbacks.dataflow=null",
)


BOTH = ("model.encoder.bidirectional=true",)  # which last_hidden refuses


def folders(sweep: Path) -> dict[str, Path]:
    """Of the jobs, by head and seed."""
    found = [file.parent for file in sweep.glob("*/result.json")]
    return {f"{(r := result_of(folder))['head']} {r['seed']}": folder for folder in found}


def results(sweep: Path) -> dict[str, Any]:
    return {name: result_of(folder) for name, folder in folders(sweep).items()}


def the_sweep(folder: Path) -> Path:
    [sweep] = (folder / "runs").glob("*_sweep_*")
    return sweep


def ended(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The line of each job, without its seconds, by number."""
    lines = re.findall(r"^\d+ of \d+: .*", done.stdout, flags=re.MULTILINE)
    return sorted(re.sub(r"[\d.]+ s$", "", line) for line in lines)


@pytest.mark.slow
@pytest.mark.pictures
def test_a_job_that_fails_does_not_stop_the_others(script: Script, tmp_path: Path) -> None:
    heads = "model.head=bidirectional_concat,last_hidden,max_pool"
    done = script("train.py", "-m", heads, "seed=0,1", *BOTH, *QUICK, status=1)
    sweep = the_sweep(tmp_path)
    assert done.stderr == "" and done.stdout.startswith(f"sweep of 6 jobs: {sweep}\n")
    found = results(sweep)
    assert {name: result["status"] for name, result in found.items()} == {
        "bidirectional_concat 0": "completed",
        "bidirectional_concat 1": "completed",
        "last_hidden 0": "failed",
        "last_hidden 1": "failed",
        "max_pool 0": "completed",
        "max_pool 1": "completed",
    }
    # a line for each job; what a run prints is in its log, once
    lines = [line for line in done.stdout.splitlines() if re.match(r"\d of 6: ", line)]
    assert [line[0] for line in lines] == list("123456")
    score = r"test/accuracy 0\.\d{4}, \d+\.\d s"
    assert re.fullmatch(rf"1 of 6: model.head=bidirectional_concat seed=0: {score}", lines[0])
    error = found["last_hidden 1"]["error"]
    assert lines[3] == f"4 of 6: model.head=last_hidden seed=1: failed, {error}"
    assert "run folder" not in done.stdout
    log = (folders(sweep)["max_pool 1"] / "train.log").read_text()
    assert log.count("run folder: ") == 1
    # and an answer at the end
    assert re.search(r"max_pool +2 +\d+\.\d\d", done.stdout) and "2 of 6 runs failed" in done.stdout
    for kind in ("csv", "md", "png", "curves.png"):
        assert (sweep / f"comparison.{kind}").stat().st_size > 0


@pytest.mark.slow
def test_a_sweep_that_is_killed_is_finished_by_its_command_in_its_folder(
    script: Script, tmp_path: Path
) -> None:
    longer = [word.replace("max_epochs=2", "max_epochs=20") for word in QUICK]
    words = ("-m", "seed=0,1,2", *longer)
    script("train.py", *words, f"hydra.sweep.dir={tmp_path / 'whole'}")
    sweep = tmp_path / "sweep"
    process = subprocess.Popen(
        command("train.py", *words, f"hydra.sweep.dir={sweep}"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len([*sweep.glob("*/checkpoints/last.ckpt")]) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cut = {
        name.split()[1]: (result["status"], f)
        for (name, result), f in zip(results(sweep).items(), folders(sweep).values())
    }
    assert {seed: status for seed, (status, _) in cut.items()} == {
        "0": "completed",
        "1": "interrupted",
    }
    before = content(cut["0"][1])

    others = [*reversed(words[1:])]  # the order does not matter
    script("train.py", "-m", *others, f"hydra.sweep.dir={sweep}")
    assert content(cut["0"][1]) == before
    found, whole = folders(sweep), folders(tmp_path / "whole")
    assert [len(result.get("resumed", [])) for _, result in sorted(results(sweep).items())] == [
        0,
        1,
        0,
    ]
    for name, folder in whole.items():
        same_run(folder, found[name])


# two heads, one of which fails
JOBS = ("-m", "model.head=mean_pool,last_hidden", *BOTH, *QUICK)
JOBS = (*JOBS, "seed=0,1")


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
        assert ended(done) == (lines if launcher == "joblib" else [])  # others have logs

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
def test_a_job_alone_equals_the_same_job_in_a_sweep(
    script: Script, tmp_path: Path, config: Any
) -> None:
    script("train.py", "-m", "model.head=attention_pool,max_pool", "seed=4", *QUICK)
    alone: DictConfig = config("model.head=max_pool", "seed=4", *QUICK)
    assert results(the_sweep(tmp_path))["max_pool 4"]["metrics"] == train(alone)["metrics"]


def test_a_job_that_has_not_the_metric_of_its_sweep_does_not_train(
    config: Config,
) -> None:
    with pytest.raises(UserError, match=r"^sweep.metric=test/f1: choose one of test/accuracy, "):
        prepare(config("sweep.metric=test/f1"))


def test_the_folder_of_a_job_is_named_by_its_settings() -> None:
    words = ["seed=2", "model.head=max_pool", "+a.lr=1e-3", "data.train=my ü/x.csv"]
    name = job_folder(words)
    assert re.fullmatch(r"head-max_pool_seed-2_lr-1e-3_train-my-x\.csv_[0-9a-f]{10}", name)
    beside = ["logger=wandb", "paths.runs=x", "sweep.metric=test/loss", "tags=[a]", "task_name=b"]
    assert job_folder([*beside, *reversed(words)]) == name
    different = [
        *(
            [],
            ["a=1"],
            ["+a=1"],
            ["~a"],
            ["a=2"],
            ["b=1"],
            ["a=1", "b=1"],
            ["a=1 b=1"],
            ["a='1'"],
            ["a=b=1"],
        ),
        *(["~a", "+a=1"], ["+a=1", "~a"], ["a=x/y"], ["a=x-y"], ["a=${b}"], ["a=日本"], ["a=日木"]),
        *(["a=" + "x" * 300], ["a=" + "x" * 301], ["imports=[x]"], ["callbacks.a.patience=3"]),
    ]
    for one, other in combinations(different, 2):
        assert job_folder(one) != job_folder(other)
    for each in different:
        assert re.fullmatch(r"[\w.+-]{10,120}", job_folder(each), re.ASCII)
    assert job_folder(OmegaConf.create(["a=${b}"])) == job_folder(["a=${b}"])  # as Hydra has it


def test_jobs_with_awkward_values_have_folders_of_their_own(script: Script, tmp_path: Path) -> None:
    values = ("'a b/c,d.csv'", "'日本.csv'", "\"'x'.csv\"", "'é'", "/a/b.csv", "a" * 300, "'a,b'")
    words = ("-m", "data=text", f"data.train={','.join(values)}", "trainer=cpu")
    done = script("train.py", *words, f"hydra.sweep.dir={tmp_path / 'sweep'}", status=2)
    assert "error: none of these runs is completed" in done.stderr
    found = [*(tmp_path / "sweep").glob("*/result.json")]
    assert len(found) == len(values) == len(ended(done))
    trains = {result_of(file.parent)["config"]["data"]["train"] for file in found}
    assert trains == {"a b/c,d.csv", "日本.csv", "'x'.csv", "é", "/a/b.csv", "a" * 300, "a,b"}
    script("train.py", *words, f"hydra.sweep.dir={tmp_path / 'sweep'}", status=2)  # in place
    assert len([*(tmp_path / "sweep").glob("*/")]) == len(values)


@pytest.mark.slow
def test_a_sweep_extended_by_seeds_trains_only_what_is_new(script: Script, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    words = ("-m", *QUICK, f"hydra.sweep.dir={sweep}")
    script("train.py", *words, "seed=0,1")
    [*first] = folders(sweep).values()
    # somebody has trained a job longer meanwhile
    script("train.py", f"resume={first[0]}", "trainer.max_epochs=3")
    before = [content(folder) for folder in first]
    done = script("train.py", *words, "seed=2,0,1", "tags=[x]")
    assert [line[:15] for line in ended(done)] == [
        "1 of 3: seed=2:",
        "2 of 3: seed=0:",
        "3 of 3: seed=1:",
    ]
    assert len(folders(sweep)) == 3 and [content(folder) for folder in first] == before


@pytest.mark.slow
def test_a_sweep_deletes_nothing_and_mixes_nothing(script: Script, tmp_path: Path) -> None:
    thesis = tmp_path / "results" / "first" / "figures" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    (tmp_path / "results" / "first" / "notes.txt").touch()
    words = ("-m", *QUICK, f"hydra.sweep.dir={tmp_path / 'results'}")
    own = "${model.head}"  # for jobs of any seed
    before = content(tmp_path / "results" / "first")
    for subdir in ("first", own):
        done = script("train.py", *words, f"hydra.sweep.subdir={subdir}", "seed=0,1", status=2)
        assert re.search("1 of 2: seed=0: test/accuracy", done.stdout)
        assert done.stderr.endswith("holds a run with another configuration: choose another\n")
    assert before.items() <= content(tmp_path / "results" / "first").items()
    assert len([*(tmp_path / "results").glob("*/result.json")]) == 2
    assert thesis.read_text() == "years of work"
