"""Statistics over seeds: which setting is better, by how much, and how sure."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05  # significance level for all pairs together; intervals have confidence 1 - LEVEL
POWER = 0.8  # how often `seeds_needed` seeds find a difference of the size that was observed
MOST_SEEDS = 10_000  # a larger estimate is reported as None

Scores = Mapping[int, float]
"""The metric of one setting by seed."""


@dataclass(frozen=True)
class Summary:
    """The metric of one setting over its seeds, in the metric's own scale."""

    mean: float
    deviation: float  # the standard deviation, with `n - 1`; nan for one seed
    interval: float  # half the width of the mean's 95 % interval (Student's t); nan for one seed


@dataclass(frozen=True)
class Difference:
    """A setting against the best one.

    Args:
        mean: the mean difference over shared seeds; without any, the difference of the two means.
        shared: the number of seeds that both settings have.
        p: from a two-sided paired t-test, corrected for the number of all pairs (Holm 1979); nan
            for fewer than two shared seeds.
        seeds_needed: how many shared seeds would find this difference with a power of 80 %; None
            if it is significant already, or if it cannot be estimated.
    """

    mean: float
    shared: int
    p: float
    seeds_needed: int | None

    @property
    def significant(self) -> bool:
        return self.p < LEVEL


def summarize(scores: Scores) -> Summary:
    """Mean, deviation and interval over seeds (at least one)."""
    values = np.array(list(scores.values()), dtype=float)
    count, mean = len(values), float(values.mean())
    if count < 2:
        return Summary(mean, math.nan, math.nan)
    deviation = float(values.std(ddof=1))
    interval = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * deviation / math.sqrt(count)
    return Summary(mean, deviation, interval)


def against_best(settings: Sequence[Scores], *, higher_is_better: bool) -> list[Difference | None]:
    """Each setting against the one with the best mean; None for the best itself.

    The best setting may owe its place to luck, so the correction counts all pairs of settings, not
    only the pairs with the best: equal settings are called different in at most 5 % of sweeps.
    """
    pairs = len(settings) * (len(settings) - 1) // 2
    means = [float(np.mean(list(scores.values()))) for scores in settings]
    best = int(np.argmax(means) if higher_is_better else np.argmin(means))
    shared = [sorted(scores.keys() & settings[best].keys()) for scores in settings]
    deltas = [
        np.array([scores[seed] - settings[best][seed] for seed in seeds], dtype=float)
        for scores, seeds in zip(settings, shared, strict=True)
    ]
    others = [number for number in range(len(settings)) if number != best]
    tested = sorted((_paired_p(deltas[n]), n) for n in others if len(deltas[n]) > 1)
    corrected, largest = dict.fromkeys(others, math.nan), 0.0
    for rank, (p, number) in enumerate(tested):
        largest = max(largest, min(1.0, p * (pairs - rank)))
        corrected[number] = largest
    found: list[Difference | None] = [None] * len(settings)
    for number, p in corrected.items():
        delta = deltas[number]
        mean = float(delta.mean()) if len(delta) else means[number] - means[best]
        needed = None if math.isnan(p) or p < LEVEL else seeds_needed(delta, pairs)
        found[number] = Difference(mean, len(delta), p, needed)
    return found


def seeds_needed(deltas: np.ndarray, pairs: int) -> int | None:
    """How many paired differences like these, at least two, a t-test at `LEVEL / pairs` needs for
    `POWER`.

    None if the mean difference or its deviation is 0, or if more than `MOST_SEEDS` are needed.
    """
    deviation = float(deltas.std(ddof=1))
    if not deviation or not deltas.mean():
        return None
    effect = abs(float(deltas.mean())) / deviation
    counts, critical = _critical(pairs)
    freedom, shift = counts - 1, effect * np.sqrt(counts)
    # the noncentral t by its normal approximation (Johnson and Kotz 1970, chapter 31)
    spread = np.sqrt(1 + critical**2 / (2 * freedom))
    power = 1 - stats.norm.cdf((critical * (1 - 1 / (4 * freedom)) - shift) / spread)
    enough = np.nonzero(power >= POWER)[0]
    return int(counts[enough[0]]) if len(enough) else None


@functools.cache
def _critical(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.arange(2, MOST_SEEDS + 1)
    return counts, stats.t.ppf(1 - LEVEL / pairs / 2, counts - 1)


def _paired_p(deltas: np.ndarray) -> float:
    if not deltas.std():
        return 1.0 if not deltas.mean() else 0.0  # the same difference at every seed
    return float(stats.ttest_1samp(deltas, 0.0).pvalue)
