"""Out-of-fold predictions: those of all folds of a sweep in one table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqmodels.compare.runs import Record, find_runs, varied_columns, varied_keys
from seqmodels.files import write_table

FOLD = "data.fold"
TABLE = "predictions.csv"


def write_fold_predictions(folder: Path) -> Path | None:
    """Joins the `predictions.csv` of a sweep's folds into one of all rows of the file, in its
    order, in the folder of the sweep; with `fold`, with `seed` if there are several, and with what
    else tells the runs apart. Returns its path; None for a sweep that has no several folds."""
    records, _ = find_runs([str(folder)])
    runs = [run for run in records if _has_predictions(run)]
    if len({run.config[FOLD] for run in runs}) < 2:
        return None
    names = [*varied_keys(varied_columns(runs))]
    has_several_seeds = len({run.seed for run in runs}) > 1
    rows = list[dict[str, Any]]()
    for run in runs:
        which_run = {"fold": run.config[FOLD]}
        if has_several_seeds:
            which_run["seed"] = run.seed
        which_run |= {name: run.config.get(name) for name in names}
        rows += [{**which_run, **row} for row in _rows(run)]
    rows.sort(
        key=lambda row: [*(str(row[name]) for name in names), row.get("seed", 0), _place(row)]
    )
    columns = dict.fromkeys(column for row in rows for column in row)
    write_table(folder / TABLE, columns, rows)
    return folder / TABLE


def _has_predictions(run: Record) -> bool:
    is_fold = run.config.get("data.folds") is not None and FOLD in run.config
    return run.completed and is_fold and (run.folder / TABLE).is_file()


def _rows(run: Record) -> Sequence[dict[str, str]]:
    with (run.folder / TABLE).open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    for row in rows:
        row.pop("row", None)  # counts within the fold
    return rows


def _place(row: dict[str, Any]) -> int:
    return int(row.get("source_row") or 0)
