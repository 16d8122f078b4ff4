"""Show that a long piece of work goes on: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress

from seqmodels.screen import Screen

SECONDS = 20.0  # from one line to the next; a step may come between
MANY = 10_000  # the least amount of work to show


@contextmanager
def working(title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Within: shows on standard error how far the work is. It gives a function to call with the
    amount that was done since its last call.

    Args:
        title: what is done, such as `encoding train`.
        total: the amount of work, in any unit; None if it is unknown. Less than `MANY` is not
            shown.
    """
    if total is not None and total < MANY:
        yield lambda amount: None
        return
    if sys.stderr.isatty():
        with Progress(console=Screen(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda amount: bar.advance(task, amount)
        return
    done, started, ended = 0, time.monotonic(), threading.Event()

    def advance(amount: int) -> None:
        nonlocal done
        done += amount

    def say() -> None:  # a thread, because the work may be one long call of a library
        while not ended.wait(SECONDS):
            taken = time.monotonic() - started
            Screen(stderr=True).print(f"{title}: {_how_far(done, total, taken)}", soft_wrap=True)

    threading.Thread(target=say, daemon=True).start()
    try:
        yield advance
    finally:
        ended.set()


def _how_far(done: int, total: int | None, taken: float) -> str:
    if not total or not 0 < done < total:
        return f"{duration(taken)} so far"
    return f"{done / total:.0%}, about {duration(taken * (total - done) / done)} left"


def duration(seconds: int | float) -> str:
    """`40 s`, `12 min` or `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
