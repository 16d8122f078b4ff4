"""What `predictions.csv` holds, and the mean of its losses."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Its rows; a cell that is JSON is read as such."""
    with file.open(newline="", encoding="utf-8") as table:
        rows = [*csv.DictReader(table)]
    assert [int(row["row"]) for row in rows] == sorted({int(row["row"]) for row in rows})
    return [{name: _value(cell) for name, cell in row.items()} for row in rows]


def _value(cell: str) -> Any:
    try:
        return json.loads(cell) if cell else None
    except json.JSONDecodeError:
        return cell


def mean_loss(rows: Iterable[dict[str, Any]], counts: Iterable[float]) -> float:
    """Over all targets, of which each row has so many."""
    pairs = [(row["loss"], n) for row, n in zip(rows, counts, strict=True) if n]
    losses, weights = zip(*pairs, strict=True)
    return float(np.average(losses, weights=weights))


def table_of(file: Path) -> list[list[str]]:
    """The rows of another table, without the names of its columns."""
    with file.open(newline="", encoding="utf-8") as table:
        return [*csv.reader(table)][1:]
