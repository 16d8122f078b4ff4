"""Simple forecasts at the origins of the model's: the last value, the last period, a linear one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from seqmodels.data.baseline_features import baseline_rows
from seqmodels.data.examples import EVALUATED
from seqmodels.target import Baselines

WINDOWS_AT_A_TIME = 1_024
# A regression is fitted to at most so many rows.
MOST_ROWS = 20_000
# How strongly a regression is regularised, by row that it is fitted to.
STRENGTHS = np.logspace(-4, 1, 6)

Forecast = Callable[[Any, np.ndarray], np.ndarray]
"""The forecasts `(B, H, K)` for the windows with these numbers `(B,)`, standardised."""


def forecast_baselines(datasets: Mapping[str, Any], period: int) -> Baselines:
    """The errors of simple forecasts on the validation and the test split.

    - `naive` repeats the last value, `seasonal naive` the last period, also where that begins
      before the window.
    - `linear` is a ridge regression on windows less their last values (NLinear, Zeng et al. 2023,
      https://arxiv.org/abs/2205.13504), one column at a time, with the same weights. The validation
      split chooses how strongly it is regularised.

    Args:
        datasets: a `WindowDataset` for each split.
        period: after how many steps they repeat.
    """
    forecasts: dict[str, Forecast] = {"naive": partial(_repeated, period=1)}
    if period > 1:
        forecasts[f"seasonal naive, period {period}"] = partial(_repeated, period=period)
    forecasts |= _linear(datasets)
    forecasts_by_split = {
        name: dict.fromkeys(EVALUATED, forecast) for name, forecast in forecasts.items()
    }

    def score(split: str, forecast: Forecast) -> dict[str, float]:
        return _errors(datasets[split], forecast)

    return baseline_rows(forecasts_by_split, score)


def _repeated(windows: Any, rows: np.ndarray, period: int) -> np.ndarray:
    steps_ahead = np.arange(len(windows.steps_ahead))
    steps_of_last_period = steps_ahead % period - period + len(windows.steps_read)
    num_values = windows.num_targets
    return windows.steps(rows, steps_of_last_period)[..., :num_values]


def _linear(datasets: Mapping[str, Any]) -> dict[str, Forecast]:
    """Returns the regression by its name; nothing where no value is known to fit it to."""
    from sklearn.linear_model import Ridge  # It is slow to import.

    inputs, targets = _pairs(datasets["train"])
    if not len(inputs):
        return {}  # Every window has a missing value to forecast.
    held_out_inputs, held_out_targets = _pairs(datasets["validation"])
    if not len(held_out_inputs):
        held_out_inputs, held_out_targets = inputs, targets

    def held_out_error(model: Any) -> float:
        return np.square(model.predict(held_out_inputs) - held_out_targets).sum()

    models = [Ridge(strength * len(inputs)).fit(inputs, targets) for strength in STRENGTHS]
    best_model = min(models, key=held_out_error)

    def forecast(windows: Any, rows: np.ndarray) -> np.ndarray:
        window_values, last_values = _less_last_values(windows, rows)
        num_values = last_values.shape[2]
        differences = best_model.predict(window_values).reshape(len(rows), num_values, -1)
        return differences.transpose(0, 2, 1) + last_values  # (B, K, H) -> (B, H, K)

    return {"linear": forecast}


def _pairs(windows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows `(N, W)` and what follows them `(N, H)`, both less the windows' last values;
    of a column each, without those that lack a value to forecast."""
    num_values = windows.num_targets
    every = math.ceil(len(windows) * num_values / MOST_ROWS)
    rows = np.arange(0, len(windows), every)
    window_values, last_values = _less_last_values(windows, rows)
    values_ahead = windows.targets(rows).astype(np.float64) - last_values  # (B, H, K)
    targets = values_ahead.transpose(0, 2, 1).reshape(len(window_values), -1)
    is_known = ~np.isnan(targets).any(axis=1)
    return window_values[is_known], targets[is_known]


def _less_last_values(windows: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows less their last values `(B * K, W)`, and these `(B, 1, K)`."""
    num_values = windows.num_targets
    values = windows.steps(rows, windows.steps_read)[..., :num_values]  # (B, W, K)
    last_values = values[:, -1:]
    differences = (values - last_values).transpose(0, 2, 1)
    return differences.reshape(len(rows) * num_values, -1), last_values


def _errors(windows: Any, forecast: Forecast) -> dict[str, float]:
    """Returns the metrics of a forecaster, over all values that are known."""
    num_blocks = math.ceil(len(windows) / WINDOWS_AT_A_TIME)
    sums = np.zeros(6)
    for rows in np.array_split(np.arange(len(windows)), num_blocks):
        standardised_errors = forecast(windows, rows) - windows.targets(rows).astype(np.float64)
        _, deviation, naive_error = windows.scale(rows)[:, None].transpose(2, 0, 1, 3)
        errors = standardised_errors * deviation
        summands = (
            errors**2,
            np.abs(errors),
            np.abs(errors) / naive_error,
            standardised_errors**2,
            np.abs(standardised_errors),
            ~np.isnan(standardised_errors),
        )
        sums += [np.nansum(summand) for summand in summands]
    mse, mae, mase, standardised_mse, standardised_mae = (sums[:-1] / sums[-1]).tolist()
    return {
        "rmse": mse**0.5,
        "mae": mae,
        "mase": mase,
        "standardised_mse": standardised_mse,
        "standardised_mae": standardised_mae,
    }
