"""Group runs into settings (the same but for the seed), and settings by the data they saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from seqmodels.compare.records import Record
from seqmodels.errors import UserError

# these say how a run is run, not what it is
NO_SETTING = ("folder", "resume", "baseline", "sweep.", "imports")
# of several keys that tell the same runs apart, the first of these is named
FIRST_KEYS = ("model.head", "model.encoder.cell", "model.encoder.num_layers")

Group = list[Record]
"""The runs of one setting."""


def varied_keys(records: Sequence[Record]) -> list[str]:
    """The smallest set of configuration keys that distinguishes the settings, ignoring the seed.

    Leaves out keys that are the same in all runs, that repeat the seed or the run's folder, and
    that follow from other keys (as the optimiser follows from the experiment).
    """
    columns = _varied_columns(records)
    first = {key: number for number, key in enumerate(FIRST_KEYS)}
    order = sorted(columns, key=lambda key: (first.get(key, len(first)), key.count("."), key))
    kept: list[str] = []
    for key in order:
        if _count(columns, [*kept, key]) > _count(columns, kept):
            kept.append(key)
    for key in reversed(kept):  # a later key may tell the same runs apart, and more
        others = [other for other in kept if other != key]
        if others and _count(columns, others) == _count(columns, kept):
            kept.remove(key)
    return kept


def _varied_columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """Key -> its value in each run as JSON, for the keys that may make a setting."""
    names = dict.fromkeys(
        key for record in records for key in record.config if not key.startswith(NO_SETTING)
    )
    folders = [str(record.config.get("folder")) for record in records]
    columns: dict[str, list[str]] = {}
    for name in names:
        values = [record.config.get(name) for record in records]
        same = all(value == values[0] for value in values[1:])
        seed = all(value == record.seed for value, record in zip(values, records, strict=True))
        path = all(str(v).startswith(f) for v, f in zip(values, folders, strict=True))
        if not (same or seed or path):
            columns[name] = [json.dumps(value, sort_keys=True) for value in values]
    return columns


def _count(columns: dict[str, list[str]], keys: Sequence[str]) -> int:
    """How many different settings these keys tell apart."""
    return len(set(zip(*(columns[key] for key in keys), strict=True))) if keys else 1


def other_differences(records: Sequence[Record]) -> list[str]:
    """What differs between the runs besides their configuration, such as `threads (1, 2)`."""
    found = []
    for name, key in (
        ("commits", "git.commit"),
        ("threads", "threads"),
        ("devices", "device"),
        ("versions of torch", "packages.torch"),
    ):
        values = {str(r.environment[key])[:40] for r in records if r.environment.get(key)}
        if len(values) > 1:
            texts = sorted(value[:8] if key == "git.commit" else value for value in values)
            found.append(f"{name} ({', '.join(texts)})")
    return found


def group_by_setting(records: Sequence[Record], keys: Sequence[str]) -> list[Group]:
    """The runs with the same values of these keys, in the order of their first run."""
    groups: dict[tuple[str, ...], Group] = {}
    for record in records:
        groups.setdefault(_identity(record, keys), []).append(record)
    return list(groups.values())


def group_by_data(groups: Sequence[Group]) -> list[list[Group]]:
    """The settings that saw the same data and split at every seed they share."""
    sections: list[tuple[str, dict[int, str], list[Group]]] = []
    for group in groups:
        name = group[0].result["data"]
        seen = {record.seed: record.result["fingerprint"] for record in group}
        for other_name, others, members in sections:
            shared = seen.keys() & others.keys()
            same = all(seen[seed] == others[seed] for seed in shared)
            if same and (shared or (name == other_name and {*seen.values()} & {*others.values()})):
                members.append(group)
                others |= seen
                break
        else:
            sections.append((name, seen, [group]))
    return [members for _, _, members in sections]


def varied_data_keys(by_data: Sequence[Sequence[Group]], keys: Sequence[str]) -> list[str]:
    """Of these keys, those of `data` that vary from data set to data set but never within one."""
    if len(by_data) == 1:
        return []
    return [
        key
        for key in keys
        if key.startswith("data.")
        and all(len({_identity(group[0], [key]) for group in groups}) == 1 for groups in by_data)
    ]


def data_names(records: Sequence[Record], data_keys: Sequence[str]) -> list[str]:
    """The shortest names that tell the data of these runs apart."""
    names = [record.result["data"] for record in records]
    varied = [
        "".join(f", {key.removeprefix('data.')}={record.config.get(key)}" for key in data_keys)
        for record in records
    ]
    for more in (varied, [f", {record.result['fingerprint'][:8]}" for record in records]):
        if len(set(names)) < len(names):
            names = [f"{name}{end}" for name, end in zip(names, more, strict=True)]
    return names


def values(record: Record, keys: Sequence[str]) -> tuple[Any, ...]:
    """What a run's configuration holds at these keys; None where it lacks one."""
    return tuple(record.config.get(key) for key in keys)


def _identity(record: Record, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(value) for value in values(record, keys))  # a list can't be a dict's key


def check_same_data(records: Sequence[Record]) -> None:
    """Makes sure that runs with the same seed saw the same data and split.

    Raises:
        UserError: naming two runs that did not, and `different_data=true`.
    """
    seen: dict[int, Record] = {}
    for record in records:
        other = seen.setdefault(record.seed, record)
        if other.result["fingerprint"] != record.result["fingerprint"]:
            raise UserError(
                f"{other.folder} and {record.folder} have the same seed, but saw different data "
                f"or another split of it ({other.result['data']}, {record.result['data']}): "
                "use different_data=true to compare within each data set"
            )
