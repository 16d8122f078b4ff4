"""Signals that end a run or a sweep: Ctrl-C, SIGTERM, SIGHUP, and Slurm's warning, SIGUSR1."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

# Slurm sends its warning (`--signal=USR1@90`) some seconds before it ends a job
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Interrupted(BaseException):
    """A signal ended the training.

    Args:
        signum: of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def name(self) -> str:
        """`SIGTERM`"""
        return signal.Signals(self.signum).name


class Pruned(BaseException):
    """A pruner ended the training, because others are better at this point of theirs."""


def interrupt(signum: int, frame: FrameType | None = None) -> NoReturn:
    """A signal handler that raises `Interrupted`."""
    raise Interrupted(signum)


@contextmanager
def handling_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within: `handler` handles the signals. Not outside of the main thread, where Python allows
    no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def keeping_interruptions() -> Iterator[None]:
    """Within: what a signal raises is raised once more at the end. An import may lose it, or make
    another error of it: torch imports numpy in C++, which clears every error."""
    raised: list[BaseException] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        try:
            before[signum](signum, frame)
        except BaseException as error:
            raised.append(error)
            raise

    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if callable(handler := signal.getsignal(number)):
                before[number] = handler
                signal.signal(number, handle)
    try:
        yield
    finally:
        for signum, earlier in before.items():
            if signal.getsignal(signum) is handle:  # a sweep that is ended changes its own
                signal.signal(signum, earlier)
        if raised:
            raise raised[0]
