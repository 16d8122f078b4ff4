"""`metrics.csv`: one row per epoch, kept when a run is resumed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.errors import UserError, one_line
from seqmodels.files import write_text
from seqmodels.plain import read_bytes


class MetricsFile(Logger):
    """Writes what is logged to `folder/metrics.csv`, one row per epoch and step. Epochs count from
    0, as everywhere in Lightning: on the progress bar, in figures, in every logger.

    Lightning's own CSVLogger deletes an existing file. This one appends to it, and an epoch that is
    trained again after a resume replaces its row.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}
        self._changed = self._finished = False
        for row in read_rows(self.path):  # as they are, so that a resume changes no digit of them
            self.rows[int(row["epoch"]), int(row["step"])] = row

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def log_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self._finished:  # tests after the training are in result.json
            return
        key = (int(metrics.get("epoch", 0)), int(step or 0))
        for later in [other for other in self.rows if other > key]:
            del self.rows[later]  # of a training that was killed, and is resumed from before it
        row = self.rows.setdefault(key, {"epoch": key[0], "step": key[1]})
        row.update((name, value) for name, value in metrics.items() if name != "epoch")
        self._changed = True

    @rank_zero_only
    def save(self) -> None:
        if not self._changed:
            return
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        file = io.StringIO()
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(self.rows[key] for key in sorted(self.rows))
        write_text(self.path, file.getvalue())
        self._changed = False

    def finalize(self, status: str) -> None:
        self.save()
        self._finished = True


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
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not the metrics of a run: {one_line(error)}") from error
    return rows
