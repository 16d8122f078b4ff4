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
        n: np.array([scores[key] - of for key, of in settings[best].items() if key in scores])
        for n, scores in enumerate(settings)
        if n != best
    }
    testable = {n: delta for n, delta in deltas.items() if len(delta) >= FEWEST_SEEDS}
    p = _holm({n: _paired_p(delta, step, overlap) for n, delta in testable.items()}, pairs)
    found: list[Difference | None] = [None] * len(settings)
    for n, delta in deltas.items():
        mean = float(delta.mean()) if len(delta) else means[n] - means[best]
        unsure = not overlap and p.get(n, 0) >= LEVEL  # more splits overlap ever more
        needed = seeds_needed(delta, pairs, step) if unsure else None
        ahead = len(delta) > 0 and (mean > 0 if higher_is_better else mean < 0)
        found[n] = Difference(mean, len(delta), p.get(n, math.nan), needed, ahead)
    return found


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


def signed_rank_p(deltas: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact for any ties; zeros count half for either
    side. SciPy is exact with ties only up to 13 sets, in half a second a pair."""
    sizes = [float(f"{delta:.9g}") for delta in np.abs(deltas)]  # 0.9 - 0.8 is 0.8 - 0.7
    ranks, some = (2 * stats.rankdata(sizes)).astype(int), deltas != 0
    chances, middle = np.ones(1), ranks[some].sum() / 2
    for rank in ranks[some]:  # of either sign with the same chance
        none = np.zeros(rank)
        chances = (np.append(chances, none) + np.append(none, chances)) / 2
    observed = abs(ranks[deltas > 0].sum() - middle)
    return float(chances[np.abs(np.arange(len(chances)) - middle) >= observed].sum())


def over_sets(scores: np.ndarray, *, higher_is_better: bool) -> list[OverSets]:
    """Compares settings over data sets (Demšar 2006; Benavoli et al. 2016), the best mean rank
    first; but a setting that half of the sets lack comes after the others.

    Args:
        scores: `(N, K)`, of each set and setting; nan where there is none.
    """
    count, fewest, found = scores.shape[1], fewest_sets(1), list[OverSets]()
    digit = LAST_DIGITS * np.nanmax(np.abs(scores), 1)
    deltas = scores[:, :, None] - scores[:, None, :]  # (N, K, K): how much the first is larger
    deltas[np.abs(deltas) <= digit[:, None, None]] = 0
    both, behind = ~np.isnan(deltas), (deltas < 0) if higher_is_better else (deltas > 0)
    shared, lost = both.sum(0), behind + (deltas == 0) / 2  # to itself, half
    ranks = np.where(shared, lost.sum(0) / np.maximum(shared, 1), 0.5).sum(1) + 0.5
    friedman, complete = math.nan, lost.sum(2)[both.all((1, 2))]
    if count > 2 and len(complete) >= fewest:
        with np.errstate(invalid="ignore"):  # no setting differs on any set
            friedman = float(stats.friedmanchisquare(*complete.T).pvalue)
    signed = stats.rankdata(np.abs(deltas), axis=0, nan_policy="omit") * np.sign(deltas)
    against = np.nansum(signed, 0) * (-1 if higher_is_better else 1)  # (K, K)
    p, pairs = np.full((count, count), math.nan), [*combinations(range(count), 2)]
    some = [(n, m) for n, m in pairs if shared[n, m] >= fewest]
    raw = {(n, m): signed_rank_p(deltas[both[:, n, m], n, m]) for n, m in some}
    for (n, m), corrected in _holm(raw, len(pairs)).items():
        p[n, m] = p[m, n] = np.fmax(corrected, friedman)
    best_on, sets = (~behind.any(2) & (both.sum(2) > 1)).sum(0), shared.diagonal()
    order = np.lexsort((ranks, 2 * sets <= len(scores)))
    for n in order.tolist():
        delta, ends = np.sort(deltas[both[:, n, order[0]], n, order[0]]), [math.nan] * 2
        if len(delta) >= fewest:
            drawn = np.random.default_rng(0).integers(len(delta), size=(RESAMPLES, len(delta)))
            ends = np.quantile(np.median(delta[drawn], 1), [LEVEL / 2, 1 - LEVEL / 2]).tolist()
        median = float(np.median(delta)) if len(delta) else math.nan
        worse = p[n, order[0]] < LEVEL and against[n, order[0]] > 0  # a median may say otherwise
        mean = fmean(scores[both[:, n, n], n].tolist())  # exact, so the order of sets is irrelevant
        own = int(sets[n]), float(ranks[n]), mean, int(best_on[n])
        to_best = median, *ends, float(p[n, order[0]]), friedman, p[n].tolist(), bool(worse)
        found.append(OverSets(n, *own, *to_best))
    return found
