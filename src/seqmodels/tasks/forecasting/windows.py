"""Windows of series of numbers, each with the values that come next: for forecasts."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from seqmodels.arguments import Count, Name, PositiveFraction, Seed
from seqmodels.batch import Per, SequenceBatch
from seqmodels.data.loading import SequenceLoader
from seqmodels.data.module import DataModule
from seqmodels.data.notes import share
from seqmodels.data.sources import Table, as_file
from seqmodels.errors import UserError, shown
from seqmodels.target import Baselines
from seqmodels.tasks.forecasting.baselines import forecast_baselines
from seqmodels.tasks.forecasting.series_table import SeriesTable, TimedSeries
from seqmodels.tasks.forecasting.times import calendar_waves, find_period
from seqmodels.tasks.forecasting.window_dataset import (
    SplitBounds,
    WindowDataset,
    WindowScales,
    split_in_time,
    windows,
)

log = logging.getLogger(__name__)

MOST_SERIES = 20  # to find the period in


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
        future_inputs: columns that are known in advance, such as a planned price: with each step,
            their values `horizon` steps later are read, so the last ones that a window reads are
            those of the steps to forecast. To forecast from a file, give that many more rows, with
            the cells of all other columns empty.
        time: the column with the time of each row, to check that steps are equal, and to continue
            it; None: they are.
        series: the column that says which of several series a row is of.
        calendar: what to read of the time beside the columns, as sine and cosine: `hour`,
            `weekday`, `month`. A window's own say what those of the horizon are.
        identity: also read which series it is, in a column of 0 and 1 for each: forecasts of
            series that are not alike then share less.
        horizon: how many steps to forecast.
        window: how many steps to read.
        stride: how many steps apart windows begin.
        period: after how many steps the series repeat; None: find it in the training split.
        missing: `error` refuses missing rows and values; `last` repeats the last known value, which
            is read and never scored.
        batch_size: windows in a batch, on each device.
        seed: of the order of the training batches.
        validation_fraction, test_fraction: the shares of each series.

    Raises:
        UserError: for shares that leave nothing to train on, or a column that is named twice.
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
        future_inputs: Sequence[Name] = (),
        time: Name | None = None,
        series: Name | None = None,
        calendar: Sequence[Literal["hour", "weekday", "month"]] = (),
        identity: bool = False,
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
        if validation_fraction + test_fraction >= 1:
            raise UserError(
                f"data.validation_fraction={validation_fraction} and data.test_fraction="
                f"{test_fraction} leave nothing to train on: lower one of them"
            )
        self.targets = [target] if isinstance(target, str) else list(target)
        self.columns = [*self.targets, *inputs]
        named = [*self.columns, *future_inputs, *filter(None, (time, series))]
        for name in named:
            if named.count(name) > 1:
                raise UserError(f"column {shown(name)!r} is named twice: targets are always read")
        if calendar and time is None:
            raise UserError(
                f"data.calendar={[*calendar]} is read from times: set data.time to their column"
            )
        if identity and series is None:
            raise UserError("data.identity is of several series: set data.series to their column")
        self.calendar, self.identity = calendar, identity
        self.future_inputs = [*future_inputs]
        self.columns += [f"{name} in {horizon} steps" for name in future_inputs]
        self.columns += [f"{unit} {wave}" for unit in calendar for wave in ("sine", "cosine")]
        keys = dict.fromkeys(self.targets, "data.target")
        keys |= dict.fromkeys(inputs, "data.inputs")
        keys |= dict.fromkeys(future_inputs, "data.future_inputs")
        self.table = SeriesTable(keys, time, series, missing == "last", len(future_inputs), horizon)
        self.file = as_file(file, "data.file")
        self.horizon, self.window, self.stride = horizon, window, stride
        self.period, self.batch_size, self.seed = period, batch_size, seed
        self.fractions = {"test": test_fraction, "validation": validation_fraction}
        self.scales: WindowScales | None = None  # until `setup` or `use_spec`
        self.series: list[TimedSeries] = []
        self.datasets: dict[str, WindowDataset] = {}

    def fits(self, per: Per, target: str) -> bool:
        return target == self.target  # a window has all that forecasts by steps need

    @property
    def title(self) -> str:
        return Path(self.file).name

    @property
    def notes(self) -> Sequence[str]:
        unknown = sum(int((~each.known).sum()) for each in self.series)
        values = sum(each.known.size for each in self.series)
        repeated = f"{unknown:,} of {values:,} values are missing and repeat the last known one"
        steps = Counter(each.clock.every for each in self.series if each.clock)
        (usual, count), *others = steps.most_common() or [("", 0)]
        mixed = (
            f"{share(len(self.series) - count, len(self.series), 'series')} have another step than "
            f"{usual}, such as {others[0][0]}: window, horizon and period count steps"
            if others
            else ""
        )
        return [note for note in (repeated if unknown else "", mixed) if note]

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

        `columns`: all that are read; `values`: the targets, the first of them; `future_inputs`;
        `horizon`, `window` and `period`; `series` and their scales (`WindowScales`).
        """
        return {
            "inputs": "features",
            "num_inputs": len(self.columns) + self.identity * len(self._known_scales.names),
            "columns": self.columns,
            "values": self.targets,
            "future_inputs": self.future_inputs,
            "horizon": self.horizon,
            "window": self.window,
            "period": self.period,
            **self._known_scales.spec,
        }

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        if list(spec["columns"]) != self.columns:
            raise UserError(f"the checkpoint reads the columns {', '.join(spec['columns'])}")
        self.scales, self.period = WindowScales.load(spec), spec["period"]

    @cached_property
    def fingerprint(self) -> str:
        names = [each.name for each in self.series]
        digest = hashlib.sha256(repr([self.window, self.horizon, names]).encode())
        for each in self.series:
            digest.update(each.values.tobytes() + each.known.tobytes())
        for dataset in self.datasets.values():
            digest.update(dataset.starts.tobytes())
        return digest.hexdigest()[:16]

    def setup(self, stage: str | None = None) -> None:
        if self.datasets:
            return
        self.series = self._read(self.file)
        sizes = (self.window, self.horizon)
        bounds = [split_in_time(each, self.fractions, *sizes, self.file) for each in self.series]
        if self.scales is None:
            train = [each.part(*p["train"]) for each, p in zip(self.series, bounds, strict=True)]
            if self.period is None:
                self.period = find_period([each.values[:, 0] for each in train[:MOST_SERIES]])
            scales = WindowScales.of(train, len(self.targets), self.period, self.file)
            self.scales = replace(scales, identity=self.identity)
        self.datasets = self._datasets(bounds, self.series, self.file)
        for line in self.summary:
            log.info(f"data: {line}; {self.target}: {', '.join(self.targets)}")

    def _datasets(
        self, bounds: Sequence[SplitBounds], series: Sequence[TimedSeries], source: str
    ) -> dict[str, WindowDataset]:
        sizes = {"window": self.window, "horizon": self.horizon, "stride": self.stride}
        return windows(series, bounds, self._known_scales, len(self.targets), source, **sizes)

    @property
    def _known_scales(self) -> WindowScales:
        if self.scales is None:
            raise RuntimeError("nothing is learned from the training split yet: call setup first")
        return self.scales

    def file_loader(self, path: str) -> SequenceLoader:
        series = self._long_enough(path, self.window + self.horizon)
        bounds = [{"file": (0, len(each))} for each in series]
        return self.loader(self._datasets(bounds, series, path)["file"])

    def read_inputs(self, path: str) -> Iterator[TimedSeries]:
        for each in self._long_enough(path, self.window):
            if self.future_inputs and each.ahead < self.horizon:
                raise UserError(
                    f"{path}: {', '.join(self.future_inputs)}{each.of}: {each.ahead:,} steps "
                    f"beyond the last one to forecast from, where {self.horizon:,} are forecast: "
                    f"give {self.horizon:,} more rows, with all other cells empty"
                )
            yield each.part(len(each) - self.window, len(each))

    def _read(self, path: str) -> list[TimedSeries]:
        found = self.table.read(path)
        return [self._with_calendar(each, path) for each in found] if self.calendar else found

    def _with_calendar(self, series: TimedSeries, path: str) -> TimedSeries:
        clock = series.clock
        if clock is None or clock.unit == "numbers":
            raise UserError(
                f"{path}: data.calendar={[*self.calendar]} needs dates, and {self.table.time!r} "
                "has numbers: leave it out"
            )
        waves = calendar_waves(clock, len(series), self.calendar)
        known = np.ones(waves.shape, bool)
        return replace(
            series,
            values=np.hstack([series.values, waves]),
            known=np.hstack([series.known, known]),
        )

    def _long_enough(self, path: str, least: int) -> list[TimedSeries]:
        found = self._read(path)
        for each in found:
            if len(each) < least:
                raise UserError(
                    f"{path}: there are {len(each):,} steps{each.of}, too few: give {least:,}"
                )
        return found

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """As `DataModule` says; of arrays `(T, columns)`, too, if training had only one series."""
        scales = self._known_scales
        series = [self._series(each, f"{source}: series {n}") for n, each in enumerate(raw, first)]
        numbers = torch.tensor([scales.number(each, source) for each in series])
        values = [scales.standardised(each, source) for each in series]
        lengths = torch.tensor([*map(len, values)])
        return SequenceBatch(torch.from_numpy(np.stack(values)), lengths, series=numbers)

    def _series(self, raw: Any, where: str) -> TimedSeries:
        if isinstance(raw, TimedSeries):
            return raw
        values = np.asarray(raw, np.float64)[-self.window :]
        if values.shape != (self.window, len(self.columns)) or not np.isfinite(values).all():
            raise UserError(
                f"{where} has shape {np.shape(raw)}: give {self.window:,} known steps of "
                f"{', '.join(self.columns)}"
            )
        return TimedSeries("", values, np.isfinite(values))

    def described(
        self, raw: Sequence[Any], rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Beside each forecast its series, and the times of it, where the file has them."""
        for each, row in zip(raw, rows, strict=True):
            name = {"series": each.name} if self.table.series else {}
            clock = getattr(each, "clock", None)  # of an array there is none
            time = {"time": clock.after(self.horizon)} if clock else {}
            yield {**name, **time, **row}

    def compute_baselines(self) -> Baselines:
        return forecast_baselines(self.datasets, self._known_scales, self.spec)

    @property
    def baseline_recipe(self) -> list[Any]:
        return [self.spec]
