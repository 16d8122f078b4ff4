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
    order, in the folder of the sweep. Columns before theirs tell the runs apart: `fold`, `seed` if
    there are several, and the keys of the configuration that differ. Returns the table's path; None
    for a sweep without several folds."""
    records, _ = find_runs([str(folder)])
    runs = [run for run in records if _has_predictions(run)]
    folds = {run.config[FOLD] for run in runs}
    if len(folds) < 2:
        return None
    keys = varied_keys(varied_columns(runs))
    has_several_seeds = len({run.seed for run in runs}) > 1
    rows = list[dict[str, Any]]()
    for run in runs:
        cells_of_run = {"fold": run.config[FOLD]}
        if has_several_seeds:
            cells_of_run["seed"] = run.seed
        for key in keys:
            cells_of_run[key] = run.config.get(key)
        rows += [{**cells_of_run, **row} for row in _rows(run)]

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        setting = [str(row[key]) for key in keys]
        return setting, row.get("seed", 0), _source_row(row)

    rows.sort(key=order)
    columns = dict.fromkeys(column for row in rows for column in row)
    write_table(folder / TABLE, columns, rows)
    return folder / TABLE


def _has_predictions(run: Record) -> bool:
    is_fold = run.config.get("data.folds") is not None and FOLD in run.config
    return run.completed and is_fold and (run.folder / TABLE).is_file()


def _rows(run: Record) -> Sequence[dict[str, str]]:
    """The rows of a run's predictions, without their number, which counts within the fold."""
    with (run.folder / TABLE).open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    for row in rows:
        row.pop("row", None)
    return rows


def _source_row(row: dict[str, Any]) -> int:
    """The number of a prediction's row in the file of examples."""
    return int(row.get("source_row") or 0)
