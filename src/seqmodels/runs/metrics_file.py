"""Read `metrics.csv`: metrics by step and by epoch. However long it is, it is read row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqmodels.errors import refusing
from seqmodels.plain_values import opened

LONGEST = 100  # characters of a number
LONGEST_LINE = 1 << 20  # bytes
MOST = 100_000  # rows in memory


def read_metrics(path: Path, most: int = MOST) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`, without their empty cells; none where there is no file.

    Of more than `most` rows, it takes every second, fourth and so on; it keeps all rows with a
    validation as long as they are at most half of `most`.
    """
    rows: dict[int, dict[str, float]] = {}
    every, spared = 1, True  # which rows are kept; whether validations all are
    for number, row in enumerate(read_rows(path)):
        if number % every == 0 or (spared and _validated(row)):
            rows[number] = {name: float(text) for name, text in row.items()}
        if len(rows) > most:
            every *= 2
            spared = 2 * sum(map(_validated, rows.values())) <= most
            kept = (n for n, row in rows.items() if n % every == 0 or (spared and _validated(row)))
            rows = {n: rows[n] for n in kept}
    return [*rows.values()]


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows as text, one after the other.

    Raises:
        UserError: if they are not the metrics of a run.
    """
    with refusing(f"{path} is not the metrics of a run", ValueError, csv.Error):
        for number, row in enumerate(csv.DictReader(_lines(path)), 1):
            texts = {name: text for name, text in row.items() if text}
            if not {"epoch", "step"} <= texts.keys() or None in texts:
                raise ValueError(f"row {number} has no epoch and step, or more than its header")
            if any(len(text) > LONGEST for text in texts.values()):
                raise ValueError(f"row {number} has a number of more than {LONGEST} characters")
            int(texts["step"]), [*map(float, texts.values())]
            yield texts


def read_names(path: Path) -> list[str]:
    """The names of the columns."""
    return next(csv.reader(_lines(path)), [])


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    with opened(path) as file:
        while (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
            yield line.decode()
    if len(line) == LONGEST_LINE:  # a shorter one was cut off as its training was killed
        raise ValueError(f"a line has more than {LONGEST_LINE:,} bytes")


def _validated(row: Mapping[str, str | float]) -> bool:
    return "validation/loss" in row
