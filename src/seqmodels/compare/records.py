"""Read the runs in some folders."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError, choices
from seqmodels.runs.folder import RunFolder

DEFAULT_METRICS = tuple(
    f"{split}/{name}"
    for split in ("test", "validation")
    for name in ("accuracy", "bits_per_byte", "loss")
)
# what the result of a completed run holds besides
COMPLETED = {"data": str, "fingerprint": str, "head": str, "parameters": int, "seconds": Mapping}


@dataclass(frozen=True)
class Record:
    """What the folder of one run says about it.

    Args:
        folder: the run folder.
        result: the content of `result.json`.
        config: its configuration by dotted keys, such as `model.head`.
        environment: the content of `environment.json` by dotted keys; empty without that file.
    """

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

    @property
    def per_second(self) -> float:
        """Examples or tokens per second of training, whichever the task counts."""
        return next(v for name, v in self.result.items() if name.endswith("_per_second"))


def find_runs(places: Iterable[str]) -> list[Record]:
    """Reads each run once, in the order of its job numbers.

    Args:
        places: run folders, folders at any height above them, or globs of those.

    Raises:
        UserError: if a place holds no run, or a `result.json` is broken or of another version.
    """
    files: dict[Path, None] = {}
    for place in places:
        found = [
            file
            for match in sorted(glob.glob(place))  # noqa: PTH207 (Path.glob refuses absolute ones)
            for file in sorted(Path(match).rglob("result.json"), key=_by_number)
        ]
        if not found:
            raise UserError(f"{place}: no run there (no result.json in it, nor in folders below)")
        files |= dict.fromkeys(found)
    return [read_record(file.parent) for file in files]


def _by_number(file: Path) -> list[tuple[int, str]]:
    # job 2 of a sweep before job 10
    return [(int(n or 0), rest) for n, rest in re.findall(r"(\d*)(\D*)", str(file))]


def read_record(folder: Path) -> Record:
    """Reads `result.json` and, where there is one, `environment.json`.

    Raises:
        UserError: naming the file, if it is absent, not JSON, or not what a run of this version
            writes.
    """
    files = RunFolder(folder)
    result, environment = files.read_result(), files.read_environment()
    if problem := _problem(result):
        raise UserError(
            f"{files.result_file} is not the result of a run of this version: {problem}"
        )
    return Record(folder, result, flattened(result["config"]), flattened(environment))


def _problem(result: Mapping[str, Any]) -> str:
    """What keeps a result from being compared; empty if nothing does."""
    if result["status"] == "completed":
        for name, kind in COMPLETED.items():
            if not isinstance(result.get(name), kind):
                return f"{name} is {result.get(name)!r:.40}"
        if not any(name.endswith("_per_second") for name in result):
            return "it has no examples_per_second or tokens_per_second"
        if "fit" not in result["seconds"]:
            return "seconds has no fit"
    if not all(isinstance(value, int | float) for value in result["metrics"].values()):
        return "metrics holds something other than numbers"
    directions = result.get("higher_is_better", {})
    if not isinstance(directions, Mapping) or not all(
        isinstance(higher_is_better, bool) for higher_is_better in directions.values()
    ):
        return "higher_is_better holds something other than true and false"
    return ""


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"head": "max_pool"}}` as `{"model.head": "max_pool"}`; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def pick_metric(records: Sequence[Record], metric: str | None) -> str:
    """The metric to compare by.

    Args:
        metric: its name; None for the first of `DEFAULT_METRICS` that a completed run has.

    Raises:
        UserError: if no run has it, with the names to choose from.
    """
    names = {n for record in records if record.completed for n in record.result["metrics"]}
    if metric is None:
        metric = next((name for name in DEFAULT_METRICS if name in names), None)
    if metric is None or metric not in names:
        if not names:
            raise UserError("none of these runs is completed: there is nothing to compare")
        raise UserError(f"metric={metric}: {choices(str(metric), names)}")
    return metric
