"""Fill and shorten time series."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from seqmodels.errors import UserError


def interpolate(
    series: Float[np.ndarray, "time channels"], where: str
) -> Float[np.ndarray, "time channels"]:
    """Fills missing values linearly, channel by channel; at the ends with the nearest value.

    Args:
        series: `(T, F)`; a missing value is nan or infinite.
        where: what to call the series in the error message.

    Raises:
        UserError: if a channel has no value at all.
    """
    known = np.isfinite(series)
    if not known.any(axis=0).all():
        raise UserError(f"{where} has a channel without any value to interpolate from")
    steps = np.arange(len(series))
    return np.stack(
        [
            np.interp(steps, steps[known[:, channel]], series[known[:, channel], channel])
            for channel in range(series.shape[1])
        ],
        axis=1,
    )


def average_windows(
    series: Float[np.ndarray, "time channels"], window: int
) -> Float[np.ndarray, "windows channels"]:
    """Averages each `window` steps into one step; the last window may be shorter."""
    if window == 1:
        return series
    starts = np.arange(0, len(series), window)
    counts = np.diff(np.append(starts, len(series)))[:, None]
    return np.add.reduceat(series, starts, axis=0) / counts
