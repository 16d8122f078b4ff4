"""The mean and the deviation of channels over all steps of many series, which are never in memory
together: with the very digits that NumPy has for all steps in one array."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from seqmodels.data.columns import BLOCK

# Differences below these shares of a number are rounding, not values.
FLOAT64_ROUNDING = 1e-13
FLOAT32_ROUNDING = 2.4e-7  # two last digits


@dataclass(frozen=True)
class ChannelStatistics:
    """What a training split says of each channel, `(C,)`; nan where a channel has no value."""

    step_count: int  # the steps of all series together
    value_counts: np.ndarray  # how many of its values are there
    mean: np.ndarray
    deviation: np.ndarray  # 1 of a channel that is constant, but for rounding


def statistics_of(
    all_series: Callable[[], Iterable[Float[np.ndarray, "time channels"]]],
) -> ChannelStatistics:
    """The statistics of the channels of some series.

    Args:
        all_series: gives the series, one after the other, whenever it is called.
    """
    step_count = 0
    # What is known of the channels so far, (C,) each once there is a series.
    value_counts: Any = 0
    least: Any = np.nan
    largest: Any = np.nan  # of the absolute values
    are_of_float32: Any = True
    for series in all_series():
        for start in range(0, len(series), BLOCK):
            values = series[start : start + BLOCK]
            step_count += len(values)
            value_counts = value_counts + (~np.isnan(values)).sum(axis=0)
            least = np.fmin(least, np.fmin.reduce(values))  # Both skip gaps.
            largest = np.fmax(largest, np.fmax.reduce(np.abs(values)))
            are_of_float32 = are_of_float32 & fits_float32(values).all(axis=0)

    # Sums of values of a large level would lose their digits.
    differences = _Reader(all_series())
    total = _sum(lambda count: _without_gaps(differences.read(count) - least), step_count)
    mean_difference = _divided(total, value_counts)

    def next_squares(count: int) -> np.ndarray:
        from_mean = _without_gaps(values_again.read(count) - least - mean_difference)
        return from_mean * from_mean

    values_again = _Reader(all_series())
    deviation = np.sqrt(_divided(_sum(next_squares, step_count), value_counts))
    rounding = np.where(are_of_float32, FLOAT32_ROUNDING, FLOAT64_ROUNDING) * largest
    is_constant = ~(deviation > rounding)
    return ChannelStatistics(
        step_count,
        value_counts,
        mean=least + mean_difference,
        deviation=np.where(is_constant, 1.0, deviation),
    )


def fits_float32(values: np.ndarray) -> np.ndarray:
    """Whether float32 holds each of the values as it is, or as a gap."""
    with np.errstate(over="ignore"):
        return (values.astype(np.float32) == values) | np.isnan(values)


class _Reader:
    """Reads the steps of series, one after the other, as if they were a single array."""

    def __init__(self, all_series: Iterable[np.ndarray]) -> None:
        self._remaining = iter(all_series)
        self._series = np.zeros((0, 0))
        self._position = 0

    def read(self, count: int) -> np.ndarray:
        """The next steps, `(count, C)`."""
        pieces = []
        while count > 0:
            if self._position == len(self._series):
                self._series, self._position = next(self._remaining), 0
            piece = self._series[self._position : self._position + count]
            self._position += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _divided(total: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean of each channel; nan of one without values."""
    with np.errstate(invalid="ignore"):
        return total / counts


def _without_gaps(values: np.ndarray) -> np.ndarray:
    """These values, with 0 in the place of nan."""
    return np.where(np.isnan(values), 0.0, values)


def _sum(read: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    """The sum of each channel, `(C,)`, as `np.sum` has it of a contiguous array: by halves, down to
    some 128 values.

    Args:
        read: gives the next steps, as many as it is asked for, `(count, C)`.
        count: how many steps there are.
    """
    if count > BLOCK:
        half = count // 2
        half -= half % 8  # as in NumPy's loops_utils.h
        return _sum(read, half) + _sum(read, count - half)
    steps = read(count)
    return np.array([np.sum(np.ascontiguousarray(channel)) for channel in steps.T])
