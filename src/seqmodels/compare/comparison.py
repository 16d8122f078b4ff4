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

# A sentence names so many keys at most.
MOST_NAMES = 6
# What one adds to a command to get several seeds, or several splits.
ARGUMENTS_FOR_SEVERAL = {"seeds": "seed=0,1,2", "splits": "data.folds=5 data.fold=0,1,2,3,4"}


@dataclass(frozen=True)
class Setting:
    """All completed runs that differ only in their seed or their split, and how they compare."""

    name: str  # such as `max_pool, lr=0.01`
    # The values that its configuration has for `Comparison.keys`.
    values: tuple[Any, ...]
    records: Sequence[Record]  # one or more
    scores: Scores  # the metric by seed and data; by split, where runs differ in it
    summary: Summary
    beside: float  # the mean of the metric `Comparison.beside`; nan without it
    difference: Difference | None  # None for the best setting on the same data


@dataclass(frozen=True)
class Section:
    """The settings that saw the same data, the best first."""

    data: str  # its name
    # The values that the configurations have for `Grouping.data_keys`.
    values: tuple[Any, ...]
    settings: Sequence[Setting]  # one or more
    # Two runs are a pair if they have the same of these: seeds or splits.
    pairs: str = "seeds"

    @property
    def tested(self) -> bool:
        """Whether any setting shares enough seeds with the best one."""
        differences = [setting.difference for setting in self.settings]
        return any(difference and not math.isnan(difference.p) for difference in differences)

    def verdict(self) -> str:
        """What these runs show, and what they don't, in one or two sentences."""
        best, *others = self.settings
        if not others:
            return f"There is only one setting, {best.name}: nothing to compare it with."
        if not self.tested:
            return (
                f"{best.name} has the best mean, but fewer than {FEWEST_SEEDS} shared {self.pairs} "
                f"allow no verdict: {self._advice()}."
            )
        undecided = [
            (setting.name, setting.difference)
            for setting in others
            if setting.difference and not setting.difference.significant
        ]
        if not undecided:
            return f"{best.name} is better than all others (p < {LEVEL}, corrected for all pairs)."
        undecided_names = _listed([name for name, _ in undecided])
        verdict = (
            f"These runs cannot tell {best.name}, which has the best mean, from {undecided_names}."
        )
        return verdict + self._how_many_more(undecided) + self._what_to_run(undecided)

    def _advice(self) -> str:
        """What to run so that a difference can be tested."""
        arguments = ARGUMENTS_FOR_SEVERAL[self.pairs]
        return (
            f"run every setting with the same {self.pairs}, {FEWEST_SEEDS} or more, "
            f"such as {arguments}"
        )

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
        advice = ""
        names_ahead = [name for name, difference in undecided if difference.ahead_beyond_chance]
        if names_ahead:
            names = _listed(names_ahead)
            advice += f" On the {self.pairs} that both have, {names} did better: {self._advice()}."
        untested_names = [name for name, difference in undecided if math.isnan(difference.p)]
        if untested_names:
            names = _listed(untested_names)
            advice += (
                f" Fewer than {FEWEST_SEEDS} {self.pairs} are shared with {names}: "
                f"{self._advice()}."
            )
        return advice


@dataclass(frozen=True)
class Across:
    """The settings over all data sets."""

    sets: Sequence[str]  # (N,), the names of the data sets
    names: Sequence[str]  # (K,), the names of the settings
    values: Sequence[tuple[Any, ...]]  # (K,), what each setting has at `Comparison.keys`
    scores: np.ndarray  # (N, K), the mean of each set and setting; nan where there is none
    ranked: Sequence[OverSets]  # (K,), the best setting first
    points: bool  # whether a hundredth of the metric is a point

    @property
    def missing(self) -> list[str]:
        """Each setting that a set lacks, such as `max_pool on PLAID`."""
        places = np.argwhere(np.isnan(self.scores))
        return [f"{self.names[setting]} on {self.sets[number]}" for number, setting in places]

    def verdict(self) -> str:
        """What the data sets show, in one or two sentences."""
        best, *others = self.ranked
        best_name = self.names[best.setting]
        count = len(self.sets)
        fewest = fewest_sets(1)
        if count < fewest:
            return (
                f"{best_name} has the best mean rank, but {count} data sets allow no p: even a "
                f"setting that is better on all of {fewest - 1} may be so by chance."
            )
        verdict = self._who_is_better(best_name, others)
        if self.points:
            differences = [abs(setting.median_difference) for setting in others]
            within_one_point = [difference for difference in differences if difference < 0.01]
            verdict += (
                f" In the median, {len(within_one_point)} of {len(others)} others are within one "
                "point of it."
            )
        return verdict

    def _who_is_better(self, best_name: str, others: Sequence[OverSets]) -> str:
        """Whether the best setting is better than all others, or which ones it can't be told from,
        in a sentence."""
        count = len(self.sets)
        equal_names = [self.names[setting.setting] for setting in others if not setting.worse]
        if not equal_names:
            return (
                f"Over {count} data sets, {best_name} is better than all others "
                f"(p < {LEVEL}, corrected)."
            )
        sentence = (
            f"{count} data sets cannot tell {best_name}, which has the best mean rank, from "
            f"{_listed(equal_names)}"
        )
        pair_count = math.comb(len(self.names), 2)
        needed = fewest_sets(pair_count)
        if count < needed:
            sentence += f": to tell any of so many settings takes {needed} or more"
        return f"{sentence}."


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`."""

    metric: str
    higher_is_better: bool
    twin: str | None  # the same metric on the other split, test or validation, if any run has it
    grouping: Grouping
    sections: Sequence[Section]  # one per data set
    across: Across | None  # None for a single data set or setting
    failed: Sequence[Record]  # runs that did not complete
    left_out: Sequence[Record]  # completed runs that lack the metric, or where it is not finite
    others: Sequence[str]  # differences beyond the configuration, such as `threads (1, 2)`
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
        """By which split the settings are ranked, and why, in a sentence or two."""
        varied = enumerated(short_keys(self.grouping.tuned))
        if self.metric.startswith("test/"):
            if not varied or not self.twin:
                return "Ranked by the test split."
            return f"Ranked by the test split. To choose {varied}, use metric={self.twin}."
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
    failed = [record for record in records if not record.completed]
    metric = pick_metric(records, metric, _preferred_splits(completed))
    higher_is_better = direction(records, metric)

    scored = [record for record in completed if math.isfinite(record.score(metric))]
    left_out = [record for record in completed if not math.isfinite(record.score(metric))]
    if not scored:
        raise UserError(
            f"metric={metric} is not a finite number within ±{LARGEST_SCORE:g} in any of these runs"
        )
    grouping = group_runs(scored)
    twin = _twin(metric, scored)
    sections = [
        _section(data, runs_by_setting, grouping, metric, twin, higher_is_better)
        for data, runs_by_setting in grouping.data
    ]
    return Comparison(
        metric=metric,
        higher_is_better=higher_is_better,
        twin=twin,
        grouping=grouping,
        sections=sections,
        across=_across(sections, metric, higher_is_better),
        failed=failed,
        left_out=left_out,
        others=other_differences(scored),
        unreadable=unreadable,
    )


def _preferred_splits(completed: Sequence[Record]) -> tuple[str, str]:
    """The split to rank by, and the one to take where no run has it; `compare` says why."""
    if completed and group_runs(completed).tuned:
        return "validation", "test"
    return "test", "validation"


def direction(records: Sequence[Record], metric: str) -> bool:
    """Whether higher is better: from `METRICS`, or else from the runs, because a task that defines
    its own metric isn't imported here."""
    name = without_split(metric)
    directions = {
        record.higher_is_better[name] for record in records if name in record.higher_is_better
    }
    if find_metric(name) or not directions:
        return more_is_better(metric)
    if len(directions) == 2:
        raise UserError(
            f"metric={metric}: these runs disagree on whether higher is better: "
            "compare them separately"
        )
    return bool(directions.pop())


def _twin(metric: str, records: Sequence[Record]) -> str | None:
    """The same metric on the other split, test or validation; None if no run has it."""
    split, _, name = metric.partition("/")
    twin_by_split = {"test": f"validation/{name}", "validation": f"test/{name}"}
    twin = twin_by_split.get(split)
    if twin and any(math.isfinite(record.score(twin)) for record in records):
        return twin
    return None


def _section(
    data: str,
    runs_by_setting: Sequence[Sequence[Record]],
    grouping: Grouping,
    metric: str,
    twin: str | None,
    higher_is_better: bool,
) -> Section:
    """Compares the settings of one data set, the best first."""
    records = [record for runs in runs_by_setting for record in runs]
    has_several_splits = len({_split_of(record) for record in records}) > 1
    scores_by_setting = [_paired(runs, metric, has_several_splits) for runs in runs_by_setting]
    step = _step(records, metric)
    scored_split = metric.partition("/")[0]
    overlap = 0.0  # Runs that differ in their seed alone share their splits.
    if has_several_splits and _differs(records, scored_split):
        overlap = max(_overlap(record, scored_split) for record in records)
    differences = against_best(
        scores_by_setting, higher_is_better=higher_is_better, step=step, overlap=overlap
    )

    settings = []
    for runs, scores, difference in zip(
        runs_by_setting, scores_by_setting, differences, strict=True
    ):
        values = runs[0].values(grouping.keys)
        setting = Setting(
            name=setting_name(grouping.keys, values),
            values=values,
            records=runs,
            scores=scores,
            summary=summarize(scores, step, overlap),
            beside=_mean_of_twin(runs, twin, has_several_splits),
            difference=difference,
        )
        settings.append(setting)
    settings.sort(key=lambda setting: setting.summary.mean, reverse=higher_is_better)
    # Sorting keeps the order of equals: the best one moves to the top.
    settings.sort(key=lambda setting: setting.difference is not None)
    pairs = "splits" if has_several_splits else "seeds"
    return Section(data, records[0].values(grouping.data_keys), settings, pairs)


def _mean_of_twin(runs: Sequence[Record], twin: str | None, has_several_splits: bool) -> float:
    """The mean of the same metric on the other split, over the runs that have it; nan if none."""
    if twin is None:
        return math.nan
    scores = _paired(runs, twin, has_several_splits).values()
    finite_scores = [score for score in scores if math.isfinite(score)]
    if not finite_scores:
        return math.nan
    return fmean(finite_scores)


def _split_of(record: Record) -> str:
    """Which split of its data set a run has seen, as a text, because a configuration may hold a
    list here, which no set holds."""
    return str(record.values(SPLIT_KEYS))


def _paired(records: Iterable[Record], metric: str, has_several_splits: bool) -> Scores:
    """A setting's metric by what makes two runs a pair: their seed or their split, and their
    fingerprint, because runs on other data make no pair. Several such runs have their mean."""
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
    train_size = record.examples.get("train", 0)
    scored_size = record.examples.get(split, 0)
    if train_size and scored_size:
        return scored_size / train_size
    # With a target for each step, a run does not know these sizes; a fifth is the usual share.
    folds = record.config.get("data.folds")
    if type(folds) is not int or folds < 2:
        folds = 5
    return 1 / (folds - 1)


def _across(sections: Sequence[Section], metric: str, higher_is_better: bool) -> Across | None:
    """Compares the settings over all data sets; None for a single data set or setting."""
    # A name is cut if it is very long, so a setting is known by its values.
    settings_by_values = {
        _key_of(setting): setting for section in sections for setting in section.settings
    }
    if len(sections) < 2 or len(settings_by_values) < 2:
        return None
    keys = sorted(settings_by_values, key=lambda key: (settings_by_values[key].name, key))
    columns = {key: column for column, key in enumerate(keys)}
    scores = np.full((len(sections), len(keys)), math.nan)
    for row, section in enumerate(sections):
        for setting in section.settings:
            column = columns[_key_of(setting)]
            scores[row, column] = setting.summary.mean
    return Across(
        sets=[section.data for section in sections],
        names=[settings_by_values[key].name for key in keys],
        values=[settings_by_values[key].values for key in keys],
        scores=scores,
        ranked=over_sets(scores, higher_is_better=higher_is_better),
        points=unit(metric) == "%",
    )


def _key_of(setting: Setting) -> tuple[str, ...]:
    """A setting's values as texts, which can be compared whatever their types."""
    return tuple(map(as_json, setting.values))


def _step(records: Sequence[Record], metric: str) -> float:
    """The smallest step that the metric can take on the data of these runs: one example, for a
    share of so many examples; else, the smallest difference between two runs."""
    split = metric.partition("/")[0]
    sizes = [record.rows(split) or 0 for record in records]
    # Where tokens are counted, a run's targets are more than its examples, and it knows only these.
    countable_units = ["examples"]
    if not any(record.speed[0] == "tokens" for record in records):
        countable_units.append("targets")

    known_metric = find_metric(metric)
    if known_metric and known_metric.share_of in countable_units and min(sizes):
        return 1 / min(sizes)
    return smallest_step(record.score(metric) for record in records)


def enumerated(names: Sequence[str]) -> str:
    """`a, b and c`; of very many, the first and how many more."""
    if len(names) > MOST_NAMES:
        names = [*names[:MOST_NAMES], f"{len(names) - MOST_NAMES} more"]
    if len(names) < 2:
        return "".join(names)
    before_last = ", ".join(names[:-1])
    return f"{before_last} and {names[-1]}"


def _listed(names: Sequence[str]) -> str:
    """`a, b`; but `a, x=1; b, x=2` where a name itself has a comma."""
    has_comma = any(", " in name for name in names)
    separator = "; " if has_comma else ", "
    return separator.join(names)
