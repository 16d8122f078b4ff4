"""Compare runs: which setting is better, by how much, how sure, at what cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from seqmodels.compare.runs import (
    LARGEST_SCORE,
    SPLIT_KEYS,
    Grouping,
    Record,
    as_json,
    find_runs,
    group_runs,
    other_differences,
    pick_metric,
    setting_name,
    short_keys,
)
from seqmodels.compare.statistics import (
    FEWEST_SEEDS,
    LEVEL,
    Difference,
    OverSets,
    Scores,
    Summary,
    against_best,
    fewest_sets,
    over_sets,
    smallest_step,
    summarize,
)
from seqmodels.errors import UserError
from seqmodels.metrics import find_metric, more_is_better, unit, without_split

MOST_NAMES = 6  # of keys in a sentence
SUCH_AS = {"seeds": "seed=0,1,2", "splits": "data.folds=5 data.fold=0,1,2,3,4"}


@dataclass(frozen=True)
class Setting:
    """All completed runs that differ only in their seed or their split, and how they compare."""

    name: str  # such as `max_pool, lr=0.01`
    values: tuple[Any, ...]  # of `Comparison.keys`
    records: Sequence[Record]  # at least one
    scores: Scores  # the metric by seed and data; by split, where runs differ in it
    summary: Summary
    beside: float  # the mean of `Comparison.beside`; nan without
    difference: Difference | None  # to the best setting on the same data; None for the best itself


@dataclass(frozen=True)
class Section:
    """The settings that saw the same data, the best first."""

    data: str  # its name
    values: tuple[Any, ...]  # of `Comparison.data_keys`
    settings: Sequence[Setting]  # at least one
    pairs: str = "seeds"  # what makes two runs a pair; or splits

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
            few = f"fewer than {FEWEST_SEEDS} shared {self.pairs} allow no verdict"
            return f"{best.name} has the best mean, but {few}: {self._advice()}."
        differences = [(setting.name, setting.difference) for setting in others]
        undecided = [(name, d) for name, d in differences if d and not d.significant]
        if not undecided:
            return f"{best.name} is better than all others (p < {LEVEL}, corrected for all pairs)."
        names = _listed([name for name, _ in undecided])
        text = f"These runs cannot tell {best.name}, which has the best mean, from {names}."
        return text + self._how_many_more(undecided) + self._what_to_run(undecided)

    def _advice(self) -> str:
        such_as = f"{FEWEST_SEEDS} or more, such as {SUCH_AS[self.pairs]}"
        return f"run every setting with the same {self.pairs}, {such_as}"

    def _how_many_more(self, undecided: Sequence[tuple[str, Difference]]) -> str:
        """How many more seeds might separate the best setting from the next; empty if none can."""
        missing_seeds = [
            (difference.seeds_needed - difference.shared, name)
            for name, difference in undecided
            if difference.seeds_needed
        ]
        if not missing_seeds:
            return ""
        count, name = min(missing_seeds, key=lambda count_and_name: count_and_name[0])
        pairs = self.pairs if count > 1 else self.pairs.removesuffix("s")
        best = self.settings[0].name
        return f" About {count} more {pairs} might separate {best} from {name}."

    def _what_to_run(self, undecided: Sequence[tuple[str, Difference]]) -> str:
        """What to run where the settings have different seeds; empty where they share enough."""
        text = ""
        ahead = [name for name, difference in undecided if difference.ahead_beyond_chance]
        if ahead:
            both = f"On the {self.pairs} that both have"
            text += f" {both}, {_listed(ahead)} did better: {self._advice()}."
        untested = [name for name, difference in undecided if math.isnan(difference.p)]
        if untested:
            few = f"Fewer than {FEWEST_SEEDS} {self.pairs} are shared"
            text += f" {few} with {_listed(untested)}: {self._advice()}."
        return text


@dataclass(frozen=True)
class Across:
    """The settings over all data sets."""

    sets: Sequence[str]  # their names
    names: Sequence[str]  # of the settings
    values: Sequence[tuple[Any, ...]]  # of `Comparison.keys`, of each setting
    scores: np.ndarray  # (N, K), the mean of each set and setting; nan where there is none
    found: Sequence[OverSets]  # the best setting first
    points: bool  # whether a hundredth of the metric is a point

    @property
    def missing(self) -> list[str]:
        """Each setting that a set lacks, such as `max_pool on PLAID`."""
        return [f"{self.names[k]} on {self.sets[n]}" for n, k in np.argwhere(np.isnan(self.scores))]

    def verdict(self) -> str:
        """What the data sets show, in one or two sentences."""
        best, *others = self.found
        name, count, least = self.names[best.setting], len(self.sets), fewest_sets(1)
        if count < least:
            chance = f"even a setting that is better on all of {least - 1} may be so by chance"
            return f"{name} has the best mean rank, but {count} data sets allow no p: {chance}."
        text = f"Over {count} data sets, {name} is better than all others (p < {LEVEL}, corrected)."
        if equal := [self.names[each.setting] for each in others if not each.worse]:
            needed = fewest_sets(len(self.names) * len(others) // 2)
            more = f": to tell any of so many settings takes {needed} or more" * (count < needed)
            text = f"{count} data sets cannot tell {name}, which has the best mean rank, from "
            text += f"{_listed(equal)}{more}."
        if self.points:
            close = sum(abs(each.median_difference) < 0.01 for each in others)
            text += f" In the median, {close} of {len(others)} others are within one point of it."
        return text


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`."""

    metric: str
    higher_is_better: bool
    twin: str | None  # the same metric on the other split, test or validation, if any run has it
    grouping: Grouping
    sections: Sequence[Section]  # one per data set
    across: Across | None  # of several data sets
    failed: Sequence[Record]  # runs that did not complete
    left_out: Sequence[Record]  # completed runs that lack the metric, or where it is not finite
    others: Sequence[str]  # what else differs between the runs, such as the number of threads
    unreadable: Sequence[str]  # a line for each folder that cannot be read, which says why

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


def compare(places: Sequence[str], metric: str | None = None) -> Comparison:
    """Compares the runs in some folders: on each data set, and over all of them.

    Args:
        places: run folders, folders at any height above them, or globs of those.
        metric: None for that of the kind of target, else the loss: on the test split where only the
            head, the data and the seed vary; on the validation split where anything else does, such
            as the learning rate, because the best of many settings on the test split owes part of
            its rank to luck. The other split is taken if no run has the first.

    Raises:
        UserError: if there is nothing to compare, or the metric is unknown.
    """
    records, unreadable = find_runs(places)
    completed = [record for record in records if record.completed]
    tuned = completed and group_runs(completed).tuned
    splits = ("validation", "test") if tuned else ("test", "validation")
    metric = pick_metric(records, metric, splits)
    higher_is_better = direction(records, metric)
    scored = [record for record in completed if math.isfinite(record.score(metric))]
    if not scored:
        bound = f"a finite number within ±{LARGEST_SCORE:g}"
        raise UserError(f"metric={metric} is not {bound} in any of these runs")
    grouping, twin = group_runs(scored), _twin(metric, scored)
    how = grouping, metric, twin, higher_is_better
    sections = [_section(name, groups, *how) for name, groups in grouping.data]
    return Comparison(
        metric,
        higher_is_better,
        twin,
        grouping,
        sections,
        _across(sections, metric, higher_is_better),
        failed=[record for record in records if not record.completed],
        left_out=[record for record in completed if not math.isfinite(record.score(metric))],
        others=other_differences(scored),
        unreadable=unreadable,
    )


def direction(records: Sequence[Record], metric: str) -> bool:
    """Whether higher is better: from `METRICS`, or else from the runs, because a task that defines
    its own metric isn't imported here."""
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


def _section(
    data: str,
    groups: Sequence[Sequence[Record]],
    grouping: Grouping,
    metric: str,
    twin: str | None,
    higher_is_better: bool,
) -> Section:
    """Each setting against the best one, the best first."""
    records = [record for group in groups for record in group]
    has_several_splits = len({_split_of(record) for record in records}) > 1
    scores = [_paired(group, metric, has_several_splits) for group in groups]
    step = _step(records, metric)
    scored_split = metric.partition("/")[0]
    overlap = 0.0  # runs that differ in their seed alone share their splits
    if has_several_splits and _differs(records, scored_split):
        overlap = max(_overlap(record, scored_split) for record in records)
    to_best = against_best(scores, higher_is_better=higher_is_better, step=step, overlap=overlap)

    settings = []
    for group, score, difference in zip(groups, scores, to_best, strict=True):
        values = group[0].values(grouping.keys)
        twin_scores = _paired(group, twin or "", has_several_splits).values()
        finite_scores = [score for score in twin_scores if math.isfinite(score)]
        settings.append(
            Setting(
                setting_name(grouping.keys, values),
                values,
                group,
                score,
                summarize(score, step, overlap),
                fmean(finite_scores or [math.nan]),
                difference,
            )
        )
    settings.sort(key=lambda setting: setting.summary.mean, reverse=higher_is_better)
    settings.sort(key=lambda setting: setting.difference is not None)
    pairs = "splits" if has_several_splits else "seeds"
    return Section(data, records[0].values(grouping.data_keys), settings, pairs)


def _split_of(record: Record) -> str:
    """Which split of one data set a run has seen, as a text: a stranger may write a list."""
    return str(record.values(SPLIT_KEYS))


def _paired(records: Iterable[Record], metric: str, has_several_splits: bool) -> Scores:
    """The metric by seed, or by split, and by fingerprint, because runs on other data make no pair;
    the mean, where there are several runs."""
    scores_by_pair: dict[tuple[Any, str], list[float]] = {}
    for record in records:
        pair: Any = _split_of(record) if has_several_splits else record.seed
        scores_by_pair.setdefault((pair, record.fingerprint), []).append(record.score(metric))
    return {pair: fmean(scores) for pair, scores in sorted(scores_by_pair.items())}


def _differs(records: Sequence[Record], split: str) -> bool:
    """Whether runs on several splits of their data are scored on different examples. Not where a
    data set has a test split of its own, and only what they train on varies."""
    if len({record.fingerprint for record in records}) == 1 and records[0].fingerprint:
        return False
    fingerprints = {record.fingerprints.get(split) for record in records}
    if None not in fingerprints:
        return len(fingerprints) > 1
    # A run of another task, or of an older version, doesn't know them, but names its files.
    if any(record.config.get("data.folds") is not None for record in records):
        return True
    return not all(isinstance(record.config.get(f"data.{split}"), str) for record in records)


def _overlap(record: Record, split: str) -> float:
    """The size of the split that is scored in units of the training split."""
    train_size, scored_size = record.examples.get("train", 0), record.examples.get(split, 0)
    if train_size and scored_size:
        return scored_size / train_size
    # With a target for each step, a run knows none; a fifth is the usual share.
    folds = record.config.get("data.folds")
    if type(folds) is not int or folds < 2:
        folds = 5
    return 1 / (folds - 1)


def _across(sections: Sequence[Section], metric: str, higher_is_better: bool) -> Across | None:
    """None for a single data set or setting."""
    # A name is cut if it is very long, so a setting is known by its values.
    settings_by_values = {
        _key_of(setting): setting for section in sections for setting in section.settings
    }
    if len(sections) < 2 or len(settings_by_values) < 2:
        return None
    keys = sorted(settings_by_values, key=lambda key: (settings_by_values[key].name, key))
    places = {key: place for place, key in enumerate(keys)}
    scores = np.full((len(sections), len(keys)), math.nan)
    for row, section in zip(scores, sections, strict=True):
        for setting in section.settings:
            row[places[_key_of(setting)]] = setting.summary.mean
    return Across(
        sets=[section.data for section in sections],
        names=[settings_by_values[key].name for key in keys],
        values=[settings_by_values[key].values for key in keys],
        scores=scores,
        found=over_sets(scores, higher_is_better=higher_is_better),
        points=unit(metric) == "%",
    )


def _key_of(setting: Setting) -> tuple[str, ...]:
    return tuple(map(as_json, setting.values))


def _step(records: Sequence[Record], metric: str) -> float:
    """The smallest step that the metric can take on the data of these runs: one example, for a
    share of so many examples; else, the smallest difference between two runs."""
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
