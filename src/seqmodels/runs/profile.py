"""`profile.txt`: where the time of a run goes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from rich.table import Table

from seqmodels.files import write_text
from seqmodels.runs.folder import RunFolder
from seqmodels.screen import Screen

LINES = 20  # to print; the file holds all


@contextmanager
def profile_file(folder: RunFolder, console: Screen) -> Iterator[None]:
    """Writes what `trainer.profiler` reports of training, validation and test to `profile.txt` at
    the end, and prints the beginning of the last report, which holds what takes longest.

    Lightning itself writes a file for each of the three, and its lines of 200 characters wrap on a
    screen.
    """
    logger = logging.getLogger("lightning.pytorch.profilers.profiler")  # Lightning logs the reports
    level, propagates = logger.level, logger.propagate
    reports = _Reports()
    logger.addHandler(reports)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(reports)
        logger.setLevel(level)
        logger.propagate = propagates
        if reports.texts:
            write_text(folder.profile, "\n".join(reports.texts))
            _print(reports.texts[-1], console)
            console.print(f"profile: {folder.profile}", soft_wrap=True)


class _Reports(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _print(report: str, console: Screen) -> None:
    lines = report.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    if not rows:  # of another profiler than `simple`
        console.print("\n".join(lines[:LINES]))
        return
    table = Table(title=lines[0])
    for number, name in enumerate(rows[0]):
        table.add_column(name, overflow="fold", justify="right" if number else "left")
    for action, *numbers in rows[1 : LINES + 1]:
        table.add_row(re.sub(r"{.*?}", "", action), *numbers)  # the options of a checkpoint
    console.print(table)
