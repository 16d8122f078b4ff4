"""One training for all tests of commands, and what to ask of a sweep."""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Completed, result_of, run_script
from tests.runs.resumed import running

QUICK = ("model.encoder.hidden_size=16", "trainer.max_epochs=2", "trainer=cpu")


class Trained(NamedTuple):
    """A finished run, and what its training printed."""

    folder: Path
    stdout: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Of the default data, by a head of one direction."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        done = run_script(place, "train.py", "model.head=last_hidden", "folder=runs/mine", *QUICK)
    return Trained(place / "runs" / "mine", done.stdout)


def jobs(sweep: Path) -> dict[str, Path]:
    """The folders of a sweep's jobs, by head and seed."""
    found = [file.parent for file in sweep.glob("*/result.json")]
    return {f"{(r := result_of(folder))['head']} {r['seed']}": folder for folder in sorted(found)}


def statuses(sweep: Path) -> dict[str, str]:
    return {name: result_of(folder)["status"] for name, folder in jobs(sweep).items()}


def lines_of_jobs(done: Completed) -> list[str]:
    """What a sweep says of each job when it has ended."""
    return re.findall(r"^\d+ of \d+: .*", done.stdout, flags=re.MULTILINE)


def words_to_finish(stdout: str) -> list[str]:
    """The command that an interrupted sweep names."""
    [line] = [line for line in stdout.splitlines() if line.startswith("interrupted by ")]
    return shlex.split(line.partition("finish it with seqmodels train ")[2])


def running_sweep(
    sweep: Path, count: int, *words: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """A sweep in a process of its own, of which so many jobs have saved a checkpoint."""
    return running(sweep, "*/checkpoints/last.ckpt", count, *words, f"hydra.sweep.dir={sweep}")
