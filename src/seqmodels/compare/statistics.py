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
    """The metric of one setting over its seeds, in the metric's own scale.

    Args:
        count: the number of seeds.
        mean: over seeds.
        deviation: the standard deviation, with `n - 1`; nan for one seed.
        interval: half the width of the mean's 95 % interval (Student's t); nan for one seed.
    """

    count: int
    mean: float
    deviation: float
    interval: float


@dataclass(frozen=True)
class Difference:
    """A setting against the best one.

    Args:
        mean: the mean difference over shared seeds; without shared seeds, the difference of the
            two means.
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
        return Summary(count, mean, math.nan, math.nan)
    deviation = float(values.std(ddof=1))
    interval = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * deviation / math.sqrt(count)
    return Summary(count, mean, deviation, interval)


def find_best(settings: Sequence[Scores], *, higher_is_better: bool) -> int:
    """The index of the setting with the best mean."""
    means = [summarize(scores).mean for scores in settings]
    return int(np.argmax(means) if higher_is_better else np.argmin(means))


def against_best(settings: Sequence[Scores], best: int) -> list[Difference | None]:
    """Each setting against the best one, which was chosen by the same runs.

    The best setting may owe its place to luck, so the correction counts all pairs of settings, not
    only the pairs with the best: equal settings are called different in at most 5 % of sweeps.

    Args:
        settings: the scores of each.
        best: the index of the best one.

    Returns:
        One entry per setting; None for the best itself.
    """
    pairs = len(settings) * (len(settings) - 1) // 2
    deltas = [_deltas(scores, settings[best]) for scores in settings]
    raw = {n: _paired_p(d) for n, d in enumerate(deltas) if n != best}
    corrected, largest = dict.fromkeys(raw, math.nan), 0.0
    tested = sorted((p, n) for n, p in raw.items() if not math.isnan(p))
    for rank, (p, number) in enumerate(tested):
        largest = max(largest, min(1.0, p * (pairs - rank)))
        corrected[number] = largest
    found: list[Difference | None] = []
    for number, scores in enumerate(settings):
        if number == best:
            found.append(None)
            continue
        delta, p = deltas[number], corrected[number]
        mean = (
            float(delta.mean())
            if len(delta)
            else (summarize(scores).mean - summarize(settings[best]).mean)
        )
        needed = None if math.isnan(p) or p < LEVEL else seeds_needed(delta, pairs)
        found.append(Difference(mean, len(delta), p, needed))
    return found


def seeds_needed(deltas: np.ndarray, pairs: int) -> int | None:
    """How many paired differences like these a t-test at `LEVEL / pairs` needs for `POWER`.

    Args:
        deltas: the observed differences, one per shared seed, at least two.
        pairs: the number of pairs of settings.

    Returns:
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


def _deltas(scores: Scores, others: Scores) -> np.ndarray:
    shared = sorted(scores.keys() & others.keys())
    return np.array([scores[seed] - others[seed] for seed in shared], dtype=float)


def _paired_p(deltas: np.ndarray) -> float:
    if len(deltas) < 2:
        return math.nan
    if not deltas.std():
        return 1.0 if not deltas.mean() else 0.0  # the same difference at every seed
    return float(stats.ttest_1samp(deltas, 0.0).pvalue)
