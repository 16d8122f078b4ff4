"""Which of several settings is better, by how much, and how sure: paired over shared seeds."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05  # of significance, for all pairs together; intervals are those of 1 - LEVEL
POWER = 0.8  # with which `seeds_needed` would find the difference that was seen
MOST_SEEDS = 10_000

Scores = Mapping[int, float]
"""A metric by seed."""


@dataclass(frozen=True)
class Summary:
    """What came out of one setting.

    Args:
        deviation: of the runs, with `n - 1`; nan for one run.
        interval: half the width of the 95 % interval of the mean (Student's t); nan for one run.
    """

    count: int
    mean: float
    deviation: float
    interval: float


@dataclass(frozen=True)
class Difference:
    """A setting against the best one.

    Args:
        mean: of the differences over shared seeds, or of the means where no seeds are shared.
        shared: how many seeds both have.
        p: of a two-sided paired t-test, corrected for the number of all pairs (Holm 1979); nan
            where fewer than two seeds are shared.
        seeds_needed: how many shared seeds would find this difference with a power of 80 %; None
            where it has been found, or where there is nothing to go by.
    """

    mean: float
    shared: int
    p: float
    seeds_needed: int | None

    @property
    def significant(self) -> bool:
        return self.p < LEVEL


def summarize(scores: Scores) -> Summary:
    """Mean, deviation and interval over seeds."""
    values = np.array(list(scores.values()), dtype=float)
    count, mean = len(values), float(values.mean())
    if count < 2:
        return Summary(count, mean, math.nan, math.nan)
    deviation = float(values.std(ddof=1))
    interval = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * deviation / math.sqrt(count)
    return Summary(count, mean, deviation, interval)


def find_best(settings: Sequence[Scores], *, higher_is_better: bool) -> int:
    """The number of the setting with the best mean."""
    means = [summarize(scores).mean for scores in settings]
    return int(np.argmax(means) if higher_is_better else np.argmin(means))


def against_best(settings: Sequence[Scores], best: int) -> list[Difference | None]:
    """Each setting against the best one, which was chosen by the same runs.

    Because the best is chosen by its luck, too, the correction is for all pairs of settings, and
    not only for those with the best in them: settings that are all equal are called different in no
    more than 5 % of sweeps.

    Returns:
        By setting; None for the best itself.
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

    Returns:
        None where there is no difference, or more than `MOST_SEEDS` are needed.
    """
    deviation = float(deltas.std(ddof=1))
    if not deviation or not deltas.mean():
        return None
    effect = abs(float(deltas.mean())) / deviation
    counts, critical = _critical(pairs)
    freedom, shift = counts - 1, effect * np.sqrt(counts)
    # the noncentral t, by a normal distribution (Johnson and Kotz 1970, chapter 31)
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
