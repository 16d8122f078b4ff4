"""Simple forecasts at the origins of the model's: the last value, the last period, a linear one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from seqmodels.data.module import EVALUATED
from seqmodels.target import Baselines
from seqmodels.tasks.forecasting.linear_path import LinearPath
from seqmodels.tasks.forecasting.window_dataset import WindowDataset, WindowScales
from seqmodels.tasks.forecasting.window_rows import window_scale

log = logging.getLogger(__name__)

BLOCK = 1_024  # windows at a time

Forecast = Callable[[WindowDataset, np.ndarray], np.ndarray]
"""The forecasts `(B, H, K)` for the windows with these numbers `(B,)`, standardised."""


class Errors(NamedTuple):
    """Sums over all values that are known."""

    squares: float
    absolute: float
    scaled: float  # divided by what repeating the last period would be off in training
    of_standard: float  # in deviations of training, squared
    absolute_standard: float
    known: int


def forecast_baselines(
    datasets: dict[str, WindowDataset], scales: WindowScales, data: Mapping[str, Any]
) -> Baselines:
    """The errors of simple forecasts on the validation and the test split.

    - `naive` repeats the last value, `seasonal naive` the last period, also where that begins
      before the window.
    - `linear` is the regression that a forecaster begins with (`LinearPath`), of windows less their
      last values (NLinear, Zeng et al. 2023, https://arxiv.org/abs/2205.13504).

    Args:
        data: what `Windows.spec` says of them.
    """
    period = data["period"]
    forecasts: dict[str, Forecast] = {"naive": lambda data, rows: _seasonal(data, rows, 1)}
    if period > 1:
        name = f"seasonal naive, period {period}"
        forecasts[name] = lambda data, rows: _seasonal(data, rows, period)
    forecasts |= _linear(datasets, data)
    found: Baselines = {}
    for split in EVALUATED:
        for name, forecast in forecasts.items():
            errors = _errors(datasets[split], scales, forecast)
            for metric, value in (
                ("rmse", np.sqrt(errors.squares / errors.known)),
                ("mae", errors.absolute / errors.known),
                ("mase", errors.scaled / errors.known),
                ("standardised_mse", errors.of_standard / errors.known),
                ("standardised_mae", errors.absolute_standard / errors.known),
            ):
                found.setdefault(f"{split}/{metric}", {})[name] = float(value)
    return found


def _seasonal(data: WindowDataset, rows: np.ndarray, period: int) -> np.ndarray:
    back = np.arange(len(data.ahead)) % period - period + len(data.read)
    return data.values[data.starts[rows, None] + back, : data.targets.shape[1]]


def _linear(datasets: dict[str, WindowDataset], data: Mapping[str, Any]) -> dict[str, Forecast]:
    """By its name; none where nothing is known to fit it to."""
    path, train = LinearPath(data), datasets["train"]

    def forecast(windows: WindowDataset, rows: np.ndarray) -> np.ndarray:
        batch = windows.__getitems__(rows.tolist())
        center, spread = window_scale(batch.inputs[..., : path.count], batch.lengths, "last")
        return (path.forecast(batch, center, spread) + center).numpy()

    if path.fit(train, datasets["validation"]) is None:
        log.info("no linear baseline: every window of training has a missing value to forecast")
        return {}
    read, all_of_them = len(path.rows_of(train)), len(train)
    on = f" on {read:,} of {all_of_them:,} windows" if read < all_of_them else ""
    return {f"linear{on}": forecast}


def _targets(data: WindowDataset, rows: np.ndarray) -> np.ndarray:
    return data.targets[data.starts[rows, None] + data.ahead].astype(np.float64)


def _errors(data: WindowDataset, scales: WindowScales, forecast: Forecast) -> Errors:
    sums = np.zeros(6)
    for rows in _blocks(np.arange(len(data))):
        series = data.series[rows]
        off = forecast(data, rows) - _targets(data, rows)
        standardised = off
        off = off * scales.deviation[series, None, : off.shape[-1]]
        scaled = np.abs(off) / scales.naive_error[series, None]
        sums += [
            np.nansum(off**2),
            np.nansum(np.abs(off)),
            np.nansum(scaled),
            np.nansum(standardised**2),
            np.nansum(np.abs(standardised)),
            (~np.isnan(off)).sum(),
        ]
    *of_errors, known = sums.tolist()
    return Errors._make([*of_errors, int(known)])


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[first : first + BLOCK] for first in range(0, len(rows), BLOCK))
