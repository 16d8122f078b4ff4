"""Time series as scaled, and perhaps stacked, features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.arguments import Count, checked
from seqmodels.data.inputs import InputEncoder
from seqmodels.errors import UserError

MOST_STEPS = 160  # of a series that is stacked automatically
MOST = np.finfo(np.float32).max
ROUNDING = 1e-13  # of a number: what is smaller beside it is none

Stack = Count | Literal["auto"]
Missing = Literal["error", "interpolate"]
Scale = Literal["split", "series", "both", "none"]


class Series(InputEncoder, name="features"):
    """Scales each channel, and may stack several steps into one.

    Args:
        stack: put the channels of this many steps side by side into one step; the last step repeats
            the end of the series where it is too short. `auto`: as many as leave the longest series
            of training at most 160 steps.
        missing: `error` refuses a series with missing values; `interpolate` fills them linearly.
        scale: `split` standardises by the mean and deviation in the training split; `series` by
            each series' own, which hides its level and amplitude; `both` puts the two side by side
            as channels; `none` leaves the values.

    Raises:
        UserError: for a wrong `stack`, `missing` or `scale`.
    """

    kind = "features"
    mean: np.ndarray
    deviation: np.ndarray

    @checked("data")
    def __init__(
        self, *, stack: Stack = 1, missing: Missing = "error", scale: Scale = "split"
    ) -> None:
        self.stack, self.missing, self.scale = stack, missing, scale
        self.given = {"stack": stack, "missing": missing, "scale": scale}

    def fit(self, raw: Sequence[np.ndarray]) -> None:
        self.num_channels = np.shape(raw[0])[-1] if np.ndim(raw[0]) else 0
        series = [*self._clean(raw, "the training split")]
        steps, longest = np.concatenate(series), max(map(len, series))
        mean, deviation = mean_and_deviation(steps)
        self.load(
            {
                "mean": mean.tolist(),
                "deviation": deviation.tolist(),
                "stacked": -(-longest // MOST_STEPS) if self.stack == "auto" else self.stack,
            }
        )

    def encode(self, raw: Sequence[np.ndarray], source: str, first: int = 1) -> list[Tensor]:
        encoded = []
        for series in self._clean(raw, source, first):
            steps = self._scaled(series)
            if self.stacked > 1:
                steps = stack_steps(steps, self.stacked)
            encoded.append(torch.from_numpy(steps.astype(np.float32)))
        return encoded

    def reads_whole_rows(self) -> str:
        by_steps = {"stack": (1,), "missing": ("error",), "scale": ("split", "none")}
        for name, fits in by_steps.items():
            if (value := self.given[name]) not in fits:
                return (
                    f"data.{name}={value} needs all of a series: train with data.{name}={fits[0]}"
                )
        return ""

    def _scaled(self, series: np.ndarray) -> np.ndarray:
        scaled = []
        if self.scale in ("split", "both"):
            scaled.append((series - self.mean) / self.deviation)
        if self.scale in ("series", "both"):
            mean, deviation = mean_and_deviation(series)
            scaled.append((series - mean) / deviation)
        return np.concatenate(scaled or [series], axis=1)

    def name(self, raw: np.ndarray) -> dict[str, Any]:
        return {"steps": len(raw)}

    def load(self, fitted: Mapping[str, Any]) -> None:
        super().load(fitted)
        self.mean, self.deviation = np.array(fitted["mean"]), np.array(fitted["deviation"])
        self.num_channels = len(self.mean)
        self.stacked = int(fitted["stacked"])
        self.num_inputs = self.num_channels * (1 + (self.scale == "both")) * self.stacked

    def _clean(self, raw: Sequence[Any], source: str, first: int = 1) -> Iterator[np.ndarray]:
        for number, given in enumerate(raw, first):
            where = f"{source}: series {number}"
            series = np.asarray(given, dtype=np.float64)
            if series.ndim != 2 or len(series) == 0:
                raise UserError(
                    f"{where} has shape {series.shape}; "
                    "it must be (steps, channels) with at least one step"
                )
            if series.shape[1] != self.num_channels:
                raise UserError(f"{where} has {series.shape[1]} channels, not {self.num_channels}")
            if (np.abs(series) > MOST).any():
                raise UserError(
                    f"{where} has a value beyond those of float32: correct it, or leave it missing"
                )
            missing = int(np.isnan(series).sum())
            if missing and self.missing == "error":
                raise UserError(
                    f"{where} has {missing} missing value{'s' if missing > 1 else ''}; "
                    "fill them, or train with data.missing=interpolate"
                )
            yield interpolate(series, where) if missing else series


def mean_and_deviation(
    values: Float[np.ndarray, "steps columns"],
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Of what is known of each column. The deviation of a constant, but for rounding, is 1."""
    least = np.nanmin(values, axis=0)
    apart = values - least  # the sums of a large level would lose their digits
    largest, deviation = np.nanmax(np.abs(values), axis=0), np.nanstd(apart, axis=0)
    deviation = np.where(deviation > ROUNDING * largest, deviation, 1.0)
    return least + np.nanmean(apart, axis=0), deviation


def interpolate(
    series: Float[np.ndarray, "time channels"], where: str
) -> Float[np.ndarray, "time channels"]:
    """Fills nan linearly, channel by channel; at the ends with the nearest value."""
    known, steps = ~np.isnan(series), np.arange(len(series))
    if not known.any(axis=0).all():
        raise UserError(f"{where} has a channel without any value to interpolate from")
    channels = zip(series.T, known.T, strict=True)
    return np.stack([np.interp(steps, steps[there], x[there]) for x, there in channels], axis=1)


def stack_steps(
    series: Float[np.ndarray, "time channels"], count: int
) -> Float[np.ndarray, "steps all_channels"]:
    """Puts the channels of each `count` steps side by side; the end repeats the last step."""
    missing = -len(series) % count
    filled = np.concatenate([series, np.repeat(series[-1:], missing, axis=0)])
    return filled.reshape(len(filled) // count, -1)
