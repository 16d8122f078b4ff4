"""The period of a series: after how many steps it repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LONGEST = 10_000  # steps to look at, the newest
LEAST = 0.1  # of the variance that the mean cycle must predict
ALIKE = 1.15  # what is left unexplained by cycles that are equally good


def find_period(series: Sequence[np.ndarray]) -> int:
    """The period of these series, or 1 if they have none that is significant.

    For each period the mean cycle of the first half, without trend, predicts the second half. A
    random walk has cycles by chance, but they do not return: the share of the variance that must be
    predicted is larger the fewer cycles were seen, and at least four must be. Of periods that
    predict alike, such as 24 and 48, the shortest is taken.

    Args:
        series: `(T,)` each, without nan.
    """
    shares: dict[int, list[float]] = {}
    lengths = list[int]()
    for each in series:
        recent = each[-LONGEST:]
        lengths.append(len(recent))
        for period in range(2, len(recent) // 4 + 1):
            shares.setdefault(period, []).append(_predicted(recent, period))
    mean = {period: float(np.mean(found)) for period, found in shares.items()}
    steps = float(np.mean(lengths))
    peaks = {
        period: share
        for period, share in mean.items()
        if share >= max(mean.get(period - 1, -np.inf), mean.get(period + 1, -np.inf))
        and share > max(LEAST, 5 * period / steps)
    }
    if not peaks:
        return 1
    alike = ALIKE * (1 - max(peaks.values()))
    return next(period for period, share in peaks.items() if 1 - share <= alike + 1e-9)


def _predicted(series: np.ndarray, period: int) -> float:
    """The share of the second half's variance that the mean cycle of the first half predicts."""
    sums = np.cumsum(np.append(0.0, series - series.mean()))
    trend = (sums[period:] - sums[:-period]) / period  # the mean around each step
    cycles = (series - series.mean())[period // 2 :][: len(trend)] - trend
    cycles -= cycles.mean()
    half, phases = len(cycles) // 2, np.arange(len(cycles)) % period
    counts = np.bincount(phases[:half], minlength=period)
    cycle = np.bincount(phases[:half], cycles[:half], period) / np.maximum(counts, 1)
    variance = np.square(cycles[half:]).sum()
    if variance <= 1e-9 * len(cycles) * series.var():  # a straight line
        return 0.0
    return float(1 - np.square(cycles[half:] - cycle[phases[half:]]).sum() / variance)
