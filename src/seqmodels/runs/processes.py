"""Several processes: when one is lost, all of them end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.strategies.launchers import subprocess_script

from seqmodels.errors import UserError
from seqmodels.interruption import SIGNALS, Interrupted
from seqmodels.runs.folder import RunFolder

PARENT = "SEQMODELS_PARENT"  # in the environment of the processes that the first one started
# seconds in which a process can end by itself; one that waits for a lost one may do so for ever
GRACE = 5.0


@contextmanager
def together(trainer: pl.Trainer, folder: RunFolder, result: dict[str, Any]) -> Iterator[None]:
    """Within: if one of the processes is lost, this one ends too, even while it waits for it.

    Args:
        folder, result: where to record which process was lost.

    Raises:
        UserError, Interrupted: in the first process, if another one has ended before it.
    """
    launcher: Any = trainer.strategy.launcher
    environment = getattr(launcher, "cluster_environment", None)
    if trainer.world_size == 1 or environment is None:
        yield
    elif not environment.creates_processes_externally:
        os.environ[PARENT] = str(os.getpid())
        with _unobserved(), _Children(launcher, folder, result).watched():
            yield
    elif trainer.local_rank and PARENT in os.environ:
        with _watched_parent(int(os.environ[PARENT]), trainer, folder):
            yield
    else:  # torchrun or Slurm started it, and ends it
        yield


@contextmanager
def _unobserved() -> Iterator[None]:
    """Within: Lightning's observer, which ends the first process by SIGKILL if another ends, does
    not start; it has no setting. The first process is to record what happened, and to say it."""
    observe = subprocess_script._launch_process_observer
    subprocess_script._launch_process_observer = lambda child_processes: None
    try:
        yield
    finally:
        subprocess_script._launch_process_observer = observe


class _Children:
    def __init__(self, launcher: Any, folder: RunFolder, result: dict[str, Any]) -> None:
        self.launcher, self.folder, self.result = launcher, folder, result
        self.ended = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        threading.Thread(target=self._watch, daemon=True).start()
        grace = 0.0
        try:
            yield
            grace = 60.0
        except Interrupted:
            grace = GRACE  # they end by the same signal
            raise
        except RuntimeError as error:  # perhaps of a connection to a process that was killed
            if lost := self.lost(seconds=2.0):
                raise lost from error
            raise
        finally:
            self.ended.set()
            self._end(grace)

    def lost(self, seconds: float = 0.0) -> UserError | Interrupted | None:
        """How a process that failed has ended; None if none fails within these seconds."""
        deadline = time.monotonic() + seconds
        while True:
            for number, process in enumerate(self.launcher.procs, start=1):
                if code := process.poll():
                    return self._how(number, code)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)

    def _how(self, number: int, code: int) -> UserError | Interrupted:
        signum = -code if code < 0 else code - 128
        if signum in SIGNALS:
            return Interrupted(signum)
        end = f"exit status {code}" if code > 0 else signal.Signals(signum).name
        short = " (is the memory too small?)" if signum == signal.SIGKILL else ""
        return UserError(
            f"process {number} of {len(self.launcher.procs) + 1} has ended by {end}{short}"
        )

    def _watch(self) -> None:
        lost = None
        while not lost:
            if self.ended.wait(0.5):
                return
            lost = self.lost()
        if self.ended.wait(GRACE):
            return
        # the main thread waits for the lost process
        self._end(0.0)
        if isinstance(lost, Interrupted):
            _say(f"interrupted by {lost.name}", self.folder)
            os._exit(128 + lost.signum)
        if self.folder.result_file.is_file():
            with suppress(UserError):
                self.folder.write_result(self.result | {"status": "failed", "error": str(lost)})
        _say(f"error: {lost}", self.folder)
        os._exit(2)

    def _end(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        for process in self.launcher.procs:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            if process.poll() is None:
                process.kill()


@contextmanager
def _watched_parent(parent: int, trainer: pl.Trainer, folder: RunFolder) -> Iterator[None]:
    ended = threading.Event()

    def watch() -> None:
        while os.getppid() == parent:
            if ended.wait(0.5):
                return
        if trainer.local_rank == 1:  # one line, not one a process
            _say(f"error: process 0 of {trainer.world_size} has ended", folder)
        os._exit(2)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception:
        time.sleep(GRACE)  # the first process has failed too, says why, and ends this one
        raise
    finally:
        ended.set()


def _say(what: str, folder: RunFolder) -> None:
    sys.stderr.write(f"{what}; {folder.how_to_resume()}\n")
    sys.stderr.flush()
