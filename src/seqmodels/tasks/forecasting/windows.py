"""Windows of series of numbers, each with the values that come next: for forecasts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch.utils.data import Dataset

from seqmodels.arguments import Count, Name, PositiveFraction, Seed
from seqmodels.batch import Per, SequenceBatch
from seqmodels.data.examples import digest
from seqmodels.data.gaps import note_of_placeholders
from seqmodels.data.loading import SequenceLoader
from seqmodels.data.series_inputs import mean_and_deviation, rounding_of
from seqmodels.data.sources import ReadsTables, Table, as_file
from seqmodels.errors import UserError, listed, refusing, shown
from seqmodels.files import called, read_lines
from seqmodels.target import Baselines
from seqmodels.tasks.forecasting.baselines import forecast_baselines
from seqmodels.tasks.forecasting.series import TimedSeries, read_series

# What `Windows.spec` holds of each series.
SCALES = ("series", "mean", "deviation", "naive_error")

Bounds = Mapping[str, tuple[int, int]]
"""The steps of a series at which each split begins and ends."""


@dataclass(eq=False)
class WindowDataset(Dataset[SequenceBatch]):
    """Windows of series, which are cut when a batch is made: the values are in memory once."""

    # The values of all series, one after the other; float32 if they are standardised.
    values: Float[np.ndarray, "steps columns"]
    # Where there is a value to forecast.
    is_known: Bool[np.ndarray, "steps targets"]
    # The step at which each window begins.
    starts: Int[np.ndarray, " windows"]
    # The mean, the deviation and the naive error of each column, as `TimedSeries.scale` has them.
    scales: Float[np.ndarray, "scales 3 columns"]
    # The number of the scale that each window has.
    scale_numbers: Int[np.ndarray, " windows"]
    # How many steps are read.
    window: int
    # How many steps after them are forecast.
    horizon: int
    # The series, to name the rows.
    series: Sequence[TimedSeries]

    def __post_init__(self) -> None:
        self.series_starts = np.cumsum([0, *map(len, self.series)])  # (S + 1,), in steps
        # Steps of a window, counted from where it begins.
        self.steps_read = np.arange(self.window)
        self.steps_ahead = np.arange(self.window, self.window + self.horizon)
        self.steps_scored = self.steps_ahead
        # Where values are missing, a task that learns from the window, too, must know which were.
        self.has_gaps = not self.is_known.all()
        if self.has_gaps:
            self.steps_scored = np.arange(1, self.window + self.horizon)
        self.lengths = torch.full((len(self.starts),), self.window)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: Sequence[int]) -> SequenceBatch:
        """Returns inputs `(B, W, C)`, and targets `(B, H * K)`, the K values of a step side by
        side. Where values are missing, the targets also hold those of the window but its first
        step, `(B, (W - 1 + H) * K)`."""
        rows = np.asarray(indices)
        inputs = torch.from_numpy(self.steps(rows, self.steps_read))
        targets = torch.from_numpy(self._known_values(rows, self.steps_scored))
        return SequenceBatch(
            inputs,
            torch.full((len(rows),), self.window),
            targets.flatten(1),
            scale=torch.from_numpy(self.scale(rows)),
            rows=torch.from_numpy(rows),
        )

    def steps(
        self, rows: Int[np.ndarray, " batch"], offsets: Int[np.ndarray, " read"]
    ) -> Float[np.ndarray, "batch read columns"]:
        """Returns steps of windows, at these offsets from where they begin, standardised."""
        values = self.values[self.starts[rows, None] + offsets]
        if values.dtype == np.float32:
            return values
        scales = self.scales[self.scale_numbers[rows]]  # (B, 3, C)
        return standardised(values, scales)

    def targets(self, rows: Int[np.ndarray, " batch"]) -> Float[np.ndarray, "batch ahead targets"]:
        """Returns the values to forecast after windows, standardised; nan where one is missing."""
        return self._known_values(rows, self.steps_ahead)

    def _known_values(
        self, rows: Int[np.ndarray, " batch"], offsets: Int[np.ndarray, " steps"]
    ) -> Float[np.ndarray, "batch steps targets"]:
        is_known = self.is_known[self.starts[rows, None] + offsets]  # (B, T, K)
        values = self.steps(rows, offsets)[..., : self.num_targets]
        return np.where(is_known, values, np.float32(np.nan))

    @property
    def num_targets(self) -> int:
        """How many columns are forecast: the first ones of the values."""
        return self.is_known.shape[1]

    def scale(self, rows: Int[np.ndarray, " batch"]) -> Float[np.ndarray, "batch 3 targets"]:
        """Returns the scale of the values to forecast, for each window."""
        return self.scales[self.scale_numbers[rows], :, : self.num_targets]

    def row_name(self, row: int) -> dict[str, Any]:
        """Returns the series of a window, if it has a name, and the step of its first forecast,
        from 0, with its time, if the file has one."""
        start = int(self.starts[row])
        series_number = int(np.searchsorted(self.series_starts, start, "right")) - 1
        series = self.series[series_number]
        step = start + self.window - int(self.series_starts[series_number])
        name: dict[str, Any] = {}
        if series.name:
            name["series"] = series.name
        name["step"] = step
        if series.times is not None:
            name["time"] = str(series.times[step])
        return name


def standardised(
    values: Float[np.ndarray, "*batch steps columns"], scale: Float[np.ndarray, "*batch 3 columns"]
) -> Float[np.ndarray, "*batch steps columns"]:
    """Returns values as a network reads them; before the first known one of a series, its mean."""
    mean = scale[..., :1, :]
    deviation = scale[..., 1:2, :]
    standardised_values = (values - mean) / deviation
    return np.nan_to_num(standardised_values).astype(np.float32)


class Windows(ReadsTables):
    """Windows of the series in a table, each with the next values of some of its columns. Raises a
    `UserError` for a column that is named twice.

    Each series is cut in time: training, then validation, then test. The values to forecast lie in
    one split of one series; the window before them may begin in the split before. Every column is
    standardised by its mean and deviation in the training split of its series; in a series that
    training never saw, by those of all steps before a forecast.

    Args:
        file: a CSV, TSV, JSON Lines or Parquet file with a row for each step, or such rows in
            memory, as `as_file` takes them.
        target: the column to forecast, or several.
        inputs: further columns to read; the targets are always read.
        time: the column with the time of each row. With it, steps are checked to be equal, and
            forecasts continue the times. None: the rows are equal steps.
        series: the column that says which of several series a row is of.
        horizon: how many steps to forecast.
        window: how many steps to read.
        stride: how many steps apart windows begin.
        period: after how many steps the series repeat; None: `TimedSeries.usual_period`.
        missing: `error` refuses missing rows and values; `last` repeats the last known value, which
            is read and never scored; before the first known one, the mean of the training split.
        batch_size: how many windows a batch has, on each device.
        seed: the seed of the order of the training batches.
        validation_fraction, test_fraction: the shares of each series.
        options: `columns`, `separator` and the other arguments of `ReadsTables`.
    """

    per: Per = "sequence"
    target: str = "forecast"

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
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.targets = [target] if isinstance(target, str) else list(target)
        self.columns = [*self.targets, *inputs]
        column_names = [*self.columns]
        column_names += [name for name in (time, series) if name]
        for name in column_names:
            if column_names.count(name) > 1:
                raise UserError(f"column {shown(name)!r} is named twice: targets are always read")
        # The key that names each column with numbers, for errors.
        self.keys = dict.fromkeys(self.targets, "data.target")
        self.keys |= dict.fromkeys(inputs, "data.inputs")
        self.time = time
        self.series_column = series
        self.fills_gaps = missing == "last"
        self.file = as_file(file, "data.file")
        self.horizon = horizon
        self.window = window
        self.stride = stride
        self.period = period
        self.batch_size = batch_size
        self.seed = seed
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        # The names and scales of the series in training, as `spec` has them; `setup` or `use_spec`
        # sets them, and `setup` sets the series and the datasets.
        self.scales: dict[str, Any] = {}
        self.series: list[TimedSeries] = []
        self.datasets: dict[str, WindowDataset] = {}
        # The names of the series that training never saw, for `doubts`.
        self.unseen: list[str] = []
        # Notes on numbers that may stand for missing values.
        self._placeholder_notes: list[str] = []

    def fits(self, per: Per, target: str) -> bool:
        # A task of either `per` can learn, because a window has what forecasts by steps need, too.
        return target == self.target

    @property
    def title(self) -> str:
        return Path(called(self.file)).name

    @property
    def notes(self) -> Sequence[str]:
        num_values, num_missing = 0, 0
        for series in self.series:
            num_values += series.is_known.size
            num_missing += int((~series.is_known).sum())
        notes = []
        if num_missing:
            notes.append(
                f"{num_missing:,} of {num_values:,} values are missing and repeat the last known "
                "one"
            )
        return [*notes, *self._placeholder_notes, *self.doubts]

    @property
    def doubts(self) -> Collection[str]:
        if not self.unseen:
            return []
        names = listed(self.unseen)
        return [f"training never saw {names}: scaled by the steps before each forecast"]

    @property
    def summary(self) -> Sequence[str]:
        sizes = [f"{split} {len(dataset):,}" for split, dataset in self.datasets.items()]
        windows = f"{', '.join(sizes)} windows"
        if len(self.series) > 1:
            windows += f" of {len(self.series):,} series"
        steps = f"{self.window} + {self.horizon} steps"
        return [f"{self.title}: {windows}, {steps}; period {self.period}"]

    @property
    def spec(self) -> dict[str, Any]:
        """What a task has to know, as plain values.

        `columns` are all that are read, and `values` the targets, the first of them. `horizon`,
        `window` and `period` are in steps. `series` has the names of the series; `mean` and
        `deviation` `(S, C)` are those of each column in the training split; `naive_error` `(S, K)`
        is the mean absolute error there of repeating the last period, by which the mean absolute
        scaled error divides (Hyndman and Koehler 2006,
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
        self.scales = {name: spec[name] for name in SCALES}
        self.period = spec["period"]

    @cached_property
    def fingerprint(self) -> str:
        contents = [[series.name, series.values, series.is_known] for series in self.series]
        starts = [dataset.starts for dataset in self.datasets.values()]
        return digest([self.window, self.horizon], *contents, starts)

    def setup(self, stage: str | None = None) -> None:
        if self.datasets:
            return
        self.series = self._read(self.file)
        self._note_placeholders()
        bounds = [self._bounds_of_splits(series) for series in self.series]
        if not self.scales:
            self.period = self.period or self.series[0].usual_period
            self.scales = self._learn_scales(bounds)
        self.datasets = self._windows(self.series, bounds, self.file)

    def _note_placeholders(self) -> None:
        values = np.concatenate([series.known_values for series in self.series])  # (steps, C)
        for column, numbers in zip(self.columns, values.T, strict=True):
            if note := note_of_placeholders(numbers, column, called(self.file)):
                self._placeholder_notes.append(note)

    def _read(self, path: str, min_steps: int = 1) -> list[TimedSeries]:
        all_series = read_series(
            path,
            self.keys,
            self.time,
            self.series_column,
            fill=self.fills_gaps,
            tables=self.tables,
        )
        for series in all_series:
            if len(series) < min_steps:
                raise UserError(
                    f"{called(path)}: {len(series):,} steps{series.of} are too few: "
                    f"give {min_steps:,}"
                )
        return all_series

    def _bounds_of_splits(self, series: TimedSeries) -> Bounds:
        num_steps = len(series)
        test_start = num_steps - round(self.test_fraction * num_steps)
        validation_start = test_start - round(self.validation_fraction * num_steps)
        num_validation = test_start - validation_start
        num_test = num_steps - test_start
        has_enough_to_train = validation_start >= self.window + self.horizon
        has_enough_to_evaluate = min(num_validation, num_test) >= self.horizon
        if not (has_enough_to_train and has_enough_to_evaluate):
            raise UserError(
                f"{called(self.file)}: {num_steps:,} steps{series.of} are too few: training needs "
                f"a window and a horizon, {self.window:,} + {self.horizon:,} steps, and has "
                f"{validation_start:,}; the other splits need a horizon, and have "
                f"{num_validation:,} and {num_test:,}: lower data.window, data.horizon or the "
                "fractions, or give more rows"
            )
        return {
            "train": (0, validation_start),
            "validation": (validation_start, test_start),
            "test": (test_start, num_steps),
        }

    def _learn_scales(self, bounds: Sequence[Bounds]) -> dict[str, Any]:
        """Returns the names of all series and their scales in the training split, as plain lists
        with an entry for each series."""
        scales: dict[str, list[Any]] = {name: [] for name in SCALES}
        for series, bounds_of_series in zip(self.series, bounds, strict=True):
            train = series.part(*bounds_of_series["train"])
            mean, deviation, naive_error = self._scale_of_training(train)
            scales["series"].append(train.name)
            scales["mean"].append(mean.tolist())
            scales["deviation"].append(deviation.tolist())
            scales["naive_error"].append(naive_error.tolist())
        return scales

    def _scale_of_training(
        self, train: TimedSeries
    ) -> tuple[
        Float[np.ndarray, " columns"],
        Float[np.ndarray, " columns"],
        Float[np.ndarray, " targets"],
    ]:
        """Returns the mean, the deviation and the naive error of a series in training."""
        period = self.period or 1
        num_targets = len(self.targets)
        values = train.known_values  # (T, C)
        # The errors of a forecast that repeats the last period.
        naive_errors = np.abs(values[period:] - values[:-period])[:, :num_targets]
        has_values = (~np.isnan(values)).any(axis=0)  # (C,)
        has_errors = (~np.isnan(naive_errors)).any(axis=0)  # (K,)
        if not (has_values.all() and has_errors.all()):
            raise UserError(
                f"{called(self.file)}: too few values are known in the train split{train.of} of "
                f"{len(train):,} steps: give more rows, or lower data.period, which is {period:,}"
            )
        mean, deviation = mean_and_deviation(values)
        naive_error = np.nanmean(naive_errors, axis=0)
        # Where each period is as the last one, the naive error is 0 but for rounding.
        is_above_rounding = naive_error > rounding_of(values)[:num_targets]
        return mean, deviation, np.where(is_above_rounding, naive_error, deviation[:num_targets])

    @cached_property
    def trained_scales(self) -> dict[str, Float[np.ndarray, "1 3 columns"]]:
        """The scale of each series in training, by its name."""
        # Columns that are not forecast have no naive error.
        errors_of_inputs = [np.nan] * (len(self.columns) - len(self.targets))
        scales = {}
        for name, mean, deviation, naive_error in zip(
            self.scales["series"],
            self.scales["mean"],
            self.scales["deviation"],
            self.scales["naive_error"],
            strict=True,
        ):
            scales[name] = np.array([[mean, deviation, [*naive_error, *errors_of_inputs]]])
        return scales

    def _scales(
        self, all_series: Sequence[TimedSeries], source: str, steps_before: int | None = None
    ) -> list[Float[np.ndarray, "scales 3 columns"]]:
        """Returns the scale of each series in training, `(1, 3, C)`. A series that training never
        saw has one for each step, `(T, 3, C)`.

        Args:
            steps_before: how many steps there are before the first forecast; None: all.
        """
        scales = []
        self.unseen = []
        for series in all_series:
            scale = self.trained_scales.get(series.name)
            if scale is None:
                scale = self._scale_so_far(series, source, steps_before or len(series))
                self.unseen.append(series.name or "a series without a name")
            scales.append(scale)
        return scales

    def _scale_so_far(
        self, series: TimedSeries, source: str, steps_before: int
    ) -> Float[np.ndarray, "time 3 columns"]:
        """Returns the scale of a series after each step. Raises a `UserError` if a column has no
        known value within the first `steps_before` steps, which come before the first forecast."""
        scale = series.scale_so_far(self.period or 1)
        is_unknown = np.isnan(scale[steps_before - 1, 0])  # (C,)
        if is_unknown.any():
            column = self.columns[is_unknown.argmax()]
            raise UserError(
                f"{source}: no {column!r}{series.of} is known before the first forecast, and "
                "training never saw it: leave its first rows out"
            )
        return scale

    def _windows(
        self, all_series: Sequence[TimedSeries], bounds: Sequence[Bounds], source: str
    ) -> dict[str, WindowDataset]:
        """Returns the windows whose horizon lies within the bounds of a split, by the split's
        name."""
        scales_by_series = self._scales(all_series, source, self.window)
        scales = np.concatenate(scales_by_series)
        first_scales = np.cumsum([0, *map(len, scales_by_series)])
        values = [series.values for series in all_series]
        if len(scales) == len(all_series):
            # Training saw each series, so there is one scale for all of its windows. Training reads
            # each value often: it is standardised once.
            values = [*map(standardised, values, scales)]
        all_values = np.concatenate(values)
        first_steps = np.cumsum([0, *map(len, all_series)])
        # Of the columns that are forecast alone.
        known_targets = [series.is_known[:, : len(self.targets)] for series in all_series]
        is_known = np.concatenate(known_targets)
        datasets = {}
        for split in bounds[0]:
            starts, scale_numbers = [], []
            has_known_values = False
            for number, known_targets_of_series in enumerate(known_targets):
                split_start, split_stop = bounds[number][split]
                if known_targets_of_series[split_start:split_stop].any():
                    has_known_values = True
                starts_in_series = self._window_starts(split_start, split_stop)
                starts.append(first_steps[number] + starts_in_series)
                # A series of training has one scale, another one has a scale for each step: its
                # window has that of the last step that is read.
                last_scale = len(scales_by_series[number]) - 1
                last_steps_read = starts_in_series + self.window - 1
                scale_numbers.append(first_scales[number] + np.minimum(last_steps_read, last_scale))
            if not has_known_values:
                raise UserError(
                    f"{source}: no {', '.join(self.targets)} is known in the {split} split; there "
                    "is nothing to compare with"
                )
            datasets[split] = WindowDataset(
                all_values,
                is_known,
                np.concatenate(starts),
                scales,
                np.concatenate(scale_numbers),
                self.window,
                self.horizon,
                all_series,
            )
        return datasets

    def _window_starts(self, split_start: int, split_stop: int) -> Int[np.ndarray, " windows"]:
        """Returns the steps of a series at which windows begin whose horizon lies in a split. They
        may begin before the split, so that its first steps are forecast, too."""
        first_start = max(split_start - self.window, 0)
        last_start = split_stop - self.window - self.horizon
        return np.arange(first_start, last_start + 1, self.stride)

    def file_loader(self, path: str) -> SequenceLoader:
        all_series = self._read(path, self.window + self.horizon)
        bounds: list[Bounds] = [{"file": (0, len(series))} for series in all_series]
        datasets = self._windows(all_series, bounds, path)
        return self.loader(datasets["file"])

    def read_inputs(self, path: str) -> Iterator[TimedSeries]:
        all_series = self._read(path, self.window)
        all_scales = self._scales(all_series, path)
        for series, scales in zip(all_series, all_scales, strict=True):
            last_window = series.part(len(series) - self.window, len(series))
            yield replace(last_window, scale=scales[-1])

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """Encodes inputs as `DataModule.batch_of` does, and also arrays `(T, columns)`."""
        all_series = [
            self._series(values, f"{source}: series {number}")
            for number, values in enumerate(raw, first)
        ]
        return self._batch_of(all_series)

    def reads_whole_rows(self) -> str:
        if "" in self.scales["series"]:
            return ""
        return "each series is scaled by its own values: train with data.series=null"

    def batch_of_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> SequenceBatch:
        """Encodes arrays `(t, columns)`, if training had only one series."""
        all_series = [
            self._series(values, f"row {number}", len(values))
            for number, values in enumerate(raw, 1)
        ]
        return self._batch_of(all_series)

    def read_steps(self, path: str) -> Iterator[np.ndarray]:
        """Reads a step from each line: its values, or the only one, as JSON."""
        for number, line in enumerate(read_lines(path), 1):
            with refusing(f"{path}: line {number} is not the values of a step", ValueError):
                yield np.array(json.loads(line), np.float64).reshape(1, -1)

    def _batch_of(self, all_series: Sequence[TimedSeries]) -> SequenceBatch:
        scales = np.stack([series.scale for series in all_series])  # (B, 3, C)
        values = np.stack([series.values for series in all_series])  # (B, T, C)
        inputs = torch.from_numpy(standardised(values, scales))
        lengths = torch.tensor([inputs.shape[1]] * len(all_series))
        target_scales = torch.from_numpy(scales[..., : len(self.targets)])
        return SequenceBatch(inputs, lengths, scale=target_scales)

    def _series(self, raw: Any, where: str, num_steps: int | None = None) -> TimedSeries:
        """Returns the last steps of an array as a series with its scale.

        Args:
            raw: an array `(T, columns)`, or a series, which is returned as it is.
            where: the place of the array, for errors.
            num_steps: how many steps; None: a window.
        """
        if isinstance(raw, TimedSeries):
            return raw
        num_steps = num_steps or self.window
        all_values = np.asarray(raw, np.float64)
        has_columns = all_values.shape[1:] == (len(self.columns),)
        has_steps = has_columns and len(all_values) >= num_steps
        values = all_values[-num_steps:] if has_steps else all_values
        if not has_steps or not np.isfinite(values).all():
            raise UserError(
                f"{where} has shape {np.shape(raw)}: give an array "
                f"{num_steps, len(self.columns)} with known steps of {', '.join(self.columns)}"
            )
        whole_series = TimedSeries("", all_values, np.isfinite(all_values))
        [scales] = self._scales([whole_series], where)
        return TimedSeries("", values, np.isfinite(values), scale=scales[-1])

    def described(self, raw: Sequence[Any], rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """Adds to each forecast its series, and its times, where the file has them."""
        for series, row in zip(raw, rows, strict=True):
            description = {}
            is_array = not isinstance(series, TimedSeries)  # It has neither a name nor times.
            if self.series_column and not is_array:
                description["series"] = series.name
            if not is_array and series.times is not None:
                description["time"] = series.after(self.horizon)
            yield {**description, **row}

    def compute_baselines(self) -> Baselines:
        return forecast_baselines(self.datasets, self.period or 1)

    @property
    def baseline_recipe(self) -> list[Any]:
        return [self.spec]
