"""Runs compared: which setting is better, by how much, how sure, at what cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqmodels.compare.records import (
    Record,
    find_runs,
    other_differences,
    pick_metric,
    varied_keys,
)
from seqmodels.compare.statistics import (
    LEVEL,
    Difference,
    Summary,
    against_best,
    find_best,
    summarize,
)
from seqmodels.errors import UserError
from seqmodels.tasks.metrics import is_share


@dataclass(frozen=True)
class Setting:
    """All completed runs that differ by their seed only, and how they compare.

    Args:
        values: of `Comparison.keys`.
        scores: the metric by seed.
        difference: to the best setting on the same data; None for the best.
    """

    values: tuple[Any, ...]
    records: Sequence[Record]
    scores: dict[int, float]
    summary: Summary
    difference: Difference | None

    @property
    def parameters(self) -> int:
        return int(self.records[0].result["parameters"])

    @property
    def per_second(self) -> float:
        """Examples or tokens a second in training, mean over runs."""
        return _mean(
            next(v for name, v in r.result.items() if name.endswith("_per_second"))
            for r in self.records
        )

    @property
    def seconds(self) -> float:
        """Of training, mean over runs."""
        return _mean(record.result["seconds"]["fit"] for record in self.records)

    @property
    def name(self) -> str:
        return ", ".join(str(value) for value in self.values) or "all runs"


@dataclass(frozen=True)
class Section:
    """The settings that saw the same data, the best first.

    Args:
        data: its name.
        values: of `Comparison.data_keys`.
    """

    data: str
    values: tuple[Any, ...]
    settings: Sequence[Setting]

    def verdict(self) -> str:
        """What these runs can say, and what not."""
        best, *others = self.settings
        if not others:
            return f"{best.name}: nothing to compare with"
        if all(s.difference and math.isnan(s.difference.p) for s in others):
            return (
                f"{best.name} has the best mean, but no test is possible: a paired one needs two "
                "seeds that settings share"
            )
        equal = [s for s in others if s.difference and not s.difference.significant]
        if not equal:
            return f"{best.name} is better than all others (p < {LEVEL}, corrected for all pairs)"
        names = ", ".join(setting.name for setting in equal)
        text = f"these runs cannot tell {best.name}, the best by its mean, from {names}"
        needed = [
            s.difference.seeds_needed - s.difference.shared
            for s in equal
            if s.difference and s.difference.seeds_needed
        ]
        if needed:
            more = max(min(needed), 1)
            text += f"; {more} more seed{'s' if more > 1 else ''} may tell the first of them apart"
        return text


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        keys: what varied between the settings, besides the seed.
        data_keys: what varied between the sections only.
        failed: runs that did not complete.
        left_out: runs that did, but without the metric, or with one that is not finite.
        others: what else was not the same in all runs, such as the number of threads.
    """

    metric: str
    keys: Sequence[str]
    data_keys: Sequence[str]
    sections: Sequence[Section]
    failed: Sequence[Record]
    left_out: Sequence[Record]
    others: Sequence[str]


def compare(
    places: Sequence[str], metric: str | None = None, *, different_data: bool = False
) -> Comparison:
    """Compares the runs in some folders.

    Args:
        places: folders of runs, folders of those, globs.
        metric: None: accuracy, or else bits a byte, or else the loss, on the test part; on that of
            validation, if no run was tested.
        different_data: whether settings may have seen different data; then they are compared with
            those that saw the same.

    Raises:
        UserError: if there is nothing to compare, or the data differ.
    """
    records = find_runs(places)
    metric = pick_metric(records, metric)
    completed = [r for r in records if r.completed]
    scored = [r for r in completed if _has(r, metric)]
    if not scored:
        raise UserError(f"metric={metric} is not a finite number in any of these runs")
    keys = varied_keys(scored)
    if not different_data:
        _check_same_data(scored)
    by_setting: dict[tuple[str, ...], list[Record]] = {}
    for record in scored:
        by_setting.setdefault(_setting_of(record, keys), []).append(record)
    by_data = _by_data(list(by_setting.values()))
    data_keys = [
        key
        for key in keys
        if key.startswith("data.")
        and len(by_data) > 1
        and all(len({_setting_of(group[0], [key]) for group in groups}) == 1 for groups in by_data)
    ]
    setting_keys = [key for key in keys if key not in data_keys]
    names = _names_of_data([groups[0][0] for groups in by_data], data_keys)
    return Comparison(
        metric,
        setting_keys,
        data_keys,
        [
            Section(name, _values(groups[0][0], data_keys), _settings(groups, setting_keys, metric))
            for name, groups in zip(names, by_data, strict=True)
        ],
        [r for r in records if not r.completed],
        [r for r in completed if not _has(r, metric)],
        other_differences(scored),
    )


Group = list[Record]  # the runs of one setting


def _by_data(groups: Sequence[Group]) -> list[list[Group]]:
    """Together what saw the same: for each seed they share, the same parts of the same data."""
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


def _settings(groups: Sequence[Group], keys: Sequence[str], metric: str) -> list[Setting]:
    scores = [_scores(group, metric) for group in groups]
    better = is_share(metric)
    best = find_best(scores, higher_is_better=better)
    settings = [
        Setting(
            _values(group[0], keys),
            group,
            score,
            summarize(score),
            difference,
        )
        for group, score, difference in zip(groups, scores, against_best(scores, best), strict=True)
    ]
    settings.sort(key=lambda s: (s.difference is not None, (-1 if better else 1) * s.summary.mean))
    return settings


def _has(record: Record, metric: str) -> bool:
    return math.isfinite(record.result["metrics"].get(metric, math.nan))


def _scores(group: Sequence[Record], metric: str) -> dict[int, float]:
    by_seed: dict[int, list[float]] = {}
    for record in group:
        by_seed.setdefault(record.seed, []).append(record.result["metrics"][metric])
    return {seed: _mean(values) for seed, values in sorted(by_seed.items())}


def _setting_of(record: Record, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(record.config.get(key)) for key in keys)


def _values(record: Record, keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(record.config.get(key) for key in keys)


def _names_of_data(records: Sequence[Record], data_keys: Sequence[str]) -> list[str]:
    """As short as they tell the data of these runs apart."""
    names = [record.result["data"] for record in records]
    varied = [
        "".join(f", {key.removeprefix('data.')}={record.config.get(key)}" for key in data_keys)
        for record in records
    ]
    for more in (varied, [f", {record.result['fingerprint'][:8]}" for record in records]):
        if len(set(names)) < len(names):
            names = [f"{name}{end}" for name, end in zip(names, more, strict=True)]
    return names


def _check_same_data(records: Sequence[Record]) -> None:
    """For each seed, all settings must have seen the same parts of the same data."""
    seen: dict[int, Record] = {}
    for record in records:
        other = seen.setdefault(record.seed, record)
        if other.result["fingerprint"] != record.result["fingerprint"]:
            raise UserError(
                f"{other.folder} and {record.folder} have the same seed and saw different data "
                f"or another split of them ({other.result['data']}, {record.result['data']}): "
                "different_data=true compares each setting with those that saw the same"
            )


def _mean(values: Any) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)
