"""Read the runs in some folders."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

from seqmodels.errors import UserError, choices
from seqmodels.files import flattened
from seqmodels.runs.folder import RunFolder

DEFAULT_METRICS = tuple(
    f"{split}/{name}"
    for split in ("test", "validation")
    for name in ("accuracy", "bits_per_byte", "loss")
)
# what the result of a completed run holds, besides what every result holds
COMPLETED: dict[str, type | UnionType] = {
    "data": str,
    "fingerprint": str,
    "head": str,
    "parameters": int,
    "seconds.fit": int | float,
}
# what the other keys of any result begin with
ENTRIES = (("metrics.", int | float), ("higher_is_better.", bool))


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
        """nan if it lacks the metric."""
        return self.result["metrics"].get(metric, math.nan)

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

    def by_number(file: Path) -> list[tuple[int, str]]:  # job 2 of a sweep before job 10
        return [(int(n or 0), rest) for n, rest in re.findall(r"(\d*)(\D*)", str(file))]

    files: dict[Path, None] = {}
    for place in places:
        found = [
            file
            for match in sorted(glob.glob(place))  # noqa: PTH207 (Path.glob refuses absolute ones)
            for file in sorted(Path(match).rglob("result.json"), key=by_number)
        ]
        if not found:
            raise UserError(f"{place}: no run there (no result.json in it, nor in folders below)")
        files |= dict.fromkeys(found)
    return [read_record(RunFolder(file.parent)) for file in files]


def read_record(folder: RunFolder) -> Record:
    """Raises a UserError that names the file that is absent, broken or of another version."""
    result = folder.read_result()
    flat = flattened(result)
    needed = COMPLETED if result["status"] == "completed" else {}
    wrong = [name for name, kind in needed.items() if not isinstance(flat.get(name), kind)]
    for prefix, kind in ENTRIES:
        wrong += [n for n, v in flat.items() if n.startswith(prefix) and not isinstance(v, kind)]
    if needed and not any(name.endswith("_per_second") for name in result):
        wrong.append("examples_per_second or tokens_per_second")
    if wrong:
        raise UserError(
            f"{folder.result_file} is not the result of a run of this version: {wrong[0]} is "
            f"{flat.get(wrong[0])!r:.40}"
        )
    return Record(
        folder.path, result, flattened(result["config"]), flattened(folder.read_environment())
    )


def pick_metric(records: Sequence[Record], metric: str | None) -> str:
    """The metric to compare by: the given one, or the first of `DEFAULT_METRICS` that a completed
    run has.

    Raises:
        UserError: if no run has it, with the names to choose from.
    """
    names = {n for record in records if record.completed for n in record.result["metrics"]}
    if not names:
        raise UserError("none of these runs is completed: there is nothing to compare")
    metric = metric or next((name for name in DEFAULT_METRICS if name in names), "null")
    if metric not in names:
        raise UserError(f"metric={metric}: {choices(metric, names)}")
    return metric
