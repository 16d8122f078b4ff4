"""Read the runs in some folders."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError, choices, unusable
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.result import Result
from seqmodels.screen import visible_line

LARGEST_SCORE = 1e100  # whose square float64 holds


class Record(Result):
    """What a run folder holds: `result.json`, and the configuration and `environment.json` by
    dotted keys, such as `model.head`."""

    folder: Path
    environment: dict[str, Any]

    def values(self, keys: Iterable[str]) -> tuple[Any, ...]:
        """What the configuration holds at these keys; None where it lacks one."""
        return tuple(self.config.get(key) for key in keys)

    def score(self, metric: str) -> float:
        """The run's value of a metric; nan if it lacks it, or it is too large to compute with, as
        the perplexity of a training that diverged may be."""
        score = self.metrics.get(metric, math.nan)
        return score if abs(score) <= LARGEST_SCORE else math.nan

    @property
    def training_seconds(self) -> float:
        """nan for a resumed run, which knows only how long its last stretch took."""
        return math.nan if self.resumed else self.seconds.get("fit", math.nan)

    def rows(self, split: str) -> int | None:
        """How many examples of a split its metrics are of, if that is known."""
        return self.examples.get(split) if self.whole_splits else None


def find_runs(places: Iterable[str]) -> tuple[list[Record], list[str]]:
    """Reads each run once, in the order of the names of folders, whatever that of `places`. One
    that cannot be read hides no other.

    Args:
        places: run folders, folders at any height above them, or globs of those.

    Returns:
        The runs; and for each folder that cannot be read a line that says why.

    Raises:
        UserError: if a place holds no run, or none can be read.
    """
    records, unreadable = list[Record](), list[str]()
    for folder in run_folders(places):
        try:
            records.append(read_record(folder))
        except UserError as error:
            unreadable.append(visible_line(str(error)))
    if not records:
        raise UserError(unreadable[0])
    return records, unreadable


def run_folders(places: Iterable[str]) -> list[RunFolder]:
    """The folders with a `result.json`, job 2 of a sweep before job 10. Raises a `UserError` if a
    place has none."""

    def by_number(file: Path) -> list[tuple[int, str]]:
        return [(int(n or 0), rest) for n, rest in re.findall(r"(\d*)(\D*)", str(file))]

    files = set[Path]()
    for place in places:
        with unusable(f"{place} cannot be searched"):  # folders may be nested too deep for Python
            given = [place] if Path(place).exists() else glob.glob(place)  # noqa: PTH207 (relative)
            found = [file for match in given for file in Path(match).rglob("result.json")]
        if not found:
            raise UserError(f"{place}: no run there (no result.json in it, nor in folders below)")
        files.update(found)
    return [RunFolder(file.parent) for file in sorted(files, key=by_number)]


def read_record(folder: RunFolder) -> Record:
    """Reads one run; its texts are made visible, because all that is made of them is shown.

    Raises:
        UserError: naming the file that is absent, broken or of another version.
    """
    result, environment = folder.read_result(), folder.read_environment()
    with unusable(f"{folder.path} does not hold the result of a run of this version"):
        content = _shown(result.model_dump())
        if folder.is_training and content["status"] != "completed":
            content |= {"status": "running", "error": None}
        content["config"] = flattened(content["config"])
        flat_environment = flattened(_shown(environment))
        return Record(**content, folder=folder.path, environment=flat_environment)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible_line(value)
    if isinstance(value, dict):
        return {visible_line(key): _shown(inner) for key, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


def default_metrics(
    metrics: Iterable[str], splits: Sequence[str] = ("test", "validation")
) -> list[str]:
    """What to compare runs by, given the metric of each one's kind of target: that, and then the
    loss, of the preferred split first. Take the first that a run has."""
    names = dict.fromkeys([*metrics, "loss"])
    return [f"{split}/{name}" for split in splits for name in names]


def pick_metric(records: Sequence[Record], metric: str | None, splits: Sequence[str]) -> str:
    """The metric to compare by: the given one, or the first of `default_metrics` that a completed
    run has.

    Raises:
        UserError: if no run has it, with the names to choose from.
    """
    completed = [record for record in records if record.completed]
    names = {name for record in completed for name in record.metrics}
    if not names:
        raise UserError("none of these runs is completed: there is nothing to compare")
    usual = default_metrics((record.metric for record in completed), splits)
    metric = metric or next((name for name in usual if name in names), "null")
    if metric not in names:
        raise UserError(f"metric={metric}: {choices(metric, names)}")
    return metric
