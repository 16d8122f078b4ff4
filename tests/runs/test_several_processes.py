"""Several processes end as one, by a signal or when one of them is killed, and are resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from seqmodels.runs.folder import RunFolder
from tests.conftest import Script, command, result_of
from tests.runs.resumed import OWN, same_weights

TWO = (*OWN, "trainer=ddp_sim", "trainer.max_epochs=40")


@dataclass
class Running:
    """A training in two processes, in a folder of its own."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def ranks(self) -> list[int]:
        """The numbers of both processes."""
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        started = [int(n) for n in found if b"train.py" in Path(f"/proc/{n}/cmdline").read_bytes()]
        return [pid, *started]

    def wait_for(self, name: str) -> None:
        """Until it has saved this checkpoint."""
        deadline = time.monotonic() + 200
        while not (self.folder / "checkpoints" / f"{name}.ckpt").is_file():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.02)

    def end(self) -> subprocess.CompletedProcess[str]:
        """Waits for its end, which a lost process must not delay."""
        stdout, stderr = self.process.communicate(timeout=60)
        return subprocess.CompletedProcess([], self.process.returncode, stdout, stderr)

    @property
    def status(self) -> str:
        return result_of(self.folder)["status"]


@contextmanager
def running(folder: Path, *more: str) -> Iterator[Running]:
    process = subprocess.Popen(
        command("train.py", *TWO, f"hydra.run.dir={folder}", *more),
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Running(process, folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(processes: list[int]) -> bool:
    """Whether all of them end in a few seconds."""
    deadline = time.monotonic() + 20
    while any(map(is_alive, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "number"),
    [
        (1, signal.SIGTERM),
        pytest.param(0, signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(0, signal.SIGINT, marks=pytest.mark.long),
        pytest.param(1, signal.SIGUSR1, marks=pytest.mark.long),
    ],
)
def test_a_signal_to_one_of_them_saves_and_ends_all(
    tmp_path: Path, rank: int, number: signal.Signals
) -> None:
    with running(tmp_path / "run") as run:
        run.wait_for("previous")
        ranks = run.ranks
        os.kill(ranks[rank], number)
        done = run.end()
        assert gone(ranks)
    # Lightning's observer, which looks every 5 seconds, may see the other one's end in between
    assert done.returncode in (128 + number, -signal.SIGKILL) and done.stderr == ""
    assert f"interrupted by {number.name}; saved after step" in done.stdout
    assert run.status == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda ranks: os.kill(ranks[1], signal.SIGKILL), id="the second killed"),
        pytest.param(
            lambda ranks: os.kill(ranks[0], signal.SIGKILL),
            id="the first killed",
            marks=pytest.mark.long,
        ),
        pytest.param(
            lambda ranks: os.killpg(ranks[0], signal.SIGKILL),
            id="both killed",
            marks=pytest.mark.long,
        ),
        pytest.param(
            lambda ranks: os.kill(ranks[1], signal.SIGTERM), id="a signal", marks=pytest.mark.long
        ),
    ],
)
def test_they_end_in_a_minute_and_are_resumed_bit_for_bit(
    process: Script, tmp_path: Path, end: Callable[[list[int]], None]
) -> None:
    process("train.py", *TWO, f"hydra.run.dir={tmp_path / 'whole'}")
    with running(tmp_path / "cut") as run:
        run.wait_for("previous")
        ranks = run.ranks
        assert len(ranks) == 2
        end(ranks)
        run.end()
        assert gone(ranks)
    assert run.status in ("failed", "interrupted")
    assert not RunFolder(run.folder).is_training
    process("train.py", f"resume={run.folder}")
    # a kill between the checkpoint of an epoch's end and its row in metrics.csv costs that row
    same_weights(tmp_path / "whole", run.folder)
    whole, cut = result_of(tmp_path / "whole"), result_of(run.folder)
    assert cut["status"] == "completed" and cut["metrics"] == whole["metrics"]
