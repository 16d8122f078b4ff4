"""What baselines read of a series, by hand."""

from __future__ import annotations

import numpy as np


def summary_of(series: np.ndarray) -> np.ndarray:
    """The mean of each channel, of each eighth of its steps, and the deviation."""
    steps = len(series)
    eighths = [
        slice(k * steps // 8, max((k + 1) * steps // 8, k * steps // 8 + 1)) for k in range(8)
    ]
    means = [series.mean(0), *(series[each].mean(0) for each in eighths)]
    return np.concatenate([*means, series.std(0)])
