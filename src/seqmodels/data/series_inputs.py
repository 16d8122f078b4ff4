"""Time series as scaled, and perhaps folded, features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.arguments import Count, checked
from seqmodels.data.columns import take
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.random_convolutions import explained
from seqmodels.errors import UserError

MOST_STEPS = 160  # of a series that is folded automatically
MOST_SERIES = 500  # to choose a scale with

Fold = Count | Literal["auto"]
Missing = Literal["error", "interpolate"]
Scale = Literal["auto", "split", "series", "both", "none"]

# `scale` and `add_scale` that scale=auto chooses from
CHOICES = (("split", False), ("series", False), ("both", False), ("series", True))


class Series(InputEncoder, name="features"):
    """Scales each channel, and may fold several steps into one.

    Args:
        downsample: average this many steps into one.
        fold: put the channels of this many steps side by side into one step; the last step repeats
            the end of the series where it is too short. `auto`: as many as leave the longest series
            of training at most 160 steps.
        missing: `error` refuses a series with missing values; `interpolate` fills them linearly.
        scale: `split` standardises by the mean and deviation in the training split; `series` by
            each series' own, which hides its level and amplitude; `both` puts the two side by side
            as channels; `none` leaves the values. `auto` chooses `split`, `series`, `both`, or
            `series` with `add_scale`, by which of them tells the targets of training best, as
            `explained` measures it.
        add_scale: append the mean and the logarithm of the deviation of each channel of a series to
            all its steps, standardised by the training split.

    Raises:
        UserError: for a wrong `downsample`, `fold`, `missing` or `scale`.
    """

    kind = "features"
    mean: np.ndarray
    deviation: np.ndarray
    scale_mean: np.ndarray  # of means and logarithms of deviations
    scale_deviation: np.ndarray

    @checked("data")
    def __init__(
        self,
        *,
        downsample: Count = 1,
        fold: Fold = 1,
        missing: Missing = "error",
        scale: Scale = "split",
        add_scale: bool = False,
    ) -> None:
        self.downsample, self.fold, self.missing = downsample, fold, missing
        self.scale: str = scale
        self.add_scale = add_scale

    def fit(self, raw: Sequence[np.ndarray]) -> None:
        self.num_channels = np.shape(raw[0])[-1] if np.ndim(raw[0]) else 0
        series = [*self._clean(raw, "the training split")]
        scales = np.stack([_level_and_scale(each) for each in series])
        steps = np.concatenate(series)
        self.load(
            {
                "mean": steps.mean(axis=0),
                "deviation": _positive(steps.std(axis=0)),
                "scale_mean": scales.mean(axis=0),
                "scale_deviation": _positive(scales.std(axis=0)),
                "folded": self._folded(max(map(len, series))),
            }
        )

    def choose(self, raw: Sequence[np.ndarray], targets: Callable[[], Any]) -> None:
        if self.scale != "auto":
            return
        encoded = targets()
        if not isinstance(encoded, Tensor):
            raise UserError(
                "data.scale=auto needs one target for each series, and here each step has one: set "
                "data.scale=split, series or both"
            )
        rows = np.random.default_rng(0).permutation(len(raw))[:MOST_SERIES]
        some, wanted, shares = take(raw, rows), encoded[rows], {}
        for choice in CHOICES:
            options: dict[str, Any] = dict(zip(("scale", "add_scale"), choice, strict=True))
            tried = Series(**options, downsample=self.downsample, missing=self.missing, fold="auto")
            tried.fit(some)
            shares[choice] = explained(tried.encode(some, "the training split"), wanted)
        self.scale, self.add_scale = max(shares, key=shares.__getitem__)
        self._count_inputs()
        named = {scale + " and add_scale" * add: share for (scale, add), share in shares.items()}
        self.note = (
            f"data.scale=auto is scale={self.scale} add_scale={str(self.add_scale).lower()}: "
            "random convolutions explain of the targets "
            + ", ".join(f"{share:.2f} with {words}" for words, share in named.items())
        )

    def encode(self, raw: Sequence[np.ndarray], source: str, first: int = 1) -> list[Tensor]:
        encoded = []
        for number, series in enumerate(self._clean(raw, source, first), first):
            steps = self._scaled(series)
            if self.folded > 1:
                steps = fold_steps(steps, self.folded)
            if self.add_scale:
                scale = (_level_and_scale(series) - self.scale_mean) / self.scale_deviation
                steps = np.concatenate([steps, np.tile(scale, (len(steps), 1))], axis=1)
            if np.abs(steps).max() > np.finfo(np.float32).max:
                raise UserError(
                    f"{source}: series {number} has a value too far from the training values "
                    f"({np.abs(series).max():g}); correct it"
                )
            encoded.append(torch.from_numpy(steps.astype(np.float32)))
        return encoded

    def _scaled(self, series: np.ndarray) -> np.ndarray:
        if self.scale == "auto":
            raise RuntimeError("nothing is chosen yet: call choose first")
        scaled = []
        if self.scale in ("split", "both"):
            scaled.append((series - self.mean) / self.deviation)
        if self.scale in ("series", "both"):
            scaled.append((series - series.mean(axis=0)) / _positive(series.std(axis=0)))
        return np.concatenate(scaled or [series], axis=1)

    def name(self, raw: np.ndarray) -> dict[str, Any]:
        return {"steps": len(raw)}

    def state(self) -> dict[str, Any]:
        options = {
            "downsample": self.downsample,
            "fold": self.fold,
            "missing": self.missing,
            "scale": self.scale,
            "add_scale": self.add_scale,
        }
        names = ("mean", "deviation", "scale_mean", "scale_deviation")
        fitted = {name: getattr(self, name).tolist() for name in names}
        fitted["folded"] = self.folded
        return {"kind": self.kind, "options": options, "fitted": fitted}

    def load(self, fitted: dict[str, Any]) -> None:
        self.mean, self.deviation = np.array(fitted["mean"]), np.array(fitted["deviation"])
        self.num_channels = len(self.mean)
        self.scale_mean = np.array(fitted["scale_mean"])
        self.scale_deviation = np.array(fitted["scale_deviation"])
        self.folded = int(fitted["folded"])
        self._count_inputs()

    def _count_inputs(self) -> None:
        copies = 2 if self.scale == "both" else 1
        beside = 2 * self.num_channels * self.add_scale
        self.num_inputs = self.num_channels * copies * self.folded + beside

    def _folded(self, longest: int) -> int:
        return -(-longest // MOST_STEPS) if self.fold == "auto" else int(self.fold)

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
            if np.isinf(series).any():
                raise UserError(f"{where} has an infinite value; correct it, or leave it missing")
            missing = int(np.isnan(series).sum())
            if missing and self.missing == "error":
                raise UserError(
                    f"{where} has {missing} missing value{'s' if missing > 1 else ''}; "
                    "set data.missing=interpolate to fill them"
                )
            filled = interpolate(series, where) if missing else series
            yield average_steps(filled, self.downsample) if self.downsample > 1 else filled


def _positive(deviation: np.ndarray) -> np.ndarray:
    return np.where(deviation > 0, deviation, 1)


def _level_and_scale(series: np.ndarray) -> np.ndarray:
    return np.concatenate([series.mean(axis=0), np.log(_positive(series.std(axis=0)))])


def interpolate(
    series: Float[np.ndarray, "time channels"], where: str
) -> Float[np.ndarray, "time channels"]:
    """Fills nan linearly, channel by channel; at the ends with the nearest value."""
    known, steps = ~np.isnan(series), np.arange(len(series))
    if not known.any(axis=0).all():
        raise UserError(f"{where} has a channel without any value to interpolate from")
    channels = zip(series.T, known.T, strict=True)
    return np.stack([np.interp(steps, steps[there], x[there]) for x, there in channels], axis=1)


def average_steps(
    series: Float[np.ndarray, "time channels"], count: int
) -> Float[np.ndarray, "steps channels"]:
    """Averages each `count` steps into one; the last one may be of fewer."""
    starts = np.arange(0, len(series), count)
    lengths = np.diff(np.append(starts, len(series)))[:, None]
    return np.add.reduceat(series, starts, axis=0) / lengths


def fold_steps(
    series: Float[np.ndarray, "time channels"], count: int
) -> Float[np.ndarray, "steps all_channels"]:
    """Puts the channels of each `count` steps side by side; the end repeats the last step."""
    missing = -len(series) % count
    filled = np.concatenate([series, np.repeat(series[-1:], missing, axis=0)])
    return filled.reshape(len(filled) // count, -1)
