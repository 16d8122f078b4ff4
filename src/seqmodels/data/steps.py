"""Steps of one series: fill, average and fold them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from seqmodels.errors import UserError


def interpolate(
    series: Float[np.ndarray, "time channels"], where: str
) -> Float[np.ndarray, "time channels"]:
    """Fills nan linearly, channel by channel; at the ends with the nearest value."""
    known, steps = ~np.isnan(series), np.arange(len(series))
    if not known.any(axis=0).all():
        raise UserError(f"{where} has a channel without any value to interpolate from")
    channels = zip(series.T, known.T, strict=True)
    return np.stack([np.interp(steps, steps[there], x[there]) for x, there in channels], axis=1)


def average_windows(
    series: Float[np.ndarray, "time channels"], window: int
) -> Float[np.ndarray, "windows channels"]:
    """Averages each `window` steps into one step; the last window may be shorter."""
    if window == 1:
        return series
    starts = np.arange(0, len(series), window)
    counts = np.diff(np.append(starts, len(series)))[:, None]
    return np.add.reduceat(series, starts, axis=0) / counts


def fold_steps(
    series: Float[np.ndarray, "time channels"], count: int
) -> Float[np.ndarray, "windows all_channels"]:
    """Puts the channels of each `count` steps side by side; the end repeats the last step."""
    missing = -len(series) % count
    filled = np.concatenate([series, np.repeat(series[-1:], missing, axis=0)])
    return filled.reshape(len(filled) // count, -1)
