"""Read the runs in some folders, and group them into settings, ignoring the seed and the split, and
the settings by their data."""

from __future__ import annotations

import glob
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import networkx

from seqmodels.errors import UserError, choices, unusable
from seqmodels.plain_values import NO_SETTING, flattened
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.result import Result
from seqmodels.screen import visible_line

LARGEST_SCORE = 1e100  # whose square float64 holds

# of several keys that tell the same runs apart, the first of these is named
FIRST_KEYS = ("model.head", "model.encoder.cell", "model.encoder.num_layers")
SPLIT_KEYS = ("data.fold", "data.split_seed")  # of one data set, and so of one setting

LONGEST_VALUE = 200  # characters, of a value that is shown


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


@dataclass(frozen=True)
class Grouping:
    """What tells some runs apart."""

    keys: Sequence[str]  # of the configuration, that tell the settings apart
    data_keys: Sequence[str]  # that tell only the data sets apart
    also: Sequence[str]  # what varies only together with `keys`, and may be the cause as well
    data: Sequence[tuple[str, list[list[Record]]]]  # each data set's name, and its settings' runs

    @property
    def tuned(self) -> list[str]:
        """What varies beyond the head and the data, such as a learning rate that somebody tunes."""
        return [key for key in (*self.keys, *self.also) if key != "model.head"]


def varied_columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """Key -> its value in each run as JSON, for the keys that may make a setting."""
    names = dict.fromkeys(chain(*(record.config for record in records)))
    columns = {name: [as_json(record.config.get(name)) for record in records] for name in names}
    seeds = [json.dumps(record.seed) for record in records]
    folders = [json.dumps(str(record.config.get("folder")))[:-1] for record in records]

    def makes_setting(name: str, values: list[str]) -> bool:
        # runs of another version may lack a path
        path = all(v == "null" or v.startswith(f) for v, f in zip(values, folders, strict=True))
        seed = values == seeds and name.rpartition(".")[2] == "seed"  # another key may equal it
        ignored = seed or path or name in SPLIT_KEYS or name.startswith(NO_SETTING)
        return len({*values}) > 1 and not ignored

    return {name: values for name, values in columns.items() if makes_setting(name, values)}


def as_json(value: Any) -> str:
    """A value of a configuration, as a text that is equal for equal values."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 0.0, a default, is the 0 of a command line
    # an empty mapping has no keys, as one that is not there
    return json.dumps(None if value == {} else value, sort_keys=True)


def varied_keys(columns: Mapping[str, list[str]], known: Sequence[str] = ()) -> list[str]:
    """The smallest set of configuration keys that distinguishes the settings on each of the data
    sets that `known` says for each run. Leaves out what follows from other keys, as the optimiser
    follows from the experiment."""
    if not columns:
        return []
    first_keys = [key for key in FIRST_KEYS if key in columns]
    other_keys = sorted(columns.keys() - {*FIRST_KEYS}, key=lambda key: (key.count("."), key))
    run_count = len(next(iter(columns.values())))
    data_sets = known or [""] * run_count

    # There may be very many keys, so a run has the number of its group in the place of all values.
    kept, groups, count = list[str](), [*data_sets], len({*data_sets})
    for key in (*first_keys, *other_keys):
        finer_groups = [*zip(groups, columns[key], strict=True)]
        names = {group: f"{number}" for number, group in enumerate(dict.fromkeys(finer_groups))}
        if len(names) > count:
            kept.append(key)
            groups, count = [names[group] for group in finer_groups], len(names)

    def count_of(keys: Sequence[str]) -> int:
        return len({*zip(data_sets, *(columns[key] for key in keys), strict=True)})

    for key in reversed(kept):  # a later key may tell the same runs apart, and more
        others = [other for other in kept if other != key]
        if count_of(others) == count_of(kept):
            kept.remove(key)
    return kept


def short_keys(keys: Sequence[str]) -> list[str]:
    """Each key by its last words, as few as tell it from the others: `lr`, `encoder.dropout`."""

    def endings(key: str) -> list[str]:
        words = key.split(".")
        return [".".join(words[-count:]) for count in range(1, len(words) + 1)]

    counts = Counter(ending for key in keys for ending in endings(key))
    return [next((ending for ending in endings(key) if counts[ending] == 1), key) for key in keys]


def setting_name(keys: Sequence[str], values: Sequence[Any]) -> str:
    """`max_pool, hidden_size=64, lr=0.01`: a head says by itself what it is."""
    shown = zip(keys, short_keys(keys), map(shown_value, values), strict=True)
    names = [value if key == "model.head" else f"{short}={value}" for key, short, value in shown]
    return ", ".join(names) or "all runs"


def shown_value(value: Any) -> str:
    """A value as you write it on the command line: `null`, `true`, `0.01`; a very long one, such as
    a list of files, is cut."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def other_differences(records: Sequence[Record]) -> list[str]:
    """What differs between the runs besides their configuration, such as `threads (1, 2)`."""
    found = dict[str, str]()  # of what is the same twice, as in a clone of this package, the first
    for name, key, width in (
        ("commits of your project", "git.project.commit", 8),
        ("commits of seqmodels", "git.seqmodels.commit", 8),
        ("threads", "threads", 40),
        ("devices", "device", 40),
        ("versions of torch", "packages.torch", 40),
    ):
        values = {str(r.environment[key])[:width] for r in records if r.environment.get(key)}
        if len(values) > 1:
            found.setdefault(f"({', '.join(sorted(values))})", name)
    return [f"{name} {values}" for values, name in found.items()]


def group_runs(records: Sequence[Record]) -> Grouping:
    """Groups runs by the data they saw, and into settings that differ on some data set."""
    columns = varied_columns(records)
    rows = [*zip(*columns.values(), strict=True)] or [()] * len(records)
    sections = _by_data(records, rows)  # numbers of runs

    columns_within_data = {
        key: values for key, values in columns.items() if _varies_within(sections, values)
    }
    section_of_run = [""] * len(records)
    for section, numbers in enumerate(sections):
        for number in numbers:
            section_of_run[number] = str(section)
    keys = varied_keys(columns_within_data, section_of_run)

    columns_of_data = {
        key: values
        for key, values in columns.items()
        if key not in columns_within_data and key.startswith("data.")
    }
    data_keys = varied_keys(columns_of_data)

    columns_of_keys = [columns[key] for key in keys]
    data = [_by_setting(records, numbers, columns_of_keys) for numbers in sections]
    names = _data_names([settings[0][0] for settings in data], data_keys)
    setting_keys = {*keys}
    also = [key for key in columns_within_data if key not in setting_keys]
    return Grouping(keys, data_keys, also, [*zip(names, data, strict=True)])


def _by_setting(
    records: Sequence[Record], numbers: Sequence[int], columns: Sequence[Sequence[str]]
) -> list[list[Record]]:
    """The runs of each setting, of those with these numbers; a setting is a row of the columns."""
    runs_by_setting: dict[tuple[str, ...], list[Record]] = {}
    for number in numbers:
        setting = tuple(column[number] for column in columns)
        runs_by_setting.setdefault(setting, []).append(records[number])
    return [runs_by_setting[setting] for setting in sorted(runs_by_setting)]


def _varies_within(sections: Sequence[Sequence[int]], values: Sequence[str]) -> bool:
    """Whether the runs of any one data set differ in these values."""
    return any(len({values[number] for number in numbers}) > 1 for numbers in sections)


def _by_data(records: Sequence[Record], rows: Sequence[Any]) -> list[list[int]]:
    """Puts the numbers of runs together that saw the same data, directly or by way of others: runs
    of one configuration, but for the seed and the split, are of one data set."""
    # Runs, and beside them what joins them: a fingerprint, and a row of settings.
    graph = networkx.Graph()
    for number, (record, row) in enumerate(zip(records, rows, strict=True)):
        graph.add_edge(number, ("data", record.fingerprint))
        graph.add_edge(number, ("settings", row))
    sections = networkx.connected_components(graph)
    return sorted(sorted(node for node in nodes if isinstance(node, int)) for nodes in sections)


def _data_names(firsts: Sequence[Record], data_keys: Sequence[str]) -> list[str]:
    """The names of data sets, each with as much behind it as tells them apart."""
    names = [record.data for record in firsts]
    short = [key.removeprefix("data.") for key in data_keys]
    varied = [zip(short, record.values(data_keys), strict=True) for record in firsts]
    ends = ["".join(f", {key}={value}" for key, value in each) for each in varied]
    for more in (ends, [f", {record.fingerprint[:8]}" for record in firsts]):
        if len(set(names)) < len(names):
            names = [f"{name}{end}" for name, end in zip(names, more, strict=True)]
    return names
