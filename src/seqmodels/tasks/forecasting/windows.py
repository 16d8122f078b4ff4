"""Windows of series of numbers, each with the values that come next: for forecasts."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.utils.data import Dataset

from seqmodels.arguments import Count, Name, PositiveFraction, Seed
from seqmodels.batch import Per, SequenceBatch
from seqmodels.data.examples import digest
from seqmodels.data.loading import SequenceLoader
from seqmodels.data.module import DataModule
from seqmodels.data.series_inputs import ROUNDING, mean_and_deviation
from seqmodels.data.sources import Table, as_file
from seqmodels.errors import UserError, listed, refusing, shown
from seqmodels.files import called, read_lines
from seqmodels.target import Baselines
from seqmodels.tasks.forecasting.baselines import forecast_baselines
from seqmodels.tasks.forecasting.series import TimedSeries, read_series

log = logging.getLogger(__name__)

SCALES = ("series", "mean", "deviation", "naive_error")


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
        """The series of a window, and the step of its first forecast, from 0, with its time."""
        series, offset = self.sources[int(self.series[row])]
        step = int(self.starts[row]) + len(self.read) - offset
        name = {"series": series.name} if series.name else {}
        time = {} if series.times is None else {"time": str(series.times[step])}
        return {**name, "step": step, **time}


class Windows(DataModule):
    """Windows of the series in a table, each with the next values of some of its columns.

    Each series is cut in time: training, then validation, then test. The values to forecast lie in
    one split of one series; the window before them may begin in the split before. Every column is
    standardised by its mean and deviation in the training split of its series.

    Args:
        file: a CSV, TSV, JSON Lines or Parquet file with a row for each step, or such rows in
            memory, as `as_file` takes them.
        target: the column to forecast, or several.
        inputs: further columns to read; the targets are always read.
        time: the column with the time of each row, to check that steps are equal, and to continue
            it; None: they are.
        series: the column that says which of several series a row is of.
        horizon: how many steps to forecast.
        window: how many steps to read.
        stride: how many steps apart windows begin.
        period: after how many steps the series repeat; None: `TimedSeries.usual_period`.
        missing: `error` refuses missing rows and values; `last` repeats the last known value, which
            is read and never scored; before the first known one, the mean of the training split.
        batch_size: windows in a batch, on each device.
        seed: of the order of the training batches.
        validation_fraction, test_fraction: the shares of each series.

    Raises:
        UserError: for a column that is named twice.
    """

    per: Per = "sequence"
    target: str = "forecast"
    reads_tables = True

    def __init__(
        self,
        file: Table,
        target: Name | list[Name],
        *,
        inputs: Sequence[Name] = (),
        time: Name | None = None,
        series: Name | None = None,
        horizon: Count = 24,
        window: Count = 168,
        stride: Count = 1,
        period: Count | None = None,
        missing: Literal["error", "last"] = "error",
        batch_size: Count = 64,
        seed: Seed = 0,
        validation_fraction: PositiveFraction = 0.2,
        test_fraction: PositiveFraction = 0.2,
    ) -> None:
        super().__init__()
        self.targets = [target] if isinstance(target, str) else list(target)
        self.columns = [*self.targets, *inputs]
        named = [*self.columns, *filter(None, (time, series))]
        for name in named:
            if named.count(name) > 1:
                raise UserError(f"column {shown(name)!r} is named twice: targets are always read")
        self.keys = dict.fromkeys(self.targets, "data.target")
        self.keys |= dict.fromkeys(inputs, "data.inputs")
        self.time, self.by, self.fill = time, series, missing == "last"
        self.file = as_file(file, "data.file")
        self.horizon, self.window, self.stride = horizon, window, stride
        self.period, self.batch_size, self.seed = period, batch_size, seed
        self.fractions = validation_fraction, test_fraction
        self.scales: dict[str, Any] = {}  # until `setup` or `use_spec`
        self.series: list[TimedSeries] = []
        self.datasets: dict[str, WindowDataset] = {}

    def fits(self, per: Per, target: str) -> bool:
        return target == self.target  # a window has all that forecasts by steps need

    @property
    def title(self) -> str:
        return Path(called(self.file)).name

    @property
    def notes(self) -> Sequence[str]:
        unknown = sum(int((~each.known).sum()) for each in self.series)
        values = sum(each.known.size for each in self.series)
        note = f"{unknown:,} of {values:,} values are missing and repeat the last known one"
        return [note] if unknown else []

    @property
    def summary(self) -> Sequence[str]:
        splits = ", ".join(f"{split} {len(each):,}" for split, each in self.datasets.items())
        series = f" of {len(self.series):,} series" if len(self.series) > 1 else ""
        return [
            f"{self.title}: {splits} windows{series}, {self.window} + {self.horizon} steps; "
            f"period {self.period}"
        ]

    @property
    def spec(self) -> dict[str, Any]:
        """What a task has to know, as plain values.

        `columns`: all that are read; `values`: the targets, the first of them; `horizon`, `window`
        and `period`; `series`, their names; `mean` and `deviation` `(S, C)`, of each column in the
        training split; `naive_error` `(S, K)`, the mean absolute error there of repeating the last
        period, by which the mean absolute scaled error divides (Hyndman and Koehler 2006,
        https://doi.org/10.1016/j.ijforecast.2006.03.001).
        """
        return {
            "inputs": "features",
            "num_inputs": len(self.columns),
            "columns": self.columns,
            "values": self.targets,
            "horizon": self.horizon,
            "window": self.window,
            "period": self.period,
            **self.scales,
        }

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        if list(spec["columns"]) != self.columns:
            raise UserError(f"the checkpoint reads the columns {', '.join(spec['columns'])}")
        self.scales, self.period = {name: spec[name] for name in SCALES}, spec["period"]

    @cached_property
    def fingerprint(self) -> str:
        series = ([each.name, each.values, each.known] for each in self.series)
        starts = [dataset.starts for dataset in self.datasets.values()]
        return digest([self.window, self.horizon], *series, starts)

    def setup(self, stage: str | None = None) -> None:
        if self.datasets:
            return
        self.series = self._read(self.file)
        bounds = [self._cut(each) for each in self.series]
        if not self.scales:
            self.period = self.period or self.series[0].usual_period
            train = [each.part(*of["train"]) for each, of in zip(self.series, bounds, strict=True)]
            self.scales = self._scales(train)
        self.datasets = self._windows(self.series, bounds, self.file)
        for line in self.summary:
            log.info(f"data: {line}; {self.target}: {', '.join(self.targets)}")

    def _read(self, path: str, least: int = 1) -> list[TimedSeries]:
        found = read_series(path, self.keys, self.time, self.by, fill=self.fill)
        for each in found:
            if len(each) < least:
                raise UserError(
                    f"{called(path)}: there are {len(each):,} steps{each.of}, too few: give "
                    f"{least:,}"
                )
        return found

    def _cut(self, series: TimedSeries) -> dict[str, tuple[int, int]]:
        """Where the splits of a series begin and end."""
        steps, (validation, test) = len(series), self.fractions
        end = steps - round(test * steps)
        cut = end - round(validation * steps)
        if cut < self.window + self.horizon or min(end - cut, steps - end) < self.horizon:
            raise UserError(
                f"{called(self.file)}: {steps:,} steps{series.of} are too few: training needs "
                f"a window and a horizon, {self.window:,} + {self.horizon:,} steps, and has "
                f"{cut:,}; the other splits need a horizon, and have {end - cut:,} and "
                f"{steps - end:,}: lower "
                "data.window, data.horizon or the fractions, or give more rows"
            )
        return {"train": (0, cut), "validation": (cut, end), "test": (end, steps)}

    def _scales(self, train: Sequence[TimedSeries]) -> dict[str, Any]:
        period, count = self.period or 1, len(self.targets)
        scales: dict[str, list[Any]] = {name: [] for name in SCALES}
        for each in train:
            values = np.where(each.known, each.values, np.nan)
            steps = np.abs(values[period:] - values[:-period])[:, :count]
            if any(np.isnan(found).all(axis=0).any() for found in (values, steps)):
                raise UserError(
                    f"{called(self.file)}: too few values are known in the train split{each.of} of "
                    f"{len(each):,} steps, of which data.period is {period:,}: lower it, or give "
                    "more rows"
                )
            mean, deviation = mean_and_deviation(values)
            error, largest = np.nanmean(steps, axis=0), np.nanmax(np.abs(values), axis=0)[:count]
            some = error > ROUNDING * largest  # else each period is as the last one
            scales["series"].append(each.name)
            scales["mean"].append(mean.tolist())
            scales["deviation"].append(deviation.tolist())
            scales["naive_error"].append(np.where(some, error, deviation[:count]).tolist())
        return scales

    def _standardised(
        self, series: Sequence[TimedSeries], source: str
    ) -> tuple[list[int], list[np.ndarray]]:
        """The numbers of series, and their values as the network reads them: before the first that
        is known, the mean in training."""
        numbers = {name: number for number, name in enumerate(self.scales["series"])}
        if unseen := [each.name for each in series if each.name not in numbers]:
            raise UserError(
                f"{source}: series {shown(unseen[0])!r} was not in training, which scales each by "
                f"its own mean and deviation: train with it, too; there are {listed(numbers)}"
            )
        found = [numbers[each.name] for each in series]
        mean, deviation = (np.array(self.scales[name]) for name in ("mean", "deviation"))
        values = (
            (each.values - mean[number]) / deviation[number]
            for number, each in zip(found, series, strict=True)
        )
        return found, [np.nan_to_num(each).astype(np.float32) for each in values]

    def _windows(
        self,
        series: Sequence[TimedSeries],
        bounds: Sequence[Mapping[str, tuple[int, int]]],
        of: str,
    ) -> dict[str, WindowDataset]:
        """The windows whose horizon lies within these bounds of their series, by the split's name.
        They may begin before, so that the first steps of a split are forecast, too."""
        numbers, values = self._standardised(series, of)
        read, count = np.concatenate(values), len(self.targets)
        known = np.concatenate([each.known[:, :count] for each in series])
        ahead = np.where(known, read[:, :count], np.float32(np.nan))
        before = np.cumsum([0, *map(len, series)])[:-1].tolist()
        sources = dict(zip(numbers, zip(series, before, strict=True), strict=True))
        datasets = {}
        for split in bounds[0]:
            starts, some = [], False
            for offset, (first, end) in zip(before, (own[split] for own in bounds), strict=True):
                some |= bool(known[offset + first : offset + end].any())
                last = end - self.window - self.horizon
                own = np.arange(max(first - self.window, 0), last + 1, self.stride)
                starts.append(offset + own)
            if not some:
                raise UserError(
                    f"{of}: no {', '.join(self.targets)} is known in the {split} split; there is "
                    "nothing to compare with"
                )
            which = np.repeat(numbers, [*map(len, starts)])
            sizes = (self.window, self.horizon)
            datasets[split] = WindowDataset(
                read, ahead, np.concatenate(starts), which, *sizes, sources
            )
        return datasets

    def file_loader(self, path: str) -> SequenceLoader:
        series = self._read(path, self.window + self.horizon)
        bounds = [{"file": (0, len(each))} for each in series]
        return self.loader(self._windows(series, bounds, path)["file"])

    def read_inputs(self, path: str) -> Iterator[TimedSeries]:
        for each in self._read(path, self.window):
            yield each.part(len(each) - self.window, len(each))

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """As `DataModule` says; of arrays `(T, columns)`, too, if training had only one series."""
        series = [self._series(each, f"{source}: series {n}") for n, each in enumerate(raw, first)]
        return self._batch_of(series, source)

    def batch_of_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> SequenceBatch:
        """Of arrays `(t, columns)`, if training had only one series."""
        steps = (self._series(each, f"row {n}", len(each)) for n, each in enumerate(raw, 1))
        return self._batch_of([*steps], "inputs")

    def read_steps(self, path: str) -> Iterator[np.ndarray]:
        """One step of each line: its values, or the only one, as JSON."""
        for number, line in enumerate(read_lines(path), 1):
            with refusing(f"{path}: line {number} is not the values of a step", ValueError):
                yield np.array(json.loads(line), np.float64).reshape(1, -1)

    def _batch_of(self, series: Sequence[TimedSeries], source: str) -> SequenceBatch:
        numbers, values = self._standardised(series, source)
        inputs = torch.from_numpy(np.stack(values))
        lengths = torch.full((len(series),), inputs.shape[1])
        return SequenceBatch(inputs, lengths, series=torch.tensor(numbers))

    def _series(self, raw: Any, where: str, steps: int | None = None) -> TimedSeries:
        if isinstance(raw, TimedSeries):
            return raw
        steps = steps or self.window
        values = np.asarray(raw, np.float64)[-steps:]
        if values.shape != (steps, len(self.columns)) or not np.isfinite(values).all():
            raise UserError(
                f"{where} has shape {np.shape(raw)}: give {steps:,} known steps of "
                f"{', '.join(self.columns)}"
            )
        return TimedSeries("", values, np.isfinite(values))

    def described(
        self, raw: Sequence[Any], rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Beside each forecast its series, and the times of it, where the file has them."""
        for each, row in zip(raw, rows, strict=True):
            name = {"series": each.name} if self.by else {}
            timed = getattr(each, "times", None) is not None  # of an array there are none
            yield {**name, **({"time": each.after(self.horizon)} if timed else {}), **row}

    def compute_baselines(self) -> Baselines:
        return forecast_baselines(self.datasets, self.spec)

    @property
    def baseline_recipe(self) -> list[Any]:
        return [self.spec]
