"""Compare runs: which setting is better, by how much, how sure, at what cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from seqmodels.compare.records import Record, find_runs, pick_metric
from seqmodels.compare.settings import (
    check_same_data,
    group_by_data,
    other_differences,
    setting_name,
    short_keys,
    used_labels,
    varied_keys,
)
from seqmodels.compare.statistics import LEVEL, Difference, Summary, against_best, summarize
from seqmodels.errors import UserError
from seqmodels.tasks.metrics import METRICS, metric_named, without_split


@dataclass(frozen=True)
class Setting:
    """All completed runs that differ only in their seed, and how they compare."""

    name: str  # such as `max_pool, lr=0.01`
    values: tuple[Any, ...]  # of `Comparison.keys`
    records: Sequence[Record]  # at least one
    scores: dict[int, float]  # the metric by seed
    summary: Summary
    difference: Difference | None  # to the best setting on the same data; None for the best itself


@dataclass(frozen=True)
class Section:
    """The settings that saw the same data, the best first."""

    data: str  # its name
    values: tuple[Any, ...]  # of `Comparison.data_keys`
    settings: Sequence[Setting]  # at least one

    def verdict(self) -> str:
        """What these runs show, and what they don't, in one or two sentences."""
        best, *others = self.settings
        if not others:
            return f"There is only one setting, {best.name}: nothing to compare it with."
        compared = [(s, s.difference) for s in others if s.difference]
        if all(math.isnan(difference.p) for _, difference in compared):
            return (
                f"{best.name} has the best mean, but no test is possible: run each setting with at "
                "least two common seeds."
            )
        equal = [(s, difference) for s, difference in compared if not difference.significant]
        if not equal:
            return f"{best.name} is better than all others (p < {LEVEL}, corrected for all pairs)."
        listed = [setting.name for setting, _ in equal]
        names = ("; " if any(", " in name for name in listed) else ", ").join(listed)
        text = f"These runs cannot tell {best.name}, which has the best mean, from {names}."
        needed = [(d.seeds_needed - d.shared, s.name) for s, d in equal if d.seeds_needed]
        if needed:
            count, name = min(needed, key=lambda pair: pair[0])
            more = f"{count} more seeds" if count > 1 else "1 more seed"
            text += f" About {more} might separate {best.name} from {name}."
        return text


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`."""

    metric: str
    higher_is_better: bool
    keys: Sequence[str]  # of the configuration, that tell the settings apart
    data_keys: Sequence[str]  # that tell only the data sets apart
    labels: Sequence[str]  # what people call runs, where any run has it: `task_name`, `tags`
    sections: Sequence[Section]  # one per data set
    failed: Sequence[Record]  # runs that did not complete
    left_out: Sequence[Record]  # completed runs that lack the metric, or where it is not finite
    others: Sequence[str]  # what else differs between the runs, such as the number of threads

    @property
    def settings(self) -> list[Setting]:
        return [setting for section in self.sections for setting in section.settings]

    @property
    def names(self) -> list[str]:
        """The columns of a table that are text."""
        return [*short_keys(self.keys), *self.labels]


def compare(
    places: Sequence[str], metric: str | None = None, *, different_data: bool = False
) -> Comparison:
    """Compares the runs in some folders.

    Args:
        places: run folders, folders at any height above them, or globs of those.
        metric: None for accuracy, else bits per byte, else the loss; of the test split, or of
            validation if no run was tested.
        different_data: whether settings may have seen different data; then each is compared with
            those that saw the same.

    Raises:
        UserError: if there is nothing to compare, the metric is unknown, or the data differs.
    """
    records = find_runs(places)
    metric = pick_metric(records, metric)
    higher_is_better = direction(records, metric)
    completed = [record for record in records if record.completed]
    scored = [record for record in completed if math.isfinite(record.score(metric))]
    if not scored:
        raise UserError(f"metric={metric} is not a finite number in any of these runs")
    if not different_data:
        check_same_data(scored)
    keys = varied_keys(scored)
    data_keys, by_data = group_by_data(scored, keys)
    setting_keys = [key for key in keys if key not in data_keys]
    sections = [
        Section(
            name,
            groups[0][0].values(data_keys),
            _settings(groups, setting_keys, metric, higher_is_better),
        )
        for name, groups in by_data
    ]
    failed = [record for record in records if not record.completed]
    left_out = [record for record in completed if not math.isfinite(record.score(metric))]
    others = other_differences(scored)
    return Comparison(
        metric,
        higher_is_better,
        setting_keys,
        data_keys,
        used_labels(scored),
        sections,
        failed,
        left_out,
        others,
    )


def direction(records: Sequence[Record], metric: str) -> bool:
    """Whether higher is better: from `METRICS`, or else from what the runs' results say.

    A task that defines its own metric isn't imported here, so its runs carry the direction.

    Raises:
        UserError: if neither knows the metric, or if the runs disagree.
    """
    name = without_split(metric)
    directions = [record.result.get("higher_is_better", {}) for record in records]
    said = {by_name[name] for by_name in directions if name in by_name}
    if name in METRICS or not said:
        return metric_named(metric).higher_is_better
    if len(said) == 2:
        raise UserError(
            f"metric={metric}: some of these runs say that higher is better and some that lower "
            "is: compare them separately"
        )
    return bool(said.pop())


def _settings(
    groups: Sequence[Sequence[Record]], keys: Sequence[str], metric: str, higher_is_better: bool
) -> list[Setting]:
    """Each setting against the best one, the best first."""
    scores: list[dict[int, float]] = []
    for group in groups:
        by_seed: dict[int, list[float]] = {}
        for record in group:
            by_seed.setdefault(record.seed, []).append(record.score(metric))
        # the mean, where a seed was run more than once
        scores.append({seed: mean(values) for seed, values in sorted(by_seed.items())})
    differences = against_best(scores, higher_is_better=higher_is_better)
    settings = [
        Setting(setting_name(keys, values), values, group, score, summarize(score), difference)
        for group, score, difference in zip(groups, scores, differences, strict=True)
        for values in (group[0].values(keys),)
    ]
    sign = -1 if higher_is_better else 1
    return sorted(settings, key=lambda s: (s.difference is not None, sign * s.summary.mean))


def mean(numbers: Iterable[float]) -> float:
    """Of at least one number, summed without loss of digits."""
    listed = list(numbers)
    return math.fsum(listed) / len(listed)
