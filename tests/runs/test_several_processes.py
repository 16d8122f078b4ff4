"""Several processes end as one, by a signal or when one of them is killed, and are resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import pytest

from seqmodels.machine import crowded
from tests.conftest import Script, result_of
from tests.runs.resumed import QUICK, running, same_weights

TWO = (*QUICK, "trainer=ddp_sim", "trainer.max_epochs=40")


def wait_for_the_end_of(processes: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@contextmanager
def two_processes(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A training in two processes that has saved two checkpoints, and the numbers of both."""
    with running(folder, "checkpoints/previous.ckpt", 1, *TWO, f"folder={folder}") as first:
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        [second] = [n for n in children if b"train.py" in Path(f"/proc/{n}/cmdline").read_bytes()]
        yield first, [first.pid, int(second)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "number"),
    [(1, signal.SIGTERM), pytest.param(0, signal.SIGINT, marks=pytest.mark.long)],
)
def test_a_signal_to_one_of_them_saves_and_ends_all(
    tmp_path: Path, rank: int, number: signal.Signals
) -> None:
    with two_processes(tmp_path / "run") as (first, ranks):
        os.kill(ranks[rank], number)
        stdout, stderr = first.communicate(timeout=60)
        wait_for_the_end_of(ranks)
    # Lightning's observer, which looks every 5 seconds, may see the other one's end in between
    assert first.returncode in (128 + number, -signal.SIGKILL) and stderr == ""
    assert f"interrupted by {number.name}; saved after step" in stdout
    assert result_of(tmp_path / "run")["status"] == "interrupted"


@pytest.mark.long  # Gloo waits for most of a minute; above, CI ends one of them by a signal
@pytest.mark.parametrize("rank", [0, 1])
def test_after_a_kill_of_one_they_end_in_a_minute_and_are_resumed_bit_for_bit(
    process: Script, tmp_path: Path, rank: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process("train.py", *TWO, f"folder={whole}")
    with two_processes(cut) as (first, ranks):
        os.kill(ranks[rank], signal.SIGKILL)
        first.communicate(timeout=60)
        wait_for_the_end_of(ranks)
    assert result_of(cut)["status"] in ("failed", "interrupted")
    process("train.py", f"resume={cut}")
    # a kill between the checkpoint of an epoch's end and its row in metrics.csv costs that row
    same_weights(whole, cut)
    assert result_of(cut)["status"] == "completed"
    assert result_of(cut)["metrics"] == result_of(whole)["metrics"]


@pytest.mark.parametrize(("cores", "is_crowded"), [(1, True), (2, False), (None, True)])
def test_processes_that_share_a_core_are_told_and_others_are_not(
    cores: int | None, is_crowded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    trainer = pl.Trainer(accelerator="cpu", devices=2, logger=False)
    assert bool(crowded(trainer)) is is_crowded
