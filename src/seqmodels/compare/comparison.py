"""Compare runs: which setting is better, by how much, how sure, at what cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from seqmodels.compare.records import Record, find_runs, pick_metric
from seqmodels.compare.settings import (
    Grouping,
    check_same_data,
    group_runs,
    other_differences,
    setting_name,
    short_keys,
)
from seqmodels.compare.statistics import (
    FEWEST_SEEDS,
    LEVEL,
    Difference,
    Scores,
    Summary,
    against_best,
    smallest_step,
    summarize,
)
from seqmodels.errors import UserError
from seqmodels.metrics import find_metric, more_is_better, without_split

MOST_NAMES = 6  # of keys in a sentence
RUN_MORE = f"run every setting with the same seeds, {FEWEST_SEEDS} or more, such as seed=0,1,2"


@dataclass(frozen=True)
class Setting:
    """All completed runs that differ only in their seed, and how they compare."""

    name: str  # such as `max_pool, lr=0.01`
    values: tuple[Any, ...]  # of `Comparison.keys`
    records: Sequence[Record]  # at least one
    scores: Scores  # the metric by seed and data
    summary: Summary
    beside: float  # the mean of `Comparison.beside`; nan without
    difference: Difference | None  # to the best setting on the same data; None for the best itself


@dataclass(frozen=True)
class Section:
    """The settings that saw the same data, the best first."""

    data: str  # its name
    values: tuple[Any, ...]  # of `Comparison.data_keys`
    settings: Sequence[Setting]  # at least one

    @property
    def tested(self) -> bool:
        """Whether any setting shares enough seeds with the best one."""
        return any(s.difference and not math.isnan(s.difference.p) for s in self.settings)

    def verdict(self) -> str:
        """What these runs show, and what they don't, in one or two sentences."""
        best, *others = self.settings
        if not others:
            return f"There is only one setting, {best.name}: nothing to compare it with."
        if not self.tested:
            return (
                f"{best.name} has the best mean, but fewer than {FEWEST_SEEDS} shared seeds allow "
                f"no verdict: {RUN_MORE}."
            )
        equal = [(s, d) for s in others if (d := s.difference) and not d.significant]
        if not equal:
            return f"{best.name} is better than all others (p < {LEVEL}, corrected for all pairs)."
        names = _listed([setting.name for setting, _ in equal])
        text = f"These runs cannot tell {best.name}, which has the best mean, from {names}."
        needed = [(d.seeds_needed - d.shared, s.name) for s, d in equal if d.seeds_needed]
        if needed:
            count, name = min(needed, key=lambda pair: pair[0])
            more = f"{count} more seeds" if count > 1 else "1 more seed"
            text += f" About {more} might separate {best.name} from {name}."
        if ahead := [setting.name for setting, d in equal if d.ahead and d.p < LEVEL]:
            text += f" On the seeds that both have, {_listed(ahead)} did better: {RUN_MORE}."
        if untested := [setting.name for setting, d in equal if math.isnan(d.p)]:
            text += f" Fewer than {FEWEST_SEEDS} seeds are shared with {_listed(untested)}: "
            text += f"{RUN_MORE}."
        return text


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`."""

    metric: str
    higher_is_better: bool
    twin: str | None  # the same metric on the other split, test or validation, if any run has it
    grouping: Grouping
    sections: Sequence[Section]  # one per data set
    failed: Sequence[Record]  # runs that did not complete
    left_out: Sequence[Record]  # completed runs that lack the metric, or where it is not finite
    others: Sequence[str]  # what else differs between the runs, such as the number of threads

    @property
    def keys(self) -> Sequence[str]:
        """The keys of the configuration that tell the settings apart."""
        return self.grouping.keys

    @property
    def settings(self) -> list[Setting]:
        return [setting for section in self.sections for setting in section.settings]

    @property
    def beside(self) -> str | None:
        """The test metric to show beside a ranking by validation."""
        return self.twin if self.metric.startswith("validation/") else None

    def ranking(self) -> str:
        """By which split the settings are ranked, and why, in a sentence."""
        varied = enumerated(short_keys(self.grouping.tuned))
        if self.metric.startswith("test/"):
            choose = f" To choose {varied}, use metric={self.twin}." if varied and self.twin else ""
            return f"Ranked by the test split.{choose}"
        if not varied or not self.beside:
            return f"Ranked by {self.metric}."
        return f"Ranked by the validation split: choose {varied} by it, then report the test split."


def compare(
    places: Sequence[str], metric: str | None = None, *, different_data: bool = False
) -> Comparison:
    """Compares the runs in some folders.

    Args:
        places: run folders, folders at any height above them, or globs of those.
        metric: None for accuracy, else bits per byte, RMSE or loss: on the test split where only
            the head, the data and the seed vary; on the validation split where anything else does,
            such as the learning rate, because the best of many settings on the test split owes part
            of its rank to luck. The other split is taken if no run has the first.
        different_data: whether settings may have seen different data; then each is compared with
            the settings that saw the same data.

    Raises:
        UserError: if there is nothing to compare, the metric is unknown, or the data differs.
    """
    records = find_runs(places)
    completed = [record for record in records if record.completed]
    tuned = completed and group_runs(completed).tuned
    splits = ("validation", "test") if tuned else ("test", "validation")
    metric = pick_metric(records, metric, splits)
    higher_is_better = direction(records, metric)
    scored = [record for record in completed if math.isfinite(record.score(metric))]
    if not scored:
        raise UserError(f"metric={metric} is not a finite number in any of these runs")
    if not different_data:
        check_same_data(scored)
    grouping, twin = group_runs(scored), _twin(metric, scored)
    sections = [
        Section(name, groups[0][0].values(grouping.data_keys), settings)
        for name, groups in grouping.data
        for settings in [_settings(groups, grouping.keys, metric, twin, higher_is_better)]
    ]
    return Comparison(
        metric,
        higher_is_better,
        twin,
        grouping,
        sections,
        failed=[record for record in records if not record.completed],
        left_out=[record for record in completed if not math.isfinite(record.score(metric))],
        others=other_differences(scored),
    )


def direction(records: Sequence[Record], metric: str) -> bool:
    """Whether higher is better: from `METRICS`, or else from what the runs' results say.

    A task that defines its own metric isn't imported here, so its runs carry the direction.

    Raises:
        UserError: if neither knows the metric, or if the runs disagree.
    """
    name = without_split(metric)
    said = {r.higher_is_better[name] for r in records if name in r.higher_is_better}
    if find_metric(name) or not said:
        return more_is_better(metric)
    if len(said) == 2:
        why = "these runs disagree on whether higher is better"
        raise UserError(f"metric={metric}: {why}: compare them separately")
    return bool(said.pop())


def _twin(metric: str, records: Sequence[Record]) -> str | None:
    split, _, name = metric.partition("/")
    twin = {"test": f"validation/{name}", "validation": f"test/{name}"}.get(split, "")
    return twin if any(math.isfinite(record.score(twin)) for record in records) else None


def _settings(
    groups: Sequence[Sequence[Record]],
    keys: Sequence[str],
    metric: str,
    twin: str | None,
    higher_is_better: bool,
) -> list[Setting]:
    """Each setting against the best one, the best first."""
    scores = [_by_seed(group, metric) for group in groups]
    step = _step([record for group in groups for record in group], metric)
    differences = against_best(scores, higher_is_better=higher_is_better, step=step)
    settings = []
    for group, score, difference in zip(groups, scores, differences, strict=True):
        values, summary = group[0].values(keys), summarize(score, step)
        others = [s for s in _by_seed(group, twin or "").values() if math.isfinite(s)]
        beside, name = fmean(others) if others else math.nan, setting_name(keys, values)
        settings.append(Setting(name, values, group, score, summary, beside, difference))
    sign = -1 if higher_is_better else 1
    return sorted(settings, key=lambda s: (s.difference is not None, sign * s.summary.mean))


def _by_seed(records: Iterable[Record], metric: str) -> Scores:
    """The metric by seed and fingerprint, because runs on other data make no pair; the mean, where
    a seed was run more than once."""
    by_seed: dict[tuple[int, str], list[float]] = {}
    for record in records:
        key = (record.seed, record.fingerprint)
        by_seed.setdefault(key, []).append(record.score(metric))
    return {key: fmean(values) for key, values in sorted(by_seed.items())}


def _step(records: Sequence[Record], metric: str) -> float:
    """The smallest step that the metric can take on the data of these runs.

    That is one example for a share of examples, such as an accuracy of a task with a target for
    each. For any other metric, or where a run doesn't say how many examples there are, it is the
    smallest difference between two runs.
    """
    sizes = [record.rows(metric.partition("/")[0]) or 0 for record in records]
    found, by_token = find_metric(metric), any(r.speed[0] == "tokens" for r in records)
    counted = ("examples",) if by_token else ("examples", "targets")
    if found and found.share_of in counted and min(sizes):
        return 1 / min(sizes)
    return smallest_step(record.score(metric) for record in records)


def enumerated(names: Sequence[str]) -> str:
    """`a, b and c`; of very many, the first and how many more."""
    if len(names) > MOST_NAMES:
        names = [*names[:MOST_NAMES], f"{len(names) - MOST_NAMES} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _listed(names: Sequence[str]) -> str:
    return ("; " if any(", " in name for name in names) else ", ").join(names)
