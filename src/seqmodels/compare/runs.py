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
from seqmodels.words import read_word

# Statistics square scores, and float64 holds the square of this one.
LARGEST_SCORE = 1e100

# Where several keys tell the same runs apart, the first of these is named.
FIRST_KEYS = ("model.head", "model.encoder.cell", "model.encoder.num_layers")
# Runs that differ in these saw other splits of one data set: they are of one setting.
SPLIT_KEYS = ("data.fold", "data.split_seed")

# A longer value is cut where it is shown, in characters.
LONGEST_VALUE = 200

# What a run's environment says: its name in a sentence, its key, and so many characters of it.
ENVIRONMENT_DIFFERENCES = (
    ("commits of your project", "git.project.commit", 8),
    ("commits of seqmodels", "git.seqmodels.commit", 8),
    ("threads", "threads", 40),
    ("devices", "device", 40),
    ("versions of torch", "packages.torch", 40),
)


class Record(Result):
    """What a run folder holds: `result.json`, and the configuration and `environment.json` by
    dotted keys, such as `model.head`."""

    folder: Path
    environment: dict[str, Any]
    # The files that it chose of one's own groups, such as `set: Plane`; `config` has them, too.
    own_groups: dict[str, str]

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
        """How long the training took; nan for a resumed run, which knows only how long its last
        stretch took."""
        if self.resumed:
            return math.nan
        return self.seconds.get("fit", math.nan)

    def rows(self, split: str) -> int | None:
        """How many examples of a split its metrics are computed on; None if that is unknown."""
        return self.examples.get(split) if self.whole_splits else None


def find_runs(places: Iterable[str]) -> tuple[list[Record], list[str]]:
    """Reads each run once, in the order of the names of folders, whatever the order of `places`. A
    run that cannot be read hides no other.

    Args:
        places: run folders, folders at any height above them, or globs of those.

    Returns:
        The runs; and for each folder that cannot be read a line that says why.

    Raises:
        UserError: if a place holds no run, or none can be read.
    """
    records = list[Record]()
    unreadable = list[str]()
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
    files = set[Path]()
    for place in places:
        files_of_place = _result_files(place)
        if not files_of_place:
            raise UserError(f"{place}: no run there (no result.json in it, nor in folders below)")
        files.update(files_of_place)
    return [RunFolder(file.parent) for file in sorted(files, key=_by_number)]


def _result_files(place: str) -> list[Path]:
    """Each `result.json` at any height below a folder, or below those that match a glob."""
    with unusable(f"{place} cannot be searched"):  # Folders may be nested too deep for Python.
        matches = [place]
        if not Path(place).exists():
            matches = glob.glob(place)  # noqa: PTH207 (relative)
        return [file for match in matches for file in Path(match).rglob("result.json")]


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Sorts paths by the numbers in them: `run_2/` before `run_10/`."""
    segments = re.findall(r"(\d*)(\D*)", str(file))
    return [(int(digits or 0), text) for digits, text in segments]


def read_record(folder: RunFolder) -> Record:
    """Reads one run. Control characters in its texts are made visible, because all of them may be
    shown on a screen.

    Raises:
        UserError: naming the file that is absent, broken or of another version.
    """
    result = folder.read_result()
    environment = folder.read_environment()
    with unusable(f"{folder.path} does not hold the result of a run of this version"):
        content = _visible(result.model_dump())
        if folder.is_training and content["status"] != "completed":
            content |= {"status": "running", "error": None}
        content["config"] = flattened(content["config"])
        own_groups = _own_groups(folder.words, content["config"])
        content["config"] |= own_groups
        flat_environment = flattened(_visible(environment))
        return Record(
            **content, folder=folder.path, environment=flat_environment, own_groups=own_groups
        )


def _own_groups(words: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """The words of a run that chose a file of one's own group, such as `+set=Plane`, of which a
    configuration holds only what the file says. By that word, one knows the run again."""
    groups = dict[str, str]()
    for text in words:
        word = read_word(visible_line(text))
        is_own_group = word.sign == "+" and "." not in word.key and word.key not in config
        if is_own_group and word.value is not None:
            groups[word.key] = word.value
    return groups


def _visible(value: Any) -> Any:
    """A value of a JSON file, with the control characters of its texts made visible."""
    if isinstance(value, str):
        return visible_line(value)
    if isinstance(value, dict):
        return {visible_line(key): _visible(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return value


def default_metrics(
    metrics: Iterable[str], splits: Sequence[str] = ("test", "validation")
) -> list[str]:
    """The metrics to compare runs by, the preferred one first: on each split, these metrics (those
    of the runs' own kinds of target), and then the loss. Take the first that a run has."""
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
    if not metric:
        preferred = default_metrics((record.metric for record in completed), splits)
        available = [name for name in preferred if name in names]
        metric = available[0] if available else "null"
    if metric not in names:
        raise UserError(f"metric={metric}: {choices(metric, names)}")
    return metric


@dataclass(frozen=True)
class Grouping:
    """What tells some runs apart."""

    keys: Sequence[str]  # the keys of the configuration that tell the settings apart
    data_keys: Sequence[str]  # the keys that tell only the data sets apart
    also: Sequence[str]  # keys that vary only together with `keys`, and may be the cause as well
    # The name of each data set, and the runs of each of its settings.
    data: Sequence[tuple[str, list[list[Record]]]]

    @property
    def tuned(self) -> list[str]:
        """What varies beyond the head and the data, such as a learning rate that somebody tunes."""
        return [key for key in (*self.keys, *self.also) if key != "model.head"]


def varied_columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """The keys that may make a setting, with the value of each in every run, as JSON."""
    names = dict.fromkeys(chain(*(record.config for record in records)))
    columns = dict[str, list[str]]()
    for name in names:
        values = [as_json(record.config.get(name)) for record in records]
        has_several_values = len(set(values)) > 1
        if has_several_values and not _is_of_run_alone(name, values, records):
            columns[name] = values
    return columns


def _is_of_run_alone(name: str, values: Sequence[str], records: Sequence[Record]) -> bool:
    """Whether a key tells only which run this is: its seed, its split, a path in its folder.

    Args:
        values: what the configuration of each run holds at this key, as JSON.
    """
    if name in SPLIT_KEYS or name.startswith(NO_SETTING):
        return True
    seeds = [json.dumps(record.seed) for record in records]
    is_called_seed = name.rpartition(".")[2] == "seed"  # Another key may equal the seed by chance.
    if is_called_seed and values == seeds:
        return True

    for value, record in zip(values, records, strict=True):
        folder = json.dumps(str(record.config.get("folder")))
        start_of_path = folder[:-1]  # The closing quote is left out.
        # A run of another version may lack a path.
        if value != "null" and not value.startswith(start_of_path):
            return False
    return True


def as_json(value: Any) -> str:
    """A value of a configuration, as a text that is equal for equal values."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 0.0, a default, is the 0 of a command line.
    if value == {}:
        value = None  # An empty mapping has no keys, as one that is not there.
    return json.dumps(value, sort_keys=True)


def varied_keys(columns: Mapping[str, list[str]], data_sets: Sequence[str] = ()) -> list[str]:
    """Configuration keys that distinguish the settings on each data set, of which none can be left
    out. So what follows from other keys, as the optimiser from the experiment, is not among them.

    Args:
        columns: as `varied_columns` gives them.
        data_sets: the data set of each run; without, all runs are of one.
    """
    if not columns:
        return []
    if not data_sets:
        run_count = len(next(iter(columns.values())))
        data_sets = [""] * run_count
    keys = _distinguishing_keys(columns, data_sets)

    def count_of_groups(keys: Sequence[str]) -> int:
        columns_of_keys = [columns[key] for key in keys]
        return len(set(zip(data_sets, *columns_of_keys, strict=True)))

    # A later key may tell the same runs apart as an earlier one, and more.
    for key in reversed(keys):
        other_keys = [other_key for other_key in keys if other_key != key]
        if count_of_groups(other_keys) == count_of_groups(keys):
            keys = other_keys
    return keys


def _distinguishing_keys(columns: Mapping[str, list[str]], data_sets: Sequence[str]) -> list[str]:
    """The keys that tell runs apart which neither their data set nor the keys before do."""
    first_keys = [key for key in FIRST_KEYS if key in columns]
    later_keys = sorted(columns.keys() - set(FIRST_KEYS), key=lambda key: (key.count("."), key))

    # There may be very many keys, so a run has the number of its group in the place of all values.
    group_of_run = list(data_sets)
    group_count = len(set(data_sets))
    distinguishing_keys = list[str]()
    for key in (*first_keys, *later_keys):
        finer_group_of_run = list(zip(group_of_run, columns[key], strict=True))
        finer_groups = dict.fromkeys(finer_group_of_run)
        if len(finer_groups) > group_count:
            distinguishing_keys.append(key)
            numbers = {group: str(number) for number, group in enumerate(finer_groups)}
            group_of_run = [numbers[group] for group in finer_group_of_run]
            group_count = len(finer_groups)
    return distinguishing_keys


def short_keys(keys: Sequence[str]) -> list[str]:
    """Each key by its last words, as few as tell it from the others: `lr`, `encoder.dropout`."""
    endings_by_key = {key: _endings(key) for key in keys}
    counts = Counter[str]()
    for key in keys:
        counts.update(endings_by_key[key])

    short_names = list[str]()
    for key in keys:
        unique_endings = [ending for ending in endings_by_key[key] if counts[ending] == 1]
        short_names.append(unique_endings[0] if unique_endings else key)
    return short_names


def _endings(key: str) -> list[str]:
    """`model.encoder.dropout` -> `dropout`, `encoder.dropout`, `model.encoder.dropout`."""
    words = key.split(".")
    return [".".join(words[-count:]) for count in range(1, len(words) + 1)]


def setting_name(keys: Sequence[str], values: Sequence[Any]) -> str:
    """`max_pool, hidden_size=64, lr=0.01`: a head says by itself what it is."""
    words = list[str]()
    for key, short_key, value in zip(keys, short_keys(keys), values, strict=True):
        text = shown_value(value)
        if key != "model.head":
            text = f"{short_key}={text}"
        words.append(text)
    return ", ".join(words) or "all runs"


def shown_value(value: Any) -> str:
    """A value as you write it on the command line: `null`, `true`, `0.01`; a very long one, such as
    a list of files, is cut."""
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > LONGEST_VALUE:
        return f"{text[:LONGEST_VALUE]}..."
    return text


def other_differences(records: Sequence[Record]) -> list[str]:
    """What differs between the runs besides their configuration, such as `threads (1, 2)`."""
    # In a clone of this package, its commit is the project's: of equal texts, we say the first.
    names_by_values = dict[str, str]()
    for name, key, width in ENVIRONMENT_DIFFERENCES:
        environments = [record.environment for record in records if record.environment.get(key)]
        values = {str(environment[key])[:width] for environment in environments}
        if len(values) > 1:
            listed_values = ", ".join(sorted(values))
            names_by_values.setdefault(listed_values, name)
    return [f"{name} ({values})" for values, name in names_by_values.items()]


def group_runs(records: Sequence[Record]) -> Grouping:
    """Groups runs by the data they saw, and into settings that differ on some data set."""
    columns = varied_columns(records)
    rows: list[tuple[str, ...]] = [()] * len(records)
    if columns:
        rows = list(zip(*columns.values(), strict=True))
    # The numbers of the runs of each data set.
    sections = _by_data(records, rows)

    columns_within_data = {
        key: values for key, values in columns.items() if _varies_within(sections, values)
    }
    section_of_run = [""] * len(records)
    for section, numbers in enumerate(sections):
        for number in numbers:
            section_of_run[number] = str(section)
    keys = varied_keys(columns_within_data, section_of_run)
    setting_keys = set(keys)
    also = [key for key in columns_within_data if key not in setting_keys]

    columns_between_data = {
        key: values for key, values in columns.items() if key not in columns_within_data
    }
    data_keys = _keys_of_data(records, columns_between_data)

    columns_of_keys = [columns[key] for key in keys]
    settings_by_section = [_by_setting(records, numbers, columns_of_keys) for numbers in sections]
    first_runs = [settings[0][0] for settings in settings_by_section]
    data_names = _data_names(first_runs, data_keys)
    data = list(zip(data_names, settings_by_section, strict=True))
    return Grouping(keys, data_keys, also, data)


def _keys_of_data(
    records: Sequence[Record], columns_between_data: Mapping[str, list[str]]
) -> list[str]:
    """The keys that tell data sets apart: those of `data`, and those of groups of one's own."""
    own_groups = {group for record in records for group in record.own_groups}
    columns_of_data = {
        key: values
        for key, values in columns_between_data.items()
        if key.startswith("data.") or key in own_groups
    }
    return varied_keys(columns_of_data)


def _by_setting(
    records: Sequence[Record], numbers: Sequence[int], columns: Sequence[Sequence[str]]
) -> list[list[Record]]:
    """Splits the runs with these numbers by their setting, which is a row of the columns."""
    runs_by_setting: dict[tuple[str, ...], list[Record]] = {}
    for number in numbers:
        setting = tuple(column[number] for column in columns)
        runs_by_setting.setdefault(setting, []).append(records[number])
    return [runs_by_setting[setting] for setting in sorted(runs_by_setting)]


def _varies_within(sections: Sequence[Sequence[int]], values: Sequence[str]) -> bool:
    """Whether the runs of any one data set differ in these values."""
    for numbers in sections:
        values_of_section = {values[number] for number in numbers}
        if len(values_of_section) > 1:
            return True
    return False


def _by_data(records: Sequence[Record], rows: Sequence[Any]) -> list[list[int]]:
    """Puts the numbers of runs together that saw the same data, directly or by way of others: runs
    of one configuration, but for the seed and the split, are of one data set.

    Args:
        rows: of each run, its values at the keys that make a setting.
    """
    # The nodes are runs, and what joins them: a fingerprint, and a row of settings.
    graph = networkx.Graph()
    for number, (record, row) in enumerate(zip(records, rows, strict=True)):
        graph.add_edge(number, ("data", record.fingerprint))
        graph.add_edge(number, ("settings", row))
    sections = list[list[int]]()
    for nodes in networkx.connected_components(graph):
        numbers = [node for node in nodes if isinstance(node, int)]
        sections.append(sorted(numbers))
    return sorted(sections)


def _data_names(first_runs: Sequence[Record], data_keys: Sequence[str]) -> list[str]:
    """The names of data sets, each with as much behind it as tells them apart: at first the values
    of the varied keys, and then the start of the fingerprint.

    Args:
        first_runs: a run on each data set.
    """
    names = [run.data for run in first_runs]
    for number, run in enumerate(first_runs):
        words = [f"{key}={run.own_groups[key]}" for key in data_keys if key in run.own_groups]
        if words:
            names[number] = ", ".join(words)
    if _has_duplicates(names):
        for number, run in enumerate(first_runs):
            for key, value in zip(data_keys, run.values(data_keys), strict=True):
                names[number] += f", {key.removeprefix('data.')}={value}"
    if _has_duplicates(names):
        for number, run in enumerate(first_runs):
            names[number] += f", {run.fingerprint[:8]}"
    return names


def _has_duplicates(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)
