"""Statistics over seeds: which setting is better, by how much, and how sure."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

LEVEL = 0.05  # significance level for all pairs together; intervals have confidence 1 - LEVEL
POWER = 0.8  # how often `seeds_needed` seeds find a difference of the size that was observed
FEWEST_SEEDS = 3  # of a test or an interval: two seeds say next to nothing about a deviation
MOST_SEEDS = 10_000  # a larger estimate is reported as None

Scores = Mapping[Any, float]
"""The metric of one setting by seed, or by whatever makes two runs a pair."""


@dataclass(frozen=True)
class Summary:
    """The metric of one setting over its seeds, in the metric's own scale."""

    mean: float
    deviation: float  # the standard deviation, with `n - 1`; nan for one seed
    interval: float  # half the width of the mean's 95 % interval; nan below `FEWEST_SEEDS`


@dataclass(frozen=True)
class Difference:
    """A setting against the best one.

    Args:
        mean: the mean difference over shared seeds; without any, the difference of the two means.
        shared: the number of seeds that both settings have.
        p: from a two-sided paired t-test, corrected for the number of all pairs (Holm 1979); nan
            below `FEWEST_SEEDS` shared seeds.
        seeds_needed: how many shared seeds would find this difference with a power of 80 %; None
            if it is significant already, or if it cannot be estimated.
        ahead: whether this setting is the better one on the shared seeds, because the best one
            ranks first by seeds of its own.
    """

    mean: float
    shared: int
    p: float
    seeds_needed: int | None
    ahead: bool = False

    @property
    def significant(self) -> bool:
        """Whether the best setting is better, beyond chance."""
        return self.p < LEVEL and not self.ahead


def smallest_step(scores: Iterable[float]) -> float:
    """The smallest difference between two of these scores; 0 if there is none.

    Differences in the last digits of 32-bit numbers don't count.
    """
    ordered = np.sort([*scores])
    gaps = np.diff(ordered)
    gaps = gaps[gaps > 1e-6 * np.abs(ordered).max(initial=0.0)]
    return float(gaps.min(initial=math.inf)) if len(gaps) else 0.0


def summarize(scores: Scores, step: float = 0.0) -> Summary:
    """Mean, deviation and interval (Student's t) over seeds (at least one).

    Args:
        step: the smallest step that the metric can take; it widens the interval.
    """
    values = np.array(list(scores.values()), dtype=float)
    count, mean = len(values), float(values.mean())
    if count < 2:
        return Summary(mean, math.nan, math.nan)
    deviation = float(values.std(ddof=1))
    if count < FEWEST_SEEDS:
        return Summary(mean, deviation, math.nan)
    error = math.sqrt((deviation**2 + step**2 / 12) / count)
    return Summary(mean, deviation, float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * error)


def against_best(
    settings: Sequence[Scores], *, higher_is_better: bool, step: float = 0.0
) -> list[Difference | None]:
    """Each setting against the one with the best mean; None for the best itself.

    Equal settings are called different in at most 5 % of sweeps, because of two corrections:

    - The best setting may owe its place to luck, so all pairs of settings count, not only the pairs
      with it.
    - An accuracy on 48 rows is a multiple of 1/48. A few seeds often agree by this rounding alone,
      and then their deviation is far too small. So every score counts as if it hid a rounding error
      that is uniform over one step, of variance step²/12 (Sheppard 1898; Widrow and Kollár 2008,
      "Quantization Noise", chapter 4), and the difference of two as if it hid step²/6.

    Args:
        step: the smallest step that the metric can take, such as 1/48; 0 for a continuous one.
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
    testable = [number for number in others if len(deltas[number]) >= FEWEST_SEEDS]
    corrected, largest = dict.fromkeys(others, math.nan), 0.0
    for rank, (p, number) in enumerate(sorted((_paired_p(deltas[n], step), n) for n in testable)):
        largest = max(largest, min(1.0, p * (pairs - rank)))
        corrected[number] = largest
    found: list[Difference | None] = [None] * len(settings)
    for number, p in corrected.items():
        delta = deltas[number]
        mean = float(delta.mean()) if len(delta) else means[number] - means[best]
        needed = None if math.isnan(p) or p < LEVEL else seeds_needed(delta, pairs, step)
        ahead = len(delta) > 0 and (mean > 0 if higher_is_better else mean < 0)
        found[number] = Difference(mean, len(delta), p, needed, ahead)
    return found


def seeds_needed(deltas: np.ndarray, pairs: int, step: float = 0.0) -> int | None:
    """How many paired differences like these, at least two, a t-test at `LEVEL / pairs` needs for
    `POWER`; `FEWEST_SEEDS` or more.

    None if the mean difference or its deviation is 0, or if more than `MOST_SEEDS` are needed.
    """
    deviation = _deviation(deltas, step)
    if not deviation or not deltas.mean():
        return None
    effect = abs(float(deltas.mean())) / deviation
    counts, critical = _critical(pairs)
    freedom, shift = counts - 1, effect * np.sqrt(counts)
    # the noncentral t by its normal approximation (Johnson and Kotz 1970, chapter 31)
    spread = np.sqrt(1 + critical**2 / (2 * freedom))
    power_as_normal = (shift - critical * (1 - 1 / (4 * freedom))) / spread
    enough = np.nonzero(power_as_normal >= special.ndtri(POWER))[0]
    return int(counts[enough[0]]) if len(enough) else None


@functools.cache
def _critical(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.arange(FEWEST_SEEDS, MOST_SEEDS + 1)
    return counts, stats.t.ppf(1 - LEVEL / pairs / 2, counts - 1)


def _paired_p(deltas: np.ndarray, step: float) -> float:
    mean, deviation = float(deltas.mean()), _deviation(deltas, step)
    if not deviation:  # a continuous metric with the same difference at every seed
        return 0.0 if mean else 1.0
    t = abs(mean) / deviation * math.sqrt(len(deltas))
    return float(2 * special.stdtr(len(deltas) - 1, -t))  # as stats.t.sf, and 50 times as fast


def _deviation(deltas: np.ndarray, step: float) -> float:
    return math.sqrt(float(deltas.var(ddof=1)) + step**2 / 6)
