"""Read the runs in some folders."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any

from seqmodels.errors import UserError, choices, unusable
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import RunFolder, on_whole_splits
from seqmodels.screen import visible_line

LOSS = "validation/loss"
SPEEDS = ("examples_per_second", "tokens_per_second")
# keys that a completed run's result has besides the keys of every result
COMPLETED: dict[str, type | UnionType] = {
    "data": str,
    "fingerprint": str,
    "head": str,
    "metric": str,
    "parameters": int,
    "seconds.fit": int | float,
    **dict.fromkeys(SPEEDS, int | float | None),
}
LARGEST = 1e100  # of the numbers that a run writes; their squares can still be added
# what the mappings in any result hold
ENTRIES: dict[str, type | UnionType] = {"metrics": int | float, "higher_is_better": bool}


@dataclass(frozen=True)
class Record:
    """What a run folder holds: `result.json`, its configuration and `environment.json`; the last
    two by dotted keys, such as `model.head`."""

    folder: Path
    result: Mapping[str, Any]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def seed(self) -> int:
        return int(self.result["seed"])

    @property
    def completed(self) -> bool:
        return self.result["status"] == "completed"

    def values(self, keys: Iterable[str]) -> tuple[Any, ...]:
        """What the configuration holds at these keys; None where it lacks one."""
        return tuple(self.config.get(key) for key in keys)

    def score(self, metric: str) -> float:
        """The run's value of a metric; nan if it lacks it."""
        return self.result["metrics"].get(metric, math.nan)

    @cached_property
    def validations(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv` that have a validation loss."""
        from seqmodels.runs.metrics_file import read_metrics  # a sweep starts without torch

        return [row for row in read_metrics(RunFolder(self.folder).metrics_file) if LOSS in row]

    @property
    def speed(self) -> str | None:
        """What `per_second` counts: `tokens per second`."""
        known = (name for name in SPEEDS if self.result.get(name) is not None)
        return next((name.replace("_", " ") for name in known), None)

    @property
    def per_second(self) -> float:
        """Examples or tokens per second of training, whichever the task counts."""
        found = (self.result.get(name) for name in SPEEDS)
        return float(next((value for value in found if value is not None), math.nan))

    @property
    def parameters(self) -> int:
        return int(self.result["parameters"])

    @property
    def seconds(self) -> float:
        """Seconds of training; nan for a resumed run, which knows only how long its last stretch
        took."""
        return math.nan if self.result.get("resumed") else float(self.result["seconds"]["fit"])

    def examples(self, split: str) -> int | None:
        """How many examples of a split its metrics are of, if that is known."""
        size = _at(self.result, f"examples.{split}")
        known = isinstance(size, int) and size > 0 and on_whole_splits(self.config)
        return size if known else None


def find_runs(places: Iterable[str]) -> list[Record]:
    """Reads each run once, in the order of its job numbers.

    Args:
        places: run folders, folders at any height above them, or globs of those.

    Raises:
        UserError: if a place holds no run, or a `result.json` is broken or of another version.
    """

    def by_number(file: Path) -> list[tuple[int, str]]:  # job 2 of a sweep before job 10
        return [(int(n or 0), rest) for n, rest in re.findall(r"(\d*)(\D*)", str(file))]

    files: dict[Path, None] = {}
    for place in places:
        with unusable(f"{place} cannot be searched"):  # folders may be nested too deep for Python
            found = [
                file
                for match in sorted(glob.glob(place))  # noqa: PTH207 (Path.glob wants relative ones)
                for file in sorted(Path(match).rglob("result.json"), key=by_number)
            ]
        if not found:
            raise UserError(f"{place}: no run there (no result.json in it, nor in folders below)")
        files |= dict.fromkeys(found)
    return [read_record(RunFolder(file.parent)) for file in files]


def read_record(folder: RunFolder) -> Record:
    """Reads one run; its texts are made visible, because all that is made of them is shown.

    Raises:
        UserError: naming the file that is absent, broken or of another version.
    """
    result = _shown(folder.read_result())
    flat = flattened(result)
    kinds = COMPLETED if result["status"] == "completed" else {}
    wrong = [name for name, kind in kinds.items() if not isinstance(_at(result, name), kind)]
    for name, kind in ENTRIES.items():
        entries = result.get(name, {})
        if isinstance(entries, dict):
            wrong += [f"{name}.{n}" for n, v in entries.items() if not isinstance(v, kind)]
        else:
            wrong.append(name)
    floats = {n: v for n, v in flat.items() if isinstance(v, float) and n[:7] != "config."}
    wrong += [name for name, value in floats.items() if LARGEST < abs(value) < math.inf]
    if wrong:
        raise UserError(
            f"{folder.result_file} is not the result of a run of this version: {wrong[0]} is "
            f"{flat.get(wrong[0])!r:.40}"
        )
    if result["status"] != "completed" and folder.is_training:
        result |= {"status": "running", "error": None}
    environment = flattened(_shown(folder.read_environment()))
    return Record(folder.path, result, flattened(result["config"]), environment)


def _at(value: Any, name: str) -> Any:
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible_line(value)
    if isinstance(value, dict):
        return {visible_line(key): _shown(inner) for key, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


def default_metrics(
    results: Iterable[Mapping[str, Any]], splits: Sequence[str] = ("test", "validation")
) -> list[str]:
    """The metrics to compare these runs by, those of their kinds of target and then the loss, of
    the preferred split first: take the first that a run has."""
    names = dict.fromkeys([*(result.get("metric", "loss") for result in results), "loss"])
    return [f"{split}/{name}" for split in splits for name in names]


def pick_metric(records: Sequence[Record], metric: str | None, splits: Sequence[str]) -> str:
    """The metric to compare by: the given one, or the first of `default_metrics` that a completed
    run has.

    Raises:
        UserError: if no run has it, with the names to choose from.
    """
    results = [record.result for record in records if record.completed]
    names = {name for result in results for name in result["metrics"]}
    if not names:
        raise UserError("none of these runs is completed: there is nothing to compare")
    usual = default_metrics(results, splits)
    metric = metric or next((name for name in usual if name in names), "null")
    if metric not in names:
        raise UserError(f"metric={metric}: {choices(metric, names)}")
    return metric
