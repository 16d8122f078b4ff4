"""`profile.txt`: where the time of a run goes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from rich.table import Table

from seqmodels.files import write_text
from seqmodels.runs.folder import RunFolder
from seqmodels.screen import Screen

LINES = 20  # to print; the file holds all


@contextmanager
def profile_file(trainer: pl.Trainer, folder: RunFolder, console: Screen) -> Iterator[None]:
    """Writes what `trainer.profiler` reports of training, validation and test to `profile.txt` at
    the end, and prints the beginning of the last report, which holds what takes longest.

    Lightning itself writes a file for each of the three, and its lines of 200 characters wrap on a
    screen.
    """
    profiler: Any = trainer.profiler  # type: ignore[attr-defined]
    describe, reports = profiler.describe, list[str]()

    def keep() -> None:
        if report := profiler.summary():
            reports.append(report)
        describe()

    profiler.describe = keep
    try:
        yield
    finally:
        profiler.describe = describe
        if trainer.is_global_zero and reports:
            write_text(folder.profile, "\n".join(reports))
            _print(reports[-1], console)
            console.print(f"profile: {folder.profile}", soft_wrap=True)


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
