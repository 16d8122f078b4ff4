"""Signals that end a run or a sweep: Ctrl-C, SIGTERM, SIGHUP, and Slurm's warning, SIGUSR1."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import NoReturn

# Slurm sends its warning (`--signal=USR1@90`) some seconds before it ends a job. Windows has
# neither this nor SIGHUP.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in NAMES if hasattr(signal, name)
)
# Whether signals are somebody else's, who runs this code in a process of theirs.
left_alone: ContextVar[bool] = ContextVar("left_alone", default=False)


class Interrupted(BaseException):
    """A signal ended the training."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signal.Signals(signum)


def interrupt(signum: int, frame: FrameType | None = None) -> NoReturn:
    """A signal handler that raises `Interrupted`."""
    raise Interrupted(signum)


@contextmanager
def handling_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within: `handler` handles the signals. Not if they are `left_alone`, and not outside of the
    main thread, where Python allows no handlers."""
    if left_alone.get() or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handlers = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous_handler in previous_handlers.items():
            signal.signal(number, previous_handler)
