"""Statistics over seeds, splits and data sets: which setting is better, by how much, how sure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from scipy import special, stats

# The significance level, for all pairs of settings together; intervals have confidence 1 - LEVEL.
LEVEL = 0.05
# The share of experiments with `seeds_needed` seeds that find a difference of the observed size.
POWER = 0.8
# A test or an interval needs so many seeds: two say next to nothing about a deviation.
FEWEST_SEEDS = 3
# A larger estimate of `seeds_needed` is reported as None.
MOST_SEEDS = 10_000
# So often the data sets are drawn again, for an interval.
RESAMPLES = 10_000
# Differences up to this share of the largest number are rounding of 32-bit numbers.
LAST_DIGITS = 1e-6

T = TypeVar("T")
Scores = Mapping[Any, float]
"""The metric of one setting by seed, or by split, or by whatever makes two runs a pair."""


@dataclass(frozen=True)
class Summary:
    """The metric of one setting over its seeds, in the metric's own scale."""

    mean: float
    deviation: float  # the standard deviation, with `n - 1`; nan for one seed
    interval: float  # half the width of the mean's 95 % interval; nan below `FEWEST_SEEDS`


@dataclass(frozen=True)
class Difference:
    """A setting against the best one."""

    mean: float  # over shared seeds; without any, the difference of the two means
    shared: int  # seeds that both settings have
    # The p of a two-sided paired t-test, corrected for all pairs; nan below `FEWEST_SEEDS`.
    p: float
    seeds_needed: int | None  # None if it is significant already, or can't be estimated
    # Whether the setting is better on the shared seeds: the best one may rank first by its others.
    ahead: bool

    @property
    def significant(self) -> bool:
        """Whether the best setting is better, beyond chance."""
        return self.p < LEVEL and not self.ahead

    @property
    def ahead_beyond_chance(self) -> bool:
        """Whether the setting is better than the best one on the seeds that both have."""
        return self.p < LEVEL and self.ahead


def smallest_step(scores: Iterable[float]) -> float:
    """The smallest difference between two of these scores, beyond the last digits of 32-bit
    numbers; 0 if there is none."""
    sorted_scores = np.sort([*scores])
    rounding = LAST_DIGITS * np.abs(sorted_scores).max(initial=0.0)
    gaps = np.diff(sorted_scores)
    gaps = gaps[gaps > rounding]
    if not len(gaps):
        return 0.0
    return float(gaps.min())


def summarize(scores: Scores, step: float = 0.0, overlap: float = 0.0) -> Summary:
    """Mean, deviation and interval (Student's t) over seeds (at least one).

    Args:
        step: the smallest step that the metric can take; it widens the interval.
        overlap: as in `against_best`.
    """
    values = np.array([*scores.values()])
    count = len(values)
    deviation = math.nan
    if count > 1:
        deviation = float(values.std(ddof=1))
    quantile = math.nan  # the one of Student's t
    if count >= FEWEST_SEEDS:
        quantile = float(stats.t.ppf(1 - LEVEL / 2, count - 1))

    # A score counts as if it hid a rounding error of variance step²/12, as in `against_best`.
    variance_of_score = deviation**2 + step**2 / 12
    standard_error = math.sqrt(variance_of_score * (1 / count + overlap))
    return Summary(float(values.mean()), deviation, quantile * standard_error)


def against_best(
    settings: Sequence[Scores], *, higher_is_better: bool, step: float = 0.0, overlap: float = 0.0
) -> list[Difference | None]:
    """Each setting against the one with the best mean; None for the best itself.

    Equal settings are called different in at most 5 % of sweeps. The best may owe its place to
    luck, so all pairs count, not only those with it. And an accuracy on 48 rows is a multiple of
    1/48, so a few seeds often agree by rounding alone: every score counts as if it hid an error
    that is uniform over one step, of variance step²/12 (Sheppard 1898; Widrow and Kollár 2008,
    "Quantization Noise", chapter 4), and the difference of two as if it hid step²/6.

    Args:
        step: the smallest step that the metric can take, such as 1/48; 0 for a continuous one.
        overlap: of scores by split, the size of the scored split in units of the training split.
            Training splits overlap, so the variance of a mean of `n` is `1/n + overlap` times that
            of a score (the corrected resampled t-test; Nadeau and Bengio 2003). 0 for seeds.
    """
    means = [float(np.mean([*scores.values()])) for scores in settings]
    best = int(np.argmin(means))
    if higher_is_better:
        best = int(np.argmax(means))

    deltas_by_setting: dict[int, np.ndarray] = {}
    raw_p: dict[int, float] = {}
    for setting, scores in enumerate(settings):
        if setting == best:
            continue
        deltas = _deltas(scores, settings[best])
        deltas_by_setting[setting] = deltas
        if len(deltas) >= FEWEST_SEEDS:
            raw_p[setting] = _paired_p(deltas, step, overlap)
    pair_count = math.comb(len(settings), 2)
    corrected_p = _holm(raw_p, pair_count)

    differences: list[Difference | None] = [None] * len(settings)
    for setting, deltas in deltas_by_setting.items():
        mean = means[setting] - means[best]
        is_ahead = False
        if len(deltas):
            mean = float(deltas.mean())
            is_ahead = mean > 0 if higher_is_better else mean < 0

        p = corrected_p.get(setting, math.nan)
        count_needed = None
        # More splits overlap ever more, so there is no number of them that suffices.
        if p >= LEVEL and not overlap:
            count_needed = seeds_needed(deltas, pair_count, step)
        differences[setting] = Difference(mean, len(deltas), p, count_needed, is_ahead)
    return differences


def _deltas(scores: Scores, best_scores: Scores) -> np.ndarray:
    """By how much a setting's scores are above the best one's, at the seeds that both have."""
    shared_keys = [key for key in best_scores if key in scores]
    return np.array([scores[key] - best_scores[key] for key in shared_keys])


def _holm(raw_p: Mapping[T, float], pair_count: int) -> dict[T, float]:
    """Corrects p for so many pairs (Holm 1979). Pairs that are not in `raw_p` count as if their p
    were larger than all of these."""
    corrected_p: dict[T, float] = {}
    largest = 0.0  # the corrected p never falls from one rank to the next
    for rank, key in enumerate(sorted(raw_p, key=raw_p.__getitem__)):
        p = min(1.0, raw_p[key] * (pair_count - rank))
        largest = max(largest, p)
        corrected_p[key] = largest
    return corrected_p


def seeds_needed(deltas: np.ndarray, pairs: int, step: float = 0.0) -> int | None:
    """How many paired differences like these, at least two, a t-test at `LEVEL / pairs` needs for
    `POWER`. None if their mean or deviation is 0, or if more than `MOST_SEEDS` are needed."""
    deviation = _deviation(deltas, step)
    if not deviation:
        return None
    counts, freedom, critical = _critical_values(pairs)  # (N,) each, as all that follows
    # A t-test of so many differences is significant if a noncentral t is above the critical value.
    effect_size = abs(deltas.mean()) / deviation
    noncentrality = effect_size * np.sqrt(counts)

    # We take its normal approximation (Johnson and Kotz 1970, chapter 31).
    spread = np.sqrt(1 + critical**2 / (2 * freedom))
    power_as_normal = (noncentrality - critical * (1 - 1 / (4 * freedom))) / spread
    sufficient_counts = counts[power_as_normal >= special.ndtri(POWER)]
    if not len(sufficient_counts):
        return None
    return int(sufficient_counts[0])


@lru_cache
def _critical_values(pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All numbers of seeds from `FEWEST_SEEDS` to `MOST_SEEDS`, their degrees of freedom, and what
    the t of so many pairs must exceed to be significant with each. It takes longer than all else of
    a comparison."""
    counts = np.arange(FEWEST_SEEDS, MOST_SEEDS + 1)
    freedom = counts - 1
    critical_values = special.stdtrit(freedom, 1 - LEVEL / pairs / 2)
    for values in (counts, freedom, critical_values):
        values.flags.writeable = False  # All callers share them.
    return counts, freedom, critical_values


def _paired_p(deltas: np.ndarray, step: float, overlap: float) -> float:
    """The two-sided p of a paired t-test, before it is corrected for several pairs."""
    mean = float(deltas.mean())
    deviation = _deviation(deltas, step)
    if not deviation:  # A continuous metric has the same difference at every seed.
        return 0.0 if mean else 1.0
    t = abs(mean) / deviation / math.sqrt(1 / len(deltas) + overlap)
    one_sided_p = special.stdtr(len(deltas) - 1, -t)  # It equals stats.t.sf, 50 times as fast.
    return float(2 * one_sided_p)


def _deviation(deltas: np.ndarray, step: float) -> float:
    """The standard deviation of paired differences, each with the rounding of two scores."""
    variance = float(deltas.var(ddof=1))
    return math.sqrt(variance + step**2 / 6)


@dataclass(frozen=True)
class OverSets:
    """A setting over data sets, each of which counts once. A set that lacks a setting counts for
    the pairs of the others; below `fewest_sets(1)` shared sets, intervals and p are nan."""

    setting: int  # its number, the column of its scores
    sets: int  # how many sets have it
    mean_rank: float  # 1 if it is the best on every set; equal scores share their rank
    mean: float
    best_on: int  # the number of sets on which no other setting is better
    median_difference: float  # its scores minus the first setting's, on the sets that both have
    # The ends of the 95 % interval of that median, by resampling these sets.
    low: float
    high: float
    p: float  # its entry of `pairs` for the first setting
    friedman_p: float  # p of all settings together, on the sets that have all (Friedman 1937)
    pairs: Sequence[float]  # (K,), p against each setting, by signed ranks; not below `friedman_p`
    worse: bool  # whether the first setting is better, beyond chance


def fewest_sets(pairs: int) -> int:
    """How many data sets a signed-rank test needs, corrected for so many pairs, to find a setting
    that is better on every one."""
    return 1 + math.ceil(math.log2(pairs / LEVEL))


def over_sets(scores: np.ndarray, *, higher_is_better: bool) -> list[OverSets]:
    """Compares settings over data sets (Demšar 2006; Benavoli et al. 2016), the best mean rank
    first; but a setting that half of the sets lack comes after the others.

    Args:
        scores: `(N, K)`, of each set and setting; nan where there is none.
    """
    # (N, K, K): by how much one setting is better than another on a set; nan without a score
    differences = _differences(scores, higher_is_better=higher_is_better)
    is_shared = ~np.isnan(differences)
    losses = (differences < 0) + 0.5 * (differences == 0)  # A tie is half a loss.
    shared_sets = is_shared.sum(axis=0)  # (K, K)
    sets_of_setting = shared_sets.diagonal()  # (K,): a setting shares with itself all that it has

    # A setting's rank on a set is one more than the settings that beat it; over sets, we take
    # shares, so that settings that lack a set can be ranked, too.
    loss_shares = losses.sum(axis=0) / np.maximum(shared_sets, 1)
    mean_ranks = 0.5 + np.where(shared_sets > 0, loss_shares, 0.5).sum(axis=1)  # (K,)

    is_complete = is_shared.all(axis=(1, 2))  # (N,)
    ranks_on_complete_sets = losses[is_complete].sum(axis=2)  # less 0.5, which no test sees
    friedman_p = _friedman_p(ranks_on_complete_sets)
    pair_p = _pair_p(differences, friedman_p)
    sets_as_best = _sets_as_best(differences)

    lacks_half = 2 * sets_of_setting <= len(scores)
    order = np.lexsort((mean_ranks, lacks_half)).tolist()  # The last key comes first.
    best = order[0]
    rows = list[OverSets]()
    for setting in order:
        has_both = is_shared[:, setting, best]
        advantages = differences[has_both, setting, best]  # above 0 where it beats the best
        score_differences = advantages
        if not higher_is_better:
            score_differences = -advantages
        median, low, high = _median_and_interval(score_differences)

        is_significant = bool(pair_p[setting, best] < LEVEL)
        scores_of_setting = scores[is_shared[:, setting, setting], setting]
        rows.append(
            OverSets(
                setting=setting,
                sets=int(sets_of_setting[setting]),
                mean_rank=float(mean_ranks[setting]),
                # This sum is exact, so the order of the sets is irrelevant.
                mean=fmean(scores_of_setting.tolist()),
                best_on=int(sets_as_best[setting]),
                median_difference=median,
                low=low,
                high=high,
                p=float(pair_p[setting, best]),
                friedman_p=friedman_p,
                pairs=pair_p[setting].tolist(),
                # Signed ranks decide on the side, too: the median may say otherwise.
                worse=is_significant and _signed_rank_sum(advantages) < 0,
            )
        )
    return rows


def _sets_as_best(differences: np.ndarray) -> np.ndarray:
    """On how many sets no setting beats this one, `(K,)`. One that is alone on a set wins nothing.

    Args:
        differences: as `_differences` gives them.
    """
    settings_beside = (~np.isnan(differences)).sum(axis=2)  # (N, K), with itself
    is_beaten = (differences < 0).any(axis=2)
    is_best = (settings_beside > 1) & ~is_beaten
    return np.asarray(is_best.sum(axis=0))


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact for any ties; zeros count half for either
    side. SciPy is exact with ties only up to 13 sets, in half a second a pair."""
    # Twice each rank is a whole number, also where several share one.
    doubled_ranks = (2 * _ranks_of_sizes(differences)).astype(int)
    nonzero_ranks = doubled_ranks[differences != 0]
    positive_ranks = doubled_ranks[differences > 0]

    # The chances that the ranks of the positive differences add up to 0, 1, 2, ...
    chances = np.ones(1)
    for rank in nonzero_ranks:
        zeros = np.zeros(rank)
        chances_if_negative = np.append(chances, zeros)
        chances_if_positive = np.append(zeros, chances)
        chances = (chances_if_negative + chances_if_positive) / 2  # Either sign is as likely.

    middle = nonzero_ranks.sum() / 2
    distances = np.abs(np.arange(len(chances)) - middle)
    observed_distance = abs(positive_ranks.sum() - middle)
    return float(chances[distances >= observed_distance].sum())


def _signed_rank_sum(differences: np.ndarray) -> float:
    """The sum of signed ranks: below 0 if they speak against the first of two settings."""
    signed_ranks = np.sign(differences) * _ranks_of_sizes(differences)
    return float(signed_ranks.sum())


def _ranks_of_sizes(differences: np.ndarray) -> np.ndarray:
    """Ranks of differences by their size, whatever their sign. Nine digits decide, so that
    0.9 - 0.8 and 0.8 - 0.7 share their rank."""
    rounded_sizes = [float(f"{size:.9g}") for size in np.abs(differences)]
    return np.asarray(stats.rankdata(rounded_sizes))


def _differences(scores: np.ndarray, *, higher_is_better: bool) -> np.ndarray:
    """By how much the first of two settings is better on each set, `(N, K, K)`; 0 within the last
    digits of 32-bit numbers, nan without a score."""
    largest_scores = np.nanmax(np.abs(scores), axis=1)  # (N,)
    rounding = LAST_DIGITS * largest_scores[:, None, None]
    differences = scores[:, :, None] - scores[:, None, :]
    differences[np.abs(differences) <= rounding] = 0
    return differences if higher_is_better else -differences


def _friedman_p(ranks: np.ndarray) -> float:
    """p of Friedman's test that no setting differs; nan for two settings, or too few sets.

    Args:
        ranks: `(N, K)`, on the sets that have all settings; shifted by any number.
    """
    sets, settings = ranks.shape
    if settings <= 2 or sets < fewest_sets(1):
        return math.nan
    with np.errstate(invalid="ignore"):  # It divides 0 by 0 if no setting differs on any set.
        return float(stats.friedmanchisquare(*ranks.T).pvalue)


def _pair_p(differences: np.ndarray, friedman_p: float) -> np.ndarray:
    """p of each pair of settings by signed ranks, corrected for all pairs and not below that of all
    settings together, `(K, K)`; nan with too few sets.

    Args:
        differences: as `_differences` gives them.
    """
    settings = differences.shape[1]
    pairs = [*combinations(range(settings), 2)]
    raw_p: dict[tuple[int, int], float] = {}
    for first, second in pairs:
        differences_of_pair = differences[:, first, second]
        differences_of_pair = differences_of_pair[~np.isnan(differences_of_pair)]
        if len(differences_of_pair) >= fewest_sets(1):
            raw_p[first, second] = signed_rank_p(differences_of_pair)

    p_by_pair = _holm(raw_p, len(pairs))
    p = np.full((settings, settings), math.nan)
    for (first, second), corrected_p in p_by_pair.items():
        bounded_p = np.fmax(corrected_p, friedman_p)  # It is `corrected_p` where the other is nan.
        p[first, second] = bounded_p
        p[second, first] = bounded_p
    return p


def _median_and_interval(differences: np.ndarray) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % interval by resampling the sets; nan for too few."""
    if not len(differences):
        return math.nan, math.nan, math.nan
    median = float(np.median(differences))
    if len(differences) < fewest_sets(1):
        return median, math.nan, math.nan
    # Sorted, the order of the sets is irrelevant to what is drawn.
    sorted_differences = np.sort(differences)
    count = len(sorted_differences)
    draws = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    medians = np.median(sorted_differences[draws], axis=1)
    low, high = np.quantile(medians, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    return median, low, high
