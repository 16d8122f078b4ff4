"""The runs in some folders, grouped by what their configurations say differently."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError, choices

DEFAULT_METRICS = tuple(
    f"{part}/{name}"
    for part in ("test", "validation")
    for name in ("accuracy", "bits_per_byte", "loss")
)
# how a run is run, and not what it is
NO_SETTING = ("folder", "resume", "baseline", "sweep.", "imports")
FIRST_KEYS = ("model.head", "model.encoder.cell", "model.encoder.num_layers")


@dataclass(frozen=True)
class Record:
    """One run as its folder tells it: `result.json`, with its configuration by dotted keys, and
    `environment.json`, likewise."""

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


def find_runs(places: Iterable[str]) -> list[Record]:
    """The runs in folders, in folders of folders, and in what globs match.

    Raises:
        UserError: if a place holds no run, or a run is not one of this version.
    """
    files: dict[Path, None] = {}
    for place in places:
        found = [
            file
            for match in sorted(glob.glob(place))  # noqa: PTH207 (absolute ones as well)
            for file in sorted(Path(match).rglob("result.json"), key=_by_number)
        ]
        if not found:
            raise UserError(f"{place}: no run there (no result.json in it, nor in folders below)")
        files |= dict.fromkeys(found)
    return [_read(file) for file in files]


def _by_number(file: Path) -> list[tuple[int, str]]:
    # job 2 of a sweep before job 10
    return [(int(n or 0), rest) for n, rest in re.findall(r"(\d*)(\D*)", str(file))]


def _read(file: Path) -> Record:
    try:
        result = json.loads(file.read_text())
        config = flattened(result["config"])
        surroundings = file.with_name("environment.json")  # a run that failed early has none
        environment = (
            flattened(json.loads(surroundings.read_text())) if surroundings.is_file() else {}
        )
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"{file} is not the result of a run of this version ({type(error).__name__}: {error})"
        ) from error
    return Record(file.parent, result, config, environment)


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"head": "max_pool"}}` as `{"model.head": "max_pool"}`; lists as they are."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def varied_keys(records: Sequence[Record]) -> list[str]:
    """The fewest keys that tell the settings apart, as far as the seed does not.

    Left out is what is the same in all runs, what is the seed or the run's folder by another name,
    and what follows from the keys before it (as the optimiser does from the experiment).
    """
    names = dict.fromkeys(
        key for record in records for key in record.config if not key.startswith(NO_SETTING)
    )
    columns: dict[str, list[str]] = {}
    for name in names:
        values = [record.config.get(name) for record in records]
        if all(value == values[0] for value in values[1:]):
            continue
        if all(value == record.seed for value, record in zip(values, records, strict=True)):
            continue
        folders = [str(record.config.get("folder")) for record in records]
        if all(str(v).startswith(f) for v, f in zip(values, folders, strict=True)):
            continue
        columns[name] = [json.dumps(value, sort_keys=True) for value in values]
    first = {key: number for number, key in enumerate(FIRST_KEYS)}
    order = sorted(columns, key=lambda key: (first.get(key, len(first)), key.count("."), key))
    kept: list[str] = []
    settings: list[tuple[str, ...]] = [()] * len(records)
    for name in order:
        finer = [(*s, value) for s, value in zip(settings, columns[name], strict=True)]
        if len(set(finer)) > len(set(settings)):
            kept.append(name)
            settings = finer
    for name in reversed(kept):  # what a later key says as well
        others = [key for key in kept if key != name]
        without = set(zip(*(columns[key] for key in others), strict=True))
        if others and len(without) == len(set(settings)):
            kept.remove(name)
    return kept


def other_differences(records: Sequence[Record]) -> list[str]:
    """`threads: 1, 2`: what was not the same in all runs, besides their configuration."""
    found = []
    for name, key in (
        ("commits", "git.commit"),
        ("threads", "threads"),
        ("devices", "device"),
        ("versions of torch", "packages.torch"),
    ):
        values = {str(r.environment[key])[:40] for r in records if r.environment.get(key)}
        if len(values) > 1:
            shown = sorted(value[:8] if key == "git.commit" else value for value in values)
            found.append(f"{name}: {', '.join(shown)}")
    return found


def pick_metric(records: Sequence[Record], metric: str | None) -> str:
    """The metric by its name, or the first of `DEFAULT_METRICS` that the completed runs have.

    Raises:
        UserError: with the names that there are.
    """
    names = {n for record in records if record.completed for n in record.result["metrics"]}
    if metric is None:
        metric = next((name for name in DEFAULT_METRICS if name in names), None)
    if metric is None or metric not in names:
        if not names:
            raise UserError("none of these runs is completed: there is nothing to compare")
        raise UserError(f"metric={metric}: {choices(str(metric), names)}")
    return metric
