"""Statistics over seeds, splits and data sets: which setting is better, by how much, how sure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from scipy import special, stats

LEVEL = 0.05  # significance level for all pairs together; intervals have confidence 1 - LEVEL
POWER = 0.8  # how often `seeds_needed` seeds find a difference of the size that was observed
FEWEST_SEEDS = 3  # of a test or an interval: two seeds say next to nothing about a deviation
MOST_SEEDS = 10_000  # a larger estimate is reported as None
RESAMPLES = 10_000  # of the data sets, for an interval
LAST_DIGITS = 1e-6  # of 32-bit numbers, relative to the largest one

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
    p: float  # of a two-sided paired t-test, corrected for all pairs; nan below `FEWEST_SEEDS`
    seeds_needed: int | None  # None if it is significant already, or can't be estimated
    ahead: bool  # on the shared seeds, because the best one ranks first by seeds of its own

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
    ordered = np.sort([*scores])
    gaps = np.diff(ordered)
    gaps = gaps[gaps > LAST_DIGITS * np.abs(ordered).max(initial=0.0)]
    return float(gaps.min()) if len(gaps) else 0.0


def summarize(scores: Scores, step: float = 0.0, overlap: float = 0.0) -> Summary:
    """Mean, deviation and interval (Student's t) over seeds (at least one).

    Args:
        step: the smallest step that the metric can take; it widens the interval.
        overlap: as in `against_best`.
    """
    values = np.array([*scores.values()])
    count = len(values)
    deviation = float(values.std(ddof=1)) if count > 1 else math.nan
    error = math.sqrt((deviation**2 + step**2 / 12) * (1 / count + overlap))
    width = stats.t.ppf(1 - LEVEL / 2, count - 1) if count >= FEWEST_SEEDS else math.nan
    return Summary(float(values.mean()), deviation, float(width) * error)


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
    pairs = len(settings) * (len(settings) - 1) // 2
    means = [float(np.mean([*scores.values()])) for scores in settings]
    best = int(np.argmax(means) if higher_is_better else np.argmin(means))
    deltas = {
        number: _deltas(scores, settings[best])
        for number, scores in enumerate(settings)
        if number != best
    }
    raw_p = {
        number: _paired_p(delta, step, overlap)
        for number, delta in deltas.items()
        if len(delta) >= FEWEST_SEEDS
    }
    p = _holm(raw_p, pairs)
    differences: list[Difference | None] = [None] * len(settings)
    for number, delta in deltas.items():
        mean, is_ahead = means[number] - means[best], False
        if len(delta):
            mean = float(delta.mean())
            is_ahead = mean > 0 if higher_is_better else mean < 0
        needed = None
        if not overlap and p.get(number, 0) >= LEVEL:  # more splits overlap ever more
            needed = seeds_needed(delta, pairs, step)
        differences[number] = Difference(
            mean, len(delta), p.get(number, math.nan), needed, is_ahead
        )
    return differences


def _deltas(scores: Scores, best_scores: Scores) -> np.ndarray:
    """By how much a setting's scores are above the best one's, at the seeds that both have."""
    return np.array([scores[key] - score for key, score in best_scores.items() if key in scores])


def _holm(raw: Mapping[T, float], pairs: int) -> dict[T, float]:
    """Corrects p for so many pairs (Holm 1979), of which the others count as larger than these."""
    corrected, largest = dict[T, float](), 0.0
    for rank, key in enumerate(sorted(raw, key=raw.__getitem__)):
        largest = max(largest, min(1.0, raw[key] * (pairs - rank)))
        corrected[key] = largest
    return corrected


def seeds_needed(deltas: np.ndarray, pairs: int, step: float = 0.0) -> int | None:
    """How many paired differences like these, at least two, a t-test at `LEVEL / pairs` needs for
    `POWER`. None if their mean or deviation is 0, or if more than `MOST_SEEDS` are needed."""
    deviation = _deviation(deltas, step)
    if not deviation:
        return None
    counts = np.arange(FEWEST_SEEDS, MOST_SEEDS + 1)
    freedom, shift = counts - 1, abs(deltas.mean()) / deviation * np.sqrt(counts)
    critical = special.stdtrit(freedom, 1 - LEVEL / pairs / 2)
    # the noncentral t by its normal approximation (Johnson and Kotz 1970, chapter 31)
    spread = np.sqrt(1 + critical**2 / (2 * freedom))
    power_as_normal = (shift - critical * (1 - 1 / (4 * freedom))) / spread
    enough = np.nonzero(power_as_normal >= special.ndtri(POWER))[0]
    return int(counts[enough[0]]) if len(enough) else None


def _paired_p(deltas: np.ndarray, step: float, overlap: float) -> float:
    mean, deviation = float(deltas.mean()), _deviation(deltas, step)
    if not deviation:  # a continuous metric with the same difference at every seed
        return 0.0 if mean else 1.0
    t = abs(mean) / deviation / math.sqrt(1 / len(deltas) + overlap)
    return float(2 * special.stdtr(len(deltas) - 1, -t))  # as stats.t.sf, and 50 times as fast


def _deviation(deltas: np.ndarray, step: float) -> float:
    return math.sqrt(float(deltas.var(ddof=1)) + step**2 / 6)


@dataclass(frozen=True)
class OverSets:
    """A setting over data sets, each of which counts once. A set that lacks a setting counts for
    the pairs of the others; below `fewest_sets(1)` shared sets, intervals and p are nan."""

    setting: int  # its number
    sets: int  # that have it
    mean_rank: float  # 1 is that of the best on every set; equal scores share theirs
    mean: float
    best_on: int  # on so many sets no other setting is better
    median_difference: float  # to the first setting, on the sets that both have
    low: float  # of the 95 % interval of that median, by resampling these sets
    high: float
    p: float  # to the first setting, as in `pairs`
    friedman_p: float  # of all settings together, on the sets that have all (Friedman 1937)
    pairs: Sequence[float]  # p to each setting, by signed ranks; not below `friedman_p`
    worse: bool  # whether the first setting is better, beyond chance


def fewest_sets(pairs: int) -> int:
    """How many data sets a signed-rank test needs to find a setting that is better on every one."""
    return 1 + math.ceil(math.log2(pairs / LEVEL))


def over_sets(scores: np.ndarray, *, higher_is_better: bool) -> list[OverSets]:
    """Compares settings over data sets (Demšar 2006; Benavoli et al. 2016), the best mean rank
    first; but a setting that half of the sets lack comes after the others.

    Args:
        scores: `(N, K)`, of each set and setting; nan where there is none.
    """
    # differences (N, K, K): by how much one setting is better than another on a set; nan without a
    # score
    differences = _differences(scores, higher_is_better=higher_is_better)
    is_shared = ~np.isnan(differences)
    losses = (differences < 0) + 0.5 * (differences == 0)  # a tie is half a loss
    shared_sets = is_shared.sum(axis=0)  # (K, K)
    sets = shared_sets.diagonal()

    # A setting's rank on a set is one more than the settings that beat it; over sets, we take
    # shares, so that settings that lack a set can be ranked, too.
    loss_shares = losses.sum(axis=0) / np.maximum(shared_sets, 1)
    mean_ranks = 0.5 + np.where(shared_sets > 0, loss_shares, 0.5).sum(axis=1)  # (K,)
    is_complete = is_shared.all(axis=(1, 2))
    friedman_p = _friedman_p(losses[is_complete].sum(axis=2))
    p = _pair_p(differences, friedman_p)

    has_opponent = is_shared.sum(axis=2) > 1  # (N, K); a setting alone on a set wins nothing
    best_on = (has_opponent & ~(differences < 0).any(axis=2)).sum(axis=0)

    lacks_half = 2 * sets <= len(scores)
    order = np.lexsort((mean_ranks, lacks_half)).tolist()
    best = order[0]
    rows = list[OverSets]()
    for setting in order:
        to_best = differences[is_shared[:, setting, best], setting, best]
        score_differences = to_best
        if not higher_is_better:
            score_differences = -to_best
        median, low, high = _median_and_interval(score_differences)
        scores_of_setting = scores[is_shared[:, setting, setting], setting]
        rows.append(
            OverSets(
                setting,
                int(sets[setting]),
                float(mean_ranks[setting]),
                fmean(scores_of_setting.tolist()),  # exact, so the order of sets is irrelevant
                int(best_on[setting]),
                median,
                low,
                high,
                float(p[setting, best]),
                friedman_p,
                p[setting].tolist(),
                bool(p[setting, best] < LEVEL) and _signed_rank_sum(to_best) < 0,
            )
        )
    return rows


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact for any ties; zeros count half for either
    side. SciPy is exact with ties only up to 13 sets, in half a second a pair."""
    # Twice each rank is a whole number, also where several share one.
    doubled_ranks = (2 * _ranks_of_sizes(differences)).astype(int)
    is_nonzero = differences != 0
    middle = doubled_ranks[is_nonzero].sum() / 2

    # chances: that the ranks of the positive differences add up to 0, 1, 2, ...
    chances = np.ones(1)
    for rank in doubled_ranks[is_nonzero]:  # which has either sign with the same chance
        zeros = np.zeros(rank)
        chances = (np.append(chances, zeros) + np.append(zeros, chances)) / 2
    distances = np.abs(np.arange(len(chances)) - middle)
    observed = abs(doubled_ranks[differences > 0].sum() - middle)
    return float(chances[distances >= observed].sum())


def _signed_rank_sum(differences: np.ndarray) -> float:
    """Below 0 if signed ranks speak against a setting, of which a median may say otherwise."""
    return float((np.sign(differences) * _ranks_of_sizes(differences)).sum())


def _ranks_of_sizes(differences: np.ndarray) -> np.ndarray:
    """Ranks by size, whatever the sign. 0.9 - 0.8 and 0.8 - 0.7 share theirs."""
    rounded_sizes = [float(f"{size:.9g}") for size in np.abs(differences)]
    return np.asarray(stats.rankdata(rounded_sizes))


def _differences(scores: np.ndarray, *, higher_is_better: bool) -> np.ndarray:
    """By how much the first of two settings is better on each set, `(N, K, K)`; 0 within the last
    digits of 32-bit numbers, nan without a score."""
    last_digits = LAST_DIGITS * np.nanmax(np.abs(scores), axis=1)  # (N,)
    differences = scores[:, :, None] - scores[:, None, :]
    differences[np.abs(differences) <= last_digits[:, None, None]] = 0
    return differences if higher_is_better else -differences


def _friedman_p(ranks: np.ndarray) -> float:
    """p of Friedman's test that no setting differs; nan for two settings, or too few sets.

    Args:
        ranks: `(N, K)`, on the sets that have all settings.
    """
    sets, settings = ranks.shape
    if settings <= 2 or sets < fewest_sets(1):
        return math.nan
    with np.errstate(invalid="ignore"):  # where no setting differs on any set
        return float(stats.friedmanchisquare(*ranks.T).pvalue)


def _pair_p(differences: np.ndarray, friedman_p: float) -> np.ndarray:
    """p of each pair of settings by signed ranks, corrected for all pairs and not below that of all
    settings together, `(K, K)`; nan with too few sets.

    Args:
        differences: as `_differences` gives them.
    """
    settings = differences.shape[1]
    pairs = [*combinations(range(settings), 2)]
    raw = dict[tuple[int, int], float]()
    for one, other in pairs:
        of_pair = differences[:, one, other]
        of_pair = of_pair[~np.isnan(of_pair)]
        if len(of_pair) >= fewest_sets(1):
            raw[one, other] = signed_rank_p(of_pair)

    p = np.full((settings, settings), math.nan)
    for (one, other), corrected in _holm(raw, len(pairs)).items():
        p[one, other] = p[other, one] = np.fmax(corrected, friedman_p)
    return p


def _median_and_interval(differences: np.ndarray) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % interval by resampling the sets; nan for too few."""
    if not len(differences):
        return math.nan, math.nan, math.nan
    median = float(np.median(differences))
    if len(differences) < fewest_sets(1):
        return median, math.nan, math.nan
    ordered = np.sort(differences)  # so that the order of sets is irrelevant
    draws = np.random.default_rng(0).integers(len(ordered), size=(RESAMPLES, len(ordered)))
    medians = np.median(ordered[draws], axis=1)
    low, high = np.quantile(medians, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    return median, low, high
