"""Group runs into settings, ignoring the seed and the split, and settings by their data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import networkx

from seqmodels.compare.records import Record
from seqmodels.plain_values import NO_SETTING

# of several keys that tell the same runs apart, the first of these is named
FIRST_KEYS = ("model.head", "model.encoder.cell", "model.encoder.num_layers")
SPLIT_KEYS = ("data.fold", "data.split_seed")  # of one data set, and so of one setting

LONGEST_VALUE = 200  # characters, of a value that is shown


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
    sections = _by_data(records, rows)

    within = {  # what varies within a data set
        key: values
        for key, values in columns.items()
        if any(len({values[n] for n in numbers}) > 1 for numbers in sections)
    }
    place = {n: str(number) for number, numbers in enumerate(sections) for n in numbers}
    keys = varied_keys(within, [place[n] for n in range(len(records))])
    others = columns.keys() - within
    data_keys = varied_keys({key: columns[key] for key in others if key.startswith("data.")})
    data = list[list[list[Record]]]()
    for numbers in sections:
        settings: dict[tuple[str, ...], list[Record]] = {}
        for n in numbers:
            settings.setdefault(tuple(columns[key][n] for key in keys), []).append(records[n])
        data.append([settings[values] for values in sorted(settings)])
    names = _data_names([settings[0][0] for settings in data], data_keys)
    settings_keys = {*keys}
    also = [key for key in within if key not in settings_keys]
    return Grouping(keys, data_keys, also, [*zip(names, data, strict=True)])


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
