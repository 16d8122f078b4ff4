"""Simple forecasts at the origins of the model's: the last value, the last period, a linear one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seqmodels.data.module import SPLITS
from seqmodels.target import Baselines

if TYPE_CHECKING:
    from seqmodels.tasks.forecasting.window_dataset import WindowDataset, WindowScales

log = logging.getLogger(__name__)

BLOCK = 1_024  # windows at a time
WINDOWS = 20_000  # at most, to train on
FEATURES = 2_000  # at most, of a window
ALPHAS = np.logspace(-4, 1, 6)

Forecast = Callable[["WindowDataset", np.ndarray], np.ndarray]
"""The forecasts `(B, H, K)` for the windows with these numbers `(B,)`, standardised."""


class Errors(NamedTuple):
    """Sums over all values that are known."""

    squares: float
    absolute: float
    scaled: float  # divided by what repeating the last period would be off in training
    known: int


def forecast_baselines(
    datasets: dict[str, WindowDataset], scales: WindowScales, period: int
) -> Baselines:
    """`rmse`, `mae` and `mase` of simple forecasts on the validation and the test split; those that
    repeat values on the training split too, so that a model's errors can be compared over splits.

    - `naive` repeats the last value, `seasonal naive` the last period, also where that begins
      before the window.
    - `linear` is a ridge regression from the values of the window, less the last one, to those that
      come next, less the last one (NLinear, Zeng et al. 2023, https://arxiv.org/abs/2205.13504).
      How strongly to regularise it is chosen on the validation split.
    """
    forecasts: dict[str, Forecast] = {"naive": lambda data, rows: _seasonal(data, rows, 1)}
    if period > 1:
        name = f"seasonal naive, period {period}"
        forecasts[name] = lambda data, rows: _seasonal(data, rows, period)
    # on the training split, the first windows have no period before them
    on_train = [
        name for name in forecasts if name == "naive" or period <= len(datasets["train"].read)
    ]
    train, validation = datasets["train"], datasets["validation"]
    choices = [*_linear(train)]
    if choices:
        losses = [_errors(validation, scales, choice).squares for choice in choices]
        on = f" on {WINDOWS:,} of {len(train):,} windows" if len(train) > WINDOWS else ""
        forecasts[f"linear{on}"] = choices[int(np.argmin(losses))]
    found: Baselines = {}
    for split in SPLITS:
        for name in on_train if split == "train" else forecasts:
            forecast = forecasts[name]
            errors = _errors(datasets[split], scales, forecast)
            for metric, value in (
                ("rmse", np.sqrt(errors.squares / errors.known)),
                ("mae", errors.absolute / errors.known),
                ("mase", errors.scaled / errors.known),
            ):
                found.setdefault(f"{split}/{metric}", {})[name] = float(value)
    return found


def _seasonal(data: WindowDataset, rows: np.ndarray, period: int) -> np.ndarray:
    back = np.arange(len(data.ahead)) % period - period + len(data.read)
    return data.values[data.starts[rows, None] + back, : data.targets.shape[1]]


def _linear(train: WindowDataset) -> Iterator[Forecast]:
    rows = np.arange(len(train))
    if len(rows) > WINDOWS:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:WINDOWS])
    gram: np.ndarray | float = 0.0
    cross: np.ndarray | float = 0.0
    total = 0
    for block in _blocks(rows):
        features, last = _features(train, block)
        changes = (_targets(train, block) - last).reshape(len(block), -1)
        there = ~np.isnan(changes).any(axis=1)
        features, changes = features[there], changes[there]
        gram, cross = gram + features.T @ features, cross + features.T @ changes
        total += len(features)
    if not total:
        log.info("no linear baseline: every window of training has a missing value to forecast")
        return
    square, product = np.asarray(gram) / total, np.asarray(cross) / total

    def with_weights(weights: np.ndarray) -> Forecast:
        def forecast(data: WindowDataset, rows: np.ndarray) -> np.ndarray:
            features, last = _features(data, rows)
            return (features @ weights).reshape(len(rows), len(data.ahead), -1) + last

        return forecast

    for alpha in ALPHAS:
        # scikit-learn's ridge regression would hold all windows, and square them for each alpha
        yield with_weights(np.linalg.solve(square + alpha * np.eye(len(square)), product))


def _features(data: WindowDataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows `(B, F)` with a 1 at the end, and the last targets `(B, 1, K)`."""
    count, columns = data.targets.shape[1], data.values.shape[1]
    if len(data.read) * columns > FEATURES:
        columns = count  # without further inputs
    steps = data.read[-max(FEATURES // columns, 1) :]
    window = data.values[data.starts[rows, None] + steps][..., :columns].astype(np.float64)
    last = window[:, -1:, :count].copy()
    window[..., :count] -= last
    return np.pad(window.reshape(len(rows), -1), ((0, 0), (0, 1)), constant_values=1), last


def _targets(data: WindowDataset, rows: np.ndarray) -> np.ndarray:
    return data.targets[data.starts[rows, None] + data.ahead].astype(np.float64)


def _errors(data: WindowDataset, scales: WindowScales, forecast: Forecast) -> Errors:
    sums = np.zeros(4)
    for rows in _blocks(np.arange(len(data))):
        series = data.series[rows]
        off = forecast(data, rows) - _targets(data, rows)
        off *= scales.deviation[series, None, : off.shape[-1]]
        scaled = np.abs(off) / scales.naive_error[series, None]
        sums += [
            np.nansum(off**2),
            np.nansum(np.abs(off)),
            np.nansum(scaled),
            (~np.isnan(off)).sum(),
        ]
    squares, absolute, scaled, known = sums.tolist()
    return Errors(squares, absolute, scaled, int(known))


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[first : first + BLOCK] for first in range(0, len(rows), BLOCK))
