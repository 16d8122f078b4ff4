"""Several processes end as one, by a signal or when one of them is killed, and are resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import Script, command, result_of
from tests.runs.resumed import OWN, same_weights

TWO = (*OWN, "trainer=ddp_sim", "trainer.max_epochs=40")
Running = tuple[subprocess.Popen[str], list[int]]


def until(true: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """A training in two processes that has saved two checkpoints, and the numbers of both."""
    first = subprocess.Popen(
        command("train.py", *TWO, f"folder={folder}"),
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until((folder / "checkpoints" / "previous.ckpt").is_file, 200)
        pid = first.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        [second] = [n for n in children if b"train.py" in Path(f"/proc/{n}/cmdline").read_bytes()]
        yield first, [pid, int(second)]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
        first.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "number"),
    [(1, signal.SIGTERM), pytest.param(0, signal.SIGINT, marks=pytest.mark.long)],
)
def test_a_signal_to_one_of_them_saves_and_ends_all(
    tmp_path: Path, rank: int, number: signal.Signals
) -> None:
    with running(tmp_path / "run") as (first, ranks):
        os.kill(ranks[rank], number)
        stdout, stderr = first.communicate(timeout=60)
        until(lambda: not any(map(is_alive, ranks)), 20)
    # Lightning's observer, which looks every 5 seconds, may see the other one's end in between
    assert first.returncode in (128 + number, -signal.SIGKILL) and stderr == ""
    assert f"interrupted by {number.name}; saved after step" in stdout
    assert result_of(tmp_path / "run")["status"] == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.long)])
def test_after_a_kill_of_one_they_end_in_a_minute_and_are_resumed_bit_for_bit(
    process: Script, tmp_path: Path, rank: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process("train.py", *TWO, f"folder={whole}")
    with running(cut) as (first, ranks):
        os.kill(ranks[rank], signal.SIGKILL)
        first.communicate(timeout=60)
        until(lambda: not any(map(is_alive, ranks)), 20)
    assert result_of(cut)["status"] in ("failed", "interrupted")
    process("train.py", f"resume={cut}")
    # a kill between the checkpoint of an epoch's end and its row in metrics.csv costs that row
    same_weights(whole, cut)
    assert result_of(cut)["status"] == "completed"
    assert result_of(cut)["metrics"] == result_of(whole)["metrics"]
