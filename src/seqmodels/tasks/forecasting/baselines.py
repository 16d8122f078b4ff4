"""Simple forecasts at the origins of the model's: the last value, the last period, a linear one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from seqmodels.data.baseline_features import baseline_rows
from seqmodels.data.examples import EVALUATED
from seqmodels.target import Baselines

BLOCK = 1_024  # windows at a time
ROWS = 20_000  # at most, to fit a regression to
STRENGTHS = np.logspace(-4, 1, 6)  # of its regularisation, times its rows

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
    forecasts: dict[str, Forecast] = {"naive": lambda windows, rows: _repeated(windows, rows, 1)}
    if period > 1:
        name = f"seasonal naive, period {period}"
        forecasts[name] = lambda windows, rows: _repeated(windows, rows, period)
    forecasts |= _linear(datasets)
    models = {name: dict.fromkeys(EVALUATED, forecast) for name, forecast in forecasts.items()}
    return baseline_rows(models, lambda split, made: _errors(datasets[split], made))


def _repeated(windows: Any, rows: np.ndarray, period: int) -> np.ndarray:
    back = np.arange(len(windows.ahead)) % period - period + len(windows.read)
    return windows.steps(rows, back)[..., : windows.known.shape[1]]


def _linear(datasets: Mapping[str, Any]) -> dict[str, Forecast]:
    """By its name; none where nothing is known to fit it to."""
    from sklearn.linear_model import Ridge  # slow to import

    def pairs(windows: Any) -> tuple[np.ndarray, np.ndarray]:
        count = windows.known.shape[1]
        rows = np.arange(0, len(windows), -(-len(windows) * count // ROWS))
        read, last = _read(windows, rows)
        ahead = (
            (windows.targets(rows).astype(np.float64) - last)
            .transpose(0, 2, 1)
            .reshape(len(read), -1)
        )
        there = ~np.isnan(ahead).any(axis=1)
        return read[there], ahead[there]

    train, validation = pairs(datasets["train"]), pairs(datasets["validation"])
    if not len(train[0]):
        return {}  # every window has a missing value to forecast
    models = [Ridge(strength * len(train[0])).fit(*train) for strength in STRENGTHS]
    inputs, wanted = validation if len(validation[0]) else train
    best = min(models, key=lambda model: np.square(model.predict(inputs) - wanted).sum())

    def forecast(windows: Any, rows: np.ndarray) -> np.ndarray:
        read, last = _read(windows, rows)
        made = best.predict(read).reshape(len(rows), last.shape[2], -1)
        return made.transpose(0, 2, 1) + last

    return {"linear": forecast}


def _read(windows: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows less their last values `(B * K, W)`, and these `(B, 1, K)`."""
    count = windows.known.shape[1]
    values = windows.steps(rows, windows.read)[..., :count]
    last = values[:, -1:]
    return (values - last).transpose(0, 2, 1).reshape(len(rows) * count, -1), last


def _errors(windows: Any, forecast: Forecast) -> dict[str, float]:
    """The metrics of a forecaster, over all values that are known."""
    blocks = np.array_split(np.arange(len(windows)), -(-len(windows) // BLOCK))
    sums = np.zeros(6)
    for rows in blocks:
        off = forecast(windows, rows) - windows.targets(rows).astype(np.float64)
        _, deviation, naive = windows.scale(rows)[:, None].transpose(2, 0, 1, 3)
        own, known = off * deviation, ~np.isnan(off)
        parts = (own**2, np.abs(own), np.abs(own) / naive, off**2, np.abs(off), known)
        sums += [np.nansum(part) for part in parts]
    squares, *means = (sums[:-1] / sums[-1]).tolist()
    names = ("mae", "mase", "standardised_mse", "standardised_mae")
    return {"rmse": squares**0.5, **dict(zip(names, means, strict=True))}
