"""Simple forecasts at the origins of the model's: the last value, the last period, a linear one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
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
Pairs = Iterable[tuple[np.ndarray, np.ndarray]]


class Errors(NamedTuple):
    """Sums over all values that are known."""

    squares: float
    absolute: float
    scaled: float  # divided by what repeating the last period would be off in training
    of_standard: float  # in deviations of training, squared
    absolute_standard: float
    known: int


def forecast_baselines(
    datasets: dict[str, WindowDataset], scales: WindowScales, period: int
) -> Baselines:
    """The errors of simple forecasts on the validation and the test split; of those that repeat
    values on the training split too, so that a model's errors can be compared over splits.

    - `naive` repeats the last value, `seasonal naive` the last period, also where that begins
      before the window.
    - `linear` is a ridge regression from the values of the window, less the last one, to those that
      come next, less the last one (NLinear, Zeng et al. 2023, https://arxiv.org/abs/2205.13504): of
      all targets together, or of each alone with the same weights. The validation split chooses
      which, and how strongly to regularise it.
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
    alone = [False] if train.targets.shape[1] == 1 else [False, True]
    choices = [*filter(None, (_linear(train, validation, each) for each in alone))]
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
                ("standardised_mse", errors.of_standard / errors.known),
                ("standardised_mae", errors.absolute_standard / errors.known),
            ):
                found.setdefault(f"{split}/{metric}", {})[name] = float(value)
    return found


def _seasonal(data: WindowDataset, rows: np.ndarray, period: int) -> np.ndarray:
    back = np.arange(len(data.ahead)) % period - period + len(data.read)
    return data.values[data.starts[rows, None] + back, : data.targets.shape[1]]


def _linear(train: WindowDataset, validation: WindowDataset, alone: bool) -> Forecast | None:
    def changes(data: WindowDataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = np.arange(len(data))
        if len(rows) > WINDOWS:
            rows = np.sort(np.random.default_rng(0).permutation(rows)[:WINDOWS])
        for block in _blocks(rows):
            features, last = _features(data, block, alone)
            ahead = _targets(data, block) - last
            yield features, _by_row(ahead, alone)

    def forecast(data: WindowDataset, rows: np.ndarray) -> np.ndarray:
        features, last = _features(data, rows, alone)
        made = np.append(features, np.ones((len(features), 1)), axis=1) @ weights
        if alone:
            return made.reshape(len(rows), -1, len(data.ahead)).swapaxes(1, 2) + last
        return made.reshape(len(rows), len(data.ahead), -1) + last

    fitted = ridge(changes(train), changes(validation))
    if fitted is None:
        log.info("no linear baseline: every window of training has a missing value to forecast")
        return None
    weights, _ = fitted
    return forecast


def ridge(
    train: Pairs, validation: Pairs, first: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """A ridge regression that is as regular as predicts the validation best: its weights
    `(F + 1, H)`, the intercepts last, and its mean squared errors there `(H,)`.

    Args:
        train, validation: features `(N, F)` and targets `(N, H)`; rows without all targets are left
            out. None without any in training.
        first: which features predict by themselves first; all of them then predict what these
            leave, unless validation is worse with it. None: all at once.
    """
    (square, product, _, count), (of_square, of_product, size, _) = map(_sums, (train, validation))
    if not count:
        return None

    def error(weights: np.ndarray) -> np.ndarray:
        return size + (weights * (of_square @ weights - 2 * of_product)).sum(0)

    def choices(read: list[int]) -> Iterator[np.ndarray]:
        of_read, left = square[np.ix_(read, read)], (product - square @ weights)[read]
        for alpha in ALPHAS:
            # scikit-learn's ridge regression would hold all windows, and square them for each alpha
            more = weights.copy()
            more[read] += np.linalg.solve(of_read + alpha * np.eye(len(read)), left)
            yield more
        if read is not steps[0]:
            yield weights

    *features, intercept = range(len(square))
    steps = [[*first, intercept]] if first is not None and len(first) < len(features) else []
    steps.append([*features, intercept])
    weights = np.zeros_like(product)
    for read in steps:
        weights = min(choices(read), key=lambda choice: float(error(choice).sum()))
    return weights, error(weights)


def _sums(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    sums, count = [np.zeros(())] * 3, 0
    for features, targets in pairs:
        there = ~np.isnan(targets).any(axis=1)
        x = np.pad(features[there].astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
        y = targets[there].astype(np.float64)
        found = (x.T @ x, x.T @ y, np.square(y).sum(axis=0))
        sums = [before + more for before, more in zip(sums, found, strict=True)]
        count += len(x)
    square, product, size = (each / max(count, 1) for each in sums)
    return square, product, size, count


def _features(data: WindowDataset, rows: np.ndarray, alone: bool) -> tuple[np.ndarray, np.ndarray]:
    """Windows `(B, F)`, or `(B * K, F)`, and the last targets `(B, 1, K)`."""
    count, columns = data.targets.shape[1], data.values.shape[1]
    if len(data.read) * columns > FEATURES:
        columns = count  # without further inputs
    width = columns - count + 1 if alone else columns
    steps = data.read[-max(FEATURES // width, 1) :]
    window = data.values[data.starts[rows, None] + steps][..., :columns].astype(np.float64)
    last = window[:, -1:, :count].copy()
    window[..., :count] -= last
    if alone:
        window = np.stack([window[..., [k, *range(count, columns)]] for k in range(count)], axis=1)
        return window.reshape(len(rows) * count, -1), last
    return window.reshape(len(rows), -1), last


def _by_row(ahead: np.ndarray, alone: bool) -> np.ndarray:  # (B, H, K)
    if alone:
        return ahead.swapaxes(1, 2).reshape(-1, ahead.shape[1])
    return ahead.reshape(len(ahead), -1)


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
