"""Read the runs in some folders."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from seqmodels.errors import UserError, choices, unusable
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import RunFolder, on_whole_splits
from seqmodels.screen import visible_line

# what a run that failed may not have come to know
UNKNOWN = {"data": "", "fingerprint": "", "metric": "", "parameters": 0, "seconds": {}}


class Record(BaseModel):
    """What a run folder holds: `result.json`, its configuration and `environment.json`; the last
    two by dotted keys, such as `model.head`."""

    model_config = ConfigDict(strict=True, frozen=True)

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    status: str
    error: str | None = None
    seed: int
    data: str
    fingerprint: str
    metric: str  # to compare it by
    metrics: dict[str, float]
    higher_is_better: dict[str, bool] = {}
    parameters: int
    examples: dict[str, int] = {}
    seconds: dict[str, float]
    resumed: list[Any] = []
    examples_per_second: float | None = None
    tokens_per_second: float | None = None

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    def values(self, keys: Iterable[str]) -> tuple[Any, ...]:
        """What the configuration holds at these keys; None where it lacks one."""
        return tuple(self.config.get(key) for key in keys)

    def score(self, metric: str) -> float:
        """The run's value of a metric; nan if it lacks it."""
        return self.metrics.get(metric, math.nan)

    @property
    def speed(self) -> tuple[str, float]:
        """Examples or tokens, whichever the task counts, and how many of them in a second of
        training; nan if that is unknown."""
        if self.tokens_per_second is not None:
            return "tokens", self.tokens_per_second
        known = self.examples_per_second
        return "examples", math.nan if known is None else known

    @property
    def training_seconds(self) -> float:
        """nan for a resumed run, which knows only how long its last stretch took."""
        return math.nan if self.resumed else self.seconds.get("fit", math.nan)

    def rows(self, split: str) -> int | None:
        """How many examples of a split its metrics are of, if that is known."""
        return self.examples.get(split) if on_whole_splits(self.config) else None


def find_runs(places: Iterable[str]) -> list[Record]:
    """Reads each run once, in the order of the names of folders, whatever that of `places`.

    Args:
        places: run folders, folders at any height above them, or globs of those.

    Raises:
        UserError: if a place holds no run, or a `result.json` is broken or of another version.
    """

    def by_number(file: Path) -> list[tuple[int, str]]:  # job 2 of a sweep before job 10
        return [(int(n or 0), rest) for n, rest in re.findall(r"(\d*)(\D*)", str(file))]

    files = set[Path]()
    for place in places:
        with unusable(f"{place} cannot be searched"):  # folders may be nested too deep for Python
            given = [place] if Path(place).exists() else glob.glob(place)  # noqa: PTH207 (relative)
            matches = map(Path, given)
            found = [file for match in matches for file in match.rglob("result.json")]
        if not found:
            raise UserError(f"{place}: no run there (no result.json in it, nor in folders below)")
        files.update(found)
    return [read_record(RunFolder(file.parent)) for file in sorted(files, key=by_number)]


def read_record(folder: RunFolder) -> Record:
    """Reads one run; its texts are made visible, because all that is made of them is shown.

    Raises:
        UserError: naming the file that is absent, broken or of another version.
    """
    result = _shown(folder.read_result())
    found = {"folder": folder.path, "config": flattened(result["config"])}
    found["environment"] = flattened(_shown(folder.read_environment()))
    if result["status"] != "completed":
        result = {**UNKNOWN, **result}
        if folder.is_training:
            result |= {"status": "running", "error": None}
    try:
        return Record.model_validate({**result, **found})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UserError(
            f"{folder.result_file} is not the result of a run of this version: "
            f"{'.'.join(map(str, wrong['loc']))} is "
            + ("missing" if wrong["type"] == "missing" else f"{wrong['input']!r:.40}")
        ) from None


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
