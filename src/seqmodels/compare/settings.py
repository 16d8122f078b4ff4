"""Group runs into settings, ignoring the seed, and settings by the data they saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from seqmodels.compare.records import Record
from seqmodels.errors import UserError

LABELS = ("task_name", "tags")  # what people call runs
# these don't change what is trained
NO_SETTING = (*LABELS, "folder", "resume", "baseline", "sweep.", "imports", "paths.", "logger")
# of several keys that tell the same runs apart, the first of these is named
FIRST_KEYS = ("model.head", "model.encoder.cell", "model.encoder.num_layers")


def varied_keys(records: Sequence[Record]) -> list[str]:
    """The smallest set of configuration keys that distinguishes the settings, ignoring the seed.

    Leaves out keys that are the same in all runs, that repeat the seed or the run's folder, and
    that follow from other keys (as the optimiser follows from the experiment).
    """
    columns = _varied_columns(records)
    settings = partial(_count_settings, columns)
    first = {key: number for number, key in enumerate(FIRST_KEYS)}
    kept: list[str] = []
    for key in sorted(columns, key=lambda key: (first.get(key, len(first)), key.count("."), key)):
        if settings([*kept, key]) > settings(kept):
            kept.append(key)
    for key in reversed(kept):  # a later key may tell the same runs apart, and more
        others = [other for other in kept if other != key]
        if others and settings(others) == settings(kept):
            kept.remove(key)
    return kept


def tied_keys(
    records: Sequence[Record], keys: Sequence[str], data_keys: Sequence[str] = ()
) -> tuple[dict[str, list[str]], dict[tuple[str, ...], list[str]]]:
    """The keys that vary, but only together with some of `varied_keys`, which are those that name
    the settings.

    Returns:
        For each of `keys` those that have the same values as it in all runs, as an interpolation
        has; and for each group of `keys` those that vary together with it in another way, so that
        a difference may be due to any of them. Left out are arguments that only some of several
        classes have, which belong to their `_target_`, and what varies with the data only, because
        each data set is compared by itself.
    """
    columns = _varied_columns(records)
    settings = partial(_count_settings, columns)
    same: dict[str, list[str]] = {}
    tied: dict[tuple[str, ...], list[str]] = {}
    for key in (key for key in columns if key not in keys):
        alone = [k for k in keys if settings([k, key]) == settings([k])]
        equal = [k for k in alone if columns[k] == columns[key]]
        classes = tuple(k.removesuffix("_target_") for k in alone if k.endswith("._target_"))
        if any(k in data_keys for k in alone):
            continue
        if equal:
            same.setdefault(equal[0], []).append(key)
        elif not key.startswith(classes) or all(key in record.config for record in records):
            tied.setdefault((*alone[:1],) or (*keys,), []).append(key)
    return same, tied


def _count_settings(columns: Mapping[str, Sequence[str]], keys: Sequence[str]) -> int:
    return len(set(zip(*(columns[key] for key in keys), strict=True))) if keys else 1


def beyond_head(keys: Sequence[str]) -> list[str]:
    """Those of `varied_keys` that are not the head, such as a learning rate that somebody tunes."""
    return [key for key in keys if key != "model.head"]


def short_keys(keys: Sequence[str]) -> list[str]:
    """Each key by its last words, as few as tell it from the others: `lr`, `encoder.dropout`."""

    def ending(key: str, count: int) -> str:
        return ".".join(key.split(".")[-count:])

    short = []
    for key in keys:
        counts = range(1, key.count(".") + 1)
        alone = (n for n in counts if sum(ending(k, n) == ending(key, n) for k in keys) == 1)
        short.append(ending(key, next(alone, len(key))))
    return short


def setting_name(keys: Sequence[str], values: Sequence[Any]) -> str:
    """`max_pool, hidden_size=64, lr=0.01`: a head says by itself what it is."""
    shown = zip(keys, short_keys(keys), map(shown_value, values), strict=True)
    names = [value if key == "model.head" else f"{short}={value}" for key, short, value in shown]
    return ", ".join(names) or "all runs"


def used_labels(records: Sequence[Record]) -> list[str]:
    """Of `LABELS`, those that any run has."""
    return [key for key in LABELS if any(record.config.get(key) for record in records)]


def shown_labels(key: str, records: Sequence[Record]) -> str:
    """What the runs of a setting have there: `baseline, wide`."""
    values = [record.config.get(key) or [] for record in records]
    texts = [text for v in values for text in (v if isinstance(v, list) else [v])]
    return ", ".join(dict.fromkeys(map(str, texts)))


def shown_value(value: Any) -> str:
    """A value as you write it on the command line: `null`, `true`, `0.01`."""
    return value if isinstance(value, str) else json.dumps(value)


def _varied_columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """Key -> its value in each run as JSON, for the keys that may make a setting."""
    names = dict.fromkeys(name for record in records for name in record.config)
    columns: dict[str, list[str]] = {}
    for name in names:
        # an empty mapping has no keys, as one that is not there
        values = [v if (v := record.config.get(name)) != {} else None for record in records]
        same = all(value == values[0] for value in values[1:])
        seed = all(value == record.seed for value, record in zip(values, records, strict=True))
        folders = [str(record.config.get("folder")) for record in records]
        # runs of another version may lack it
        path = all(v is None or str(v).startswith(f) for v, f in zip(values, folders, strict=True))
        if not (same or seed or path or name.startswith(NO_SETTING)):
            columns[name] = [json.dumps(value, sort_keys=True) for value in values]
    return columns


def other_differences(records: Sequence[Record]) -> list[str]:
    """What differs between the runs besides their configuration, such as `threads (1, 2)`."""
    found = []
    for name, key, width in (
        ("commits", "git.commit", 8),
        ("threads", "threads", 40),
        ("devices", "device", 40),
        ("versions of torch", "packages.torch", 40),
    ):
        values = {str(r.environment[key])[:width] for r in records if r.environment.get(key)}
        if len(values) > 1:
            found.append(f"{name} ({', '.join(sorted(values))})")
    return found


def group_by_data(
    records: Sequence[Record], keys: Sequence[str]
) -> tuple[list[str], list[tuple[str, list[list[Record]]]]]:
    """Groups runs into settings, and those by the data they saw, the same at every shared seed.

    Returns:
        Of `keys`, those that tell only the data apart; and for each data set its name and settings.
    """
    settings: dict[str, list[Record]] = {}
    for record in records:
        settings.setdefault(repr(record.values(keys)), []).append(record)
    sections: list[tuple[str, dict[int, str], list[list[Record]]]] = []
    for group in settings.values():
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

    data_keys = [
        key
        for key in keys
        if len(sections) > 1
        and key.startswith("data.")
        and all(len({repr(g[0].values([key])) for g in groups}) == 1 for *_, groups in sections)
    ]
    names = [name for name, *_ in sections]
    firsts = [groups[0][0] for *_, groups in sections]
    varied = [
        "".join(f", {key.removeprefix('data.')}={record.config.get(key)}" for key in data_keys)
        for record in firsts
    ]
    for more in (varied, [f", {record.result['fingerprint'][:8]}" for record in firsts]):
        if len(set(names)) < len(names):
            names = [f"{name}{end}" for name, end in zip(names, more, strict=True)]
    return data_keys, list(zip(names, [groups for *_, groups in sections], strict=True))


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
