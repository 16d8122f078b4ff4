"""Windows of series of numbers, and the scales of these series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.utils.data import Dataset

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError, choices, shown
from seqmodels.tasks.forecasting.series_table import TimedSeries

SplitBounds = Mapping[str, tuple[int, int]]
"""Where the splits of a series begin and end, by name."""


def split_in_time(
    series: TimedSeries, fractions: Mapping[str, float], window: int, horizon: int, source: str
) -> SplitBounds:
    """Cuts a series in time: training, then validation, then test.

    Args:
        fractions: of `validation` and `test`.
        window, horizon: the steps that training must have for one window; the windows of the other
            splits begin in the split before them.

    Raises:
        UserError: if a split is too short.
    """
    steps = len(series)
    test = steps - round(fractions["test"] * steps)
    train = test - round(fractions["validation"] * steps)
    bounds = {"train": (0, train), "validation": (train, test), "test": (test, steps)}
    for split, (start, stop) in bounds.items():
        what, least, key = "a horizon", horizon, "data.horizon"
        if split == "train":
            what, least, key = (
                "one window with its horizon",
                window + horizon,
                f"data.window or {key}",
            )
        if stop - start < least:
            raise UserError(
                f"{source}: the {split} split{series.of} has {stop - start:,} of {steps:,} steps, "
                f"and {what} has {least:,}: lower {key}, or give more rows"
            )
    return bounds


class WindowDataset(Dataset[SequenceBatch]):
    """Windows of series, taken when a batch is made: the values are in memory once.

    Args:
        values: `(N, C)` float32, all series one after the other, standardised.
        targets: `(N, K)` of them, nan where there is none.
        starts: `(M,)`, where each window begins.
        series: `(M,)`, the number of the series of each window.
        window, horizon: the steps that are read, and those after them to forecast.
        sources: by the number of a series, it, and where it begins in `values`.
    """

    def __init__(
        self,
        values: Float[np.ndarray, "steps columns"],
        targets: Float[np.ndarray, "steps targets"],
        starts: Int[np.ndarray, " windows"],
        series: Int[np.ndarray, " windows"],
        window: int,
        horizon: int,
        sources: Mapping[int, tuple[TimedSeries, int]],
    ) -> None:
        self.values, self.targets, self.starts, self.series = values, targets, starts, series
        self.sources = sources
        self.read, self.ahead = np.arange(window), np.arange(window, window + horizon)
        self.lengths = torch.full((len(starts),), window)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: Sequence[int]) -> SequenceBatch:
        """Inputs `(B, W, C)`, and targets `(B, H * K)`, the K values of a step side by side."""
        rows = np.asarray(indices)
        starts = self.starts[rows, None]
        return SequenceBatch(
            torch.from_numpy(self.values[starts + self.read]),
            torch.full((len(rows),), len(self.read)),
            torch.from_numpy(self.targets[starts + self.ahead]).flatten(1),
            series=torch.from_numpy(self.series[rows]),
            rows=torch.from_numpy(rows),
        )

    def row_name(self, row: int) -> dict[str, Any]:
        """The series of a window, and the time of its first forecast, or its step, from 0."""
        series, offset = self.sources[int(self.series[row])]
        step = int(self.starts[row]) + len(self.read) - offset
        name = {"series": series.name} if series.name else {}
        if series.clock is None:
            return {**name, "step": step}
        return {**name, "time": series.clock.after(1, since=step - len(series))[0]}


@dataclass(frozen=True, eq=False)
class WindowScales:
    """What is learned from the training split of S series.

    Args:
        names: of the series.
        mean, deviation: `(S, C)` of each column, of values that are known.
        naive_error: `(S, K)`, the mean absolute error of repeating the last period, of each target:
            what the mean absolute scaled error divides by (Hyndman and Koehler 2006,
            https://doi.org/10.1016/j.ijforecast.2006.03.001).
        identity: whether the network also reads which series it is, in S columns of 0 and 1.
    """

    names: Sequence[str]
    mean: Float[np.ndarray, "series columns"]
    deviation: Float[np.ndarray, "series columns"]
    naive_error: Float[np.ndarray, "series targets"]
    identity: bool = False

    @classmethod
    def of(
        cls, series: Sequence[TimedSeries], targets: int, period: int, source: str
    ) -> WindowScales:
        """The scales of training splits, whose first columns are targets.

        Raises:
            UserError: for a series that is too short, or lacks a column.
        """
        mean, deviation, errors = [], [], []
        for each in series:
            values = np.where(each.known, each.values, np.nan)
            if period >= len(values):
                raise UserError(
                    f"data.period is {period}, and the train split{each.of} has {len(values):,} "
                    "steps: lower it, or give more rows"
                )
            steps = np.abs(values[period:] - values[:-period])[:, :targets]
            if np.isnan(values).all(axis=0).any() or np.isnan(steps).all(axis=0).any():
                raise UserError(f"{source}: too few values are known in the train split{each.of}")
            mean.append(np.nanmean(values, axis=0))
            usual = np.nanstd(values, axis=0)
            deviation.append(np.where(usual > 0, usual, 1.0))
            error = np.nanmean(steps, axis=0)
            errors.append(np.where(error > 0, error, deviation[-1][:targets]))
        return cls(
            [each.name for each in series], np.stack(mean), np.stack(deviation), np.stack(errors)
        )

    @classmethod
    def load(cls, spec: Any) -> WindowScales:
        """Restores them from `spec`."""
        mean, deviation, error = (np.array(spec[n]) for n in ("mean", "deviation", "naive_error"))
        return cls(list(spec["series"]), mean, deviation, error, spec["identity"])

    @property
    def spec(self) -> dict[str, Any]:
        """Their plain values."""
        return {
            "series": list(self.names),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "naive_error": self.naive_error.tolist(),
            "identity": self.identity,
        }

    def number(self, series: TimedSeries, source: str) -> int:
        """The number of the series of this name.

        Raises:
            UserError: with the names there are.
        """
        if series.name not in self.names:
            known = choices(series.name, self.names)
            raise UserError(f"{source}: series {shown(series.name)!r} was not in training: {known}")
        return self.names.index(series.name)

    def standardised(self, series: TimedSeries, source: str) -> Float[np.ndarray, "steps columns"]:
        """Its values as the network reads them, float32.

        Raises:
            UserError: for a value that is too far from all of training.
        """
        number = self.number(series, source)
        scaled = (series.values - self.mean[number]) / self.deviation[number]
        if np.abs(scaled).max() > np.finfo(np.float32).max:
            raise UserError(
                f"{source}: a value{series.of} is too far from the training values "
                f"({np.abs(series.values).max():g}); correct it"
            )
        if self.identity:
            scaled = np.hstack([scaled, np.tile(np.eye(len(self.names))[number], (len(scaled), 1))])
        return scaled.astype(np.float32)


def windows(
    series: Sequence[TimedSeries],
    bounds: Sequence[SplitBounds],
    scales: WindowScales,
    targets: int,
    source: str,
    *,
    window: int,
    horizon: int,
    stride: int,
) -> dict[str, WindowDataset]:
    """The windows whose horizon lies in a split of their series, by the split's name. A window may
    begin before its split, so that the first steps of a split are forecast, too.

    Args:
        bounds: of each series.
        targets: how many columns to forecast, the first ones.
        stride: how many steps apart windows begin.

    Raises:
        UserError: for a series that was not in training.
    """
    numbers = [scales.number(each, source) for each in series]
    values = np.concatenate([scales.standardised(each, source) for each in series])
    known = np.concatenate([each.known[:, :targets] for each in series])
    ahead = np.where(known, values[:, :targets], np.float32(np.nan))
    before = np.cumsum([0, *map(len, series)])[:-1]
    sources = dict(zip(numbers, zip(series, before.tolist(), strict=True), strict=True))
    datasets = {}
    for split in bounds[0]:
        starts = [
            offset
            + np.arange(
                max(each[split][0] - window, 0), each[split][1] - window - horizon + 1, stride
            )
            for offset, each in zip(before, bounds, strict=True)
        ]
        of = np.repeat(numbers, [*map(len, starts)])
        datasets[split] = WindowDataset(
            values, ahead, np.concatenate(starts), of, window, horizon, sources
        )
    return datasets
