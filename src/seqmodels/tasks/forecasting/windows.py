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

SCALES = ("series", "mean", "deviation", "naive_error")


@dataclass(eq=False)
class WindowDataset(Dataset[SequenceBatch]):
    """Windows of series, taken when a batch is made: the values are in memory once."""

    values: Float[np.ndarray, "steps columns"]  # of all series; float32 if they are standardised
    known: Bool[np.ndarray, "steps targets"]  # where there is something to forecast
    starts: Int[np.ndarray, " windows"]  # where each window begins
    scales: Float[np.ndarray, "scales 3 columns"]  # as `TimedSeries.scale` is
    scaled: Int[np.ndarray, " windows"]  # which of these each window has
    window: int  # the steps that are read
    horizon: int  # those after them to forecast
    series: Sequence[TimedSeries]  # whose values these are

    def __post_init__(self) -> None:
        self.begins = np.cumsum([0, *map(len, self.series)])
        self.read = np.arange(self.window)
        self.ahead = np.arange(self.window, self.window + self.horizon)
        # Where values are missing, a task that learns from the window, too, must know which were.
        self.has_gaps = not self.known.all()
        self.scored = np.arange(1, self.ahead[-1] + 1) if self.has_gaps else self.ahead
        self.lengths = torch.full((len(self.starts),), self.window)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: Sequence[int]) -> SequenceBatch:
        """Inputs `(B, W, C)`, and targets `(B, H * K)`, the K values of a step side by side; where
        values are missing, with those of the window but its first step, `(B, (W - 1 + H) * K)`."""
        rows = np.asarray(indices)
        return SequenceBatch(
            torch.from_numpy(self.steps(rows, self.read)),
            torch.full((len(rows),), len(self.read)),
            torch.from_numpy(self._known_values(rows, self.scored)).flatten(1),
            scale=torch.from_numpy(self.scale(rows)),
            rows=torch.from_numpy(rows),
        )

    def steps(
        self, rows: Int[np.ndarray, " batch"], offsets: Int[np.ndarray, " read"]
    ) -> Float[np.ndarray, "batch read columns"]:
        """Steps of windows, at these offsets from where they begin, standardised."""
        values = self.values[self.starts[rows, None] + offsets]
        if values.dtype == np.float32:
            return values
        return standardised(values, self.scales[self.scaled[rows]])

    def targets(self, rows: Int[np.ndarray, " batch"]) -> Float[np.ndarray, "batch ahead targets"]:
        """What follows windows, standardised; nan where it is missing."""
        return self._known_values(rows, self.ahead)

    def _known_values(
        self, rows: Int[np.ndarray, " batch"], offsets: Int[np.ndarray, " steps"]
    ) -> Float[np.ndarray, "batch steps targets"]:
        known = self.known[self.starts[rows, None] + offsets]
        values = self.steps(rows, offsets)[..., : known.shape[2]]
        return np.where(known, values, np.float32(np.nan))

    def scale(self, rows: Int[np.ndarray, " batch"]) -> Float[np.ndarray, "batch 3 targets"]:
        """That of the values to forecast, of the series of windows."""
        return self.scales[self.scaled[rows], :, : self.known.shape[1]]

    def row_name(self, row: int) -> dict[str, Any]:
        """The series of a window, and the step of its first forecast, from 0, with its time."""
        start = int(self.starts[row])
        number = int(np.searchsorted(self.begins, start, "right")) - 1
        series, step = self.series[number], start + len(self.read) - int(self.begins[number])
        name = {"series": series.name} if series.name else {}
        time = {} if series.times is None else {"time": str(series.times[step])}
        return {**name, "step": step, **time}


def standardised(
    values: Float[np.ndarray, "*batch steps columns"], scale: Float[np.ndarray, "*batch 3 columns"]
) -> Float[np.ndarray, "*batch steps columns"]:
    """Values as a network reads them: the mean before the first one that is known."""
    mean, deviation = scale[..., :1, :], scale[..., 1:2, :]
    return np.nan_to_num((values - mean) / deviation).astype(np.float32)


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
        named = [*self.columns, *filter(None, (time, series))]
        for name in [each for each in named if named.count(each) > 1]:
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
        self._placeholders: list[str] = []  # notes
        self.unseen: list[str] = []  # series that training never saw
        self.datasets: dict[str, WindowDataset] = {}

    def fits(self, per: Per, target: str) -> bool:
        return target == self.target  # a window has all that forecasts by steps need

    @property
    def title(self) -> str:
        return Path(called(self.file)).name

    @property
    def notes(self) -> Sequence[str]:
        missing_count = sum(int((~series.known).sum()) for series in self.series)
        count = sum(series.known.size for series in self.series)
        notes = [*self._placeholders, *self.doubts]
        if missing_count:
            note = (
                f"{missing_count:,} of {count:,} values are missing and repeat the last known one"
            )
            notes.insert(0, note)
        return notes

    @property
    def doubts(self) -> Collection[str]:
        if not self.unseen:
            return []
        names = listed(self.unseen)
        return [f"training never saw {names}: scaled by the steps before each forecast"]

    @property
    def summary(self) -> Sequence[str]:
        sizes = [f"{split} {len(dataset):,}" for split, dataset in self.datasets.items()]
        series = f" of {len(self.series):,} series" if len(self.series) > 1 else ""
        steps = f"{self.window} + {self.horizon} steps; period {self.period}"
        return [f"{self.title}: {', '.join(sizes)} windows{series}, {steps}"]

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
        contents = [[series.name, series.values, series.known] for series in self.series]
        starts = [dataset.starts for dataset in self.datasets.values()]
        return digest([self.window, self.horizon], *contents, starts)

    def setup(self, stage: str | None = None) -> None:
        if self.datasets:
            return
        self.series = self._read(self.file)
        self._note_placeholders()
        bounds = [self._cut(series) for series in self.series]
        if not self.scales:
            self.period = self.period or self.series[0].usual_period
            scales: dict[str, list[Any]] = {name: [] for name in SCALES}
            for series, bounds_of_series in zip(self.series, bounds, strict=True):
                train = series.part(*bounds_of_series["train"])
                scale = (numbers.tolist() for numbers in self._scale_of_training(train))
                for name, value in zip(SCALES, (train.name, *scale), strict=True):
                    scales[name].append(value)
            self.scales = scales
        self.datasets = self._windows(self.series, bounds, self.file)

    def _note_placeholders(self) -> None:
        values = [series.known_values for series in self.series]
        for column, numbers in zip(self.columns, np.concatenate(values).T, strict=True):
            if note := note_of_placeholders(numbers, column, called(self.file)):
                self._placeholders.append(note)

    def _read(self, path: str, least: int = 1) -> list[TimedSeries]:
        all_series = read_series(
            path, self.keys, self.time, self.by, fill=self.fill, tables=self.tables
        )
        for series in all_series:
            if len(series) < least:
                raise UserError(
                    f"{called(path)}: {len(series):,} steps{series.of} are too few: give {least:,}"
                )
        return all_series

    def _cut(self, series: TimedSeries) -> dict[str, tuple[int, int]]:
        """Where the splits of a series begin and end."""
        steps, (validation, test) = len(series), self.fractions
        end = steps - round(test * steps)
        cut = end - round(validation * steps)
        if cut < self.window + self.horizon or min(end - cut, steps - end) < self.horizon:
            raise UserError(
                f"{called(self.file)}: {steps:,} steps{series.of} are too few: training needs a "
                f"window and a horizon, {self.window:,} + {self.horizon:,} steps, and has {cut:,}; "
                f"the other splits need a horizon, and have {end - cut:,} and {steps - end:,}: "
                "lower data.window, data.horizon or the fractions, or give more rows"
            )
        return {"train": (0, cut), "validation": (cut, end), "test": (end, steps)}

    def _scale_of_training(self, train: TimedSeries) -> tuple[np.ndarray, ...]:
        period, count = self.period or 1, len(self.targets)
        values = train.known_values
        steps = np.abs(values[period:] - values[:-period])[:, :count]
        if any(np.isnan(found).all(axis=0).any() for found in (values, steps)):
            of = f"the train split{train.of} of {len(train):,} steps"
            cure = f"give more rows, or lower data.period, which is {period:,}"
            raise UserError(f"{called(self.file)}: too few values are known in {of}: {cure}")
        mean, deviation = mean_and_deviation(values)
        error = np.nanmean(steps, axis=0)
        differs = error > rounding_of(values)[:count]  # else each period is as the last one
        return mean, deviation, np.where(differs, error, deviation[:count])

    @cached_property
    def trained_scales(self) -> dict[str, np.ndarray]:
        """The scale of each series in training, `(1, 3, C)`, by its name."""
        # Nobody forecasts the other columns.
        errors_of_others = [np.nan] * (len(self.columns) - len(self.targets))
        scales = zip(*(self.scales[name] for name in SCALES), strict=True)
        return {
            name: np.array([[mean, deviation, [*error, *errors_of_others]]])
            for name, mean, deviation, error in scales
        }

    def _scales(
        self, series: Sequence[TimedSeries], source: str, least: int | None = None
    ) -> list[np.ndarray]:
        """Of each series the scale in training, `(1, 3, C)`; if training never saw it, one for each
        step, `(T, 3, C)`.

        Args:
            least: how many steps there are before the first forecast; None: all.
        """
        scales, self.unseen = list[np.ndarray](), []
        for one_series in series:
            scale = self.trained_scales.get(one_series.name)
            if scale is None:
                scale = one_series.scale_so_far(self.period or 1)
                is_unknown = np.isnan(scale[(least or len(one_series)) - 1, 0])
                if is_unknown.any():
                    column = self.columns[is_unknown.argmax()]
                    raise UserError(
                        f"{source}: no {column!r}{one_series.of} is known before the first "
                        "forecast, and training never saw it: leave its first rows out"
                    )
                self.unseen.append(one_series.name or "a series without a name")
            scales.append(scale)
        return scales

    def _windows(
        self,
        series: Sequence[TimedSeries],
        bounds: Sequence[Mapping[str, tuple[int, int]]],
        source: str,
    ) -> dict[str, WindowDataset]:
        """The windows whose horizon lies within these bounds of their series, by the split's name.
        They may begin before, so that the first steps of a split are forecast, too."""
        scales_of_series = self._scales(series, source, self.window)
        scales = np.concatenate(scales_of_series)
        first_scales = np.cumsum([0, *map(len, scales_of_series)])
        values = [one_series.values for one_series in series]
        if len(scales) == len(series):  # all of training, which takes each value often
            values = [*map(standardised, values, scales)]
        all_values = np.concatenate(values)
        known = np.concatenate([one_series.known[:, : len(self.targets)] for one_series in series])
        first_steps = np.cumsum([0, *map(len, series)])[:-1].tolist()
        datasets = {}
        for split in bounds[0]:
            starts, scale_numbers, is_any_known = [], [], False
            for n, first_step in enumerate(first_steps):
                first, end = bounds[n][split]
                is_any_known |= bool(known[first_step + first : first_step + end].any())
                last_start = end - self.window - self.horizon
                starts_in_series = np.arange(
                    max(first - self.window, 0), last_start + 1, self.stride
                )
                starts.append(first_step + starts_in_series)
                # A series of training has one scale, another one a scale for each step.
                steps_before = np.minimum(starts_in_series + self.window, len(scales_of_series[n]))
                scale_numbers.append(first_scales[n] + steps_before - 1)
            if not is_any_known:
                raise UserError(
                    f"{source}: no {', '.join(self.targets)} is known in the {split} split; there "
                    "is nothing to compare with"
                )
            datasets[split] = WindowDataset(
                all_values,
                known,
                np.concatenate(starts),
                scales,
                np.concatenate(scale_numbers),
                self.window,
                self.horizon,
                series,
            )
        return datasets

    def file_loader(self, path: str) -> SequenceLoader:
        series = self._read(path, self.window + self.horizon)
        bounds = [{"file": (0, len(one_series))} for one_series in series]
        return self.loader(self._windows(series, bounds, path)["file"])

    def read_inputs(self, path: str) -> Iterator[TimedSeries]:
        series = self._read(path, self.window)
        for one_series, scale in zip(series, self._scales(series, path), strict=True):
            steps = len(one_series)
            yield replace(one_series.part(steps - self.window, steps), scale=scale[-1])

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """As `DataModule` says; also of arrays `(T, columns)`."""
        series = [self._series(each, f"{source}: series {n}") for n, each in enumerate(raw, first)]
        return self._batch_of(series)

    def reads_whole_rows(self) -> str:
        if "" in self.scales["series"]:
            return ""
        return "each series is scaled by its own values: train with data.series=null"

    def batch_of_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> SequenceBatch:
        """Of arrays `(t, columns)`, if training had only one series."""
        steps = (self._series(each, f"row {n}", len(each)) for n, each in enumerate(raw, 1))
        return self._batch_of([*steps])

    def read_steps(self, path: str) -> Iterator[np.ndarray]:
        """One step of each line: its values, or the only one, as JSON."""
        for number, line in enumerate(read_lines(path), 1):
            with refusing(f"{path}: line {number} is not the values of a step", ValueError):
                yield np.array(json.loads(line), np.float64).reshape(1, -1)

    def _batch_of(self, series: Sequence[TimedSeries]) -> SequenceBatch:
        scale = np.stack([each.scale for each in series])
        values = standardised(np.stack([each.values for each in series]), scale)
        lengths = torch.tensor([values.shape[1]] * len(series))
        of_targets = torch.from_numpy(scale[..., : len(self.targets)])
        return SequenceBatch(torch.from_numpy(values), lengths, scale=of_targets)

    def _series(self, raw: Any, where: str, steps: int | None = None) -> TimedSeries:
        if isinstance(raw, TimedSeries):
            return raw
        steps, whole = steps or self.window, np.asarray(raw, np.float64)
        values = whole[-steps:]
        if values.shape != (steps, len(self.columns)) or not np.isfinite(values).all():
            wanted = f"{steps:,} known steps of {', '.join(self.columns)}"
            raise UserError(f"{where} has shape {np.shape(raw)}: give {wanted}")
        [scale] = self._scales([TimedSeries("", whole, np.isfinite(whole))], where)
        return TimedSeries("", values, np.isfinite(values), scale=scale[-1])

    def described(self, raw: Sequence[Any], rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """Beside each forecast its series, and the times of it, where the file has them."""
        for each, row in zip(raw, rows, strict=True):
            name = {"series": each.name} if self.by else {}
            timed = getattr(each, "times", None) is not None  # of an array there are none
            yield {**name, **({"time": each.after(self.horizon)} if timed else {}), **row}

    def compute_baselines(self) -> Baselines:
        return forecast_baselines(self.datasets, self.period or 1)

    @property
    def baseline_recipe(self) -> list[Any]:
        return [self.spec]
