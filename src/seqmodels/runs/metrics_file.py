"""Read `metrics.csv`: metrics by step and by epoch."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from seqmodels.errors import UserError, one_line
from seqmodels.plain import read_bytes

LONGEST = 100  # characters of a number


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`, without their empty cells; none where there is no file."""
    try:
        return [{name: float(text) for name, text in row.items()} for row in read_rows(path)]
    except ValueError as error:
        raise UserError(f"{path} is not the metrics of a run: {one_line(error)}") from error


def read_rows(path: Path) -> list[dict[str, str]]:
    """The same as text."""
    if not path.is_file():
        return []
    rows = []
    try:
        for row in csv.DictReader(io.StringIO(read_bytes(path).decode(), newline="")):
            rows.append({name: text for name, text in row.items() if text})
            if not {"epoch", "step"} <= rows[-1].keys() or None in row:
                raise ValueError(f"row {len(rows)} has no epoch and step, or more than its header")
            if any(len(text) > LONGEST for text in rows[-1].values()):
                raise ValueError(f"row {len(rows)} has a number of more than {LONGEST} characters")
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not the metrics of a run: {one_line(error)}") from error
    return rows
