"""Two networks that forecast: all values at once, or one step after the other."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.device import on_device
from seqmodels.network import Network
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ERRORS, ErrorName, Quantiles, Score, ValueOutput
from seqmodels.padding import last_step

Values = Float[Tensor, "batch horizon values"]
Forecast = Values | Float[Tensor, "batch horizon values quantiles"]


class ForecastNetwork(Network):
    """What both share: the next `horizon` values of `count` columns, standardised.

    Args:
        parts, options: as `Network` documents them.
        horizon: how many steps ahead, H.
        count: the columns to forecast, K: the first ones of the inputs.
    """

    def __init__(self, *parts: Any, horizon: int, count: int, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.horizon = horizon
        self.count = count

    @staticmethod
    def num_features(num_inputs: int, count: int, segment: int) -> int:
        """Returns how many numbers the embedding reads at a step, of windows with `num_inputs`."""
        raise NotImplementedError

    @staticmethod
    def num_values(horizon: int, count: int) -> int:
        """Returns how many numbers the head's output predicts at once."""
        raise NotImplementedError

    def forecast(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Forecast:
        """Returns the next values of each row, or their quantiles, calibrated.

        Args:
            states: what `encode` returned for the batch, if it is read.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forecast")

    def targets_ahead(self, batch: SequenceBatch) -> Values:
        """Returns the values after the window, nan where there is none."""
        assert batch.targets is not None
        return batch.targets.unflatten(1, (-1, self.count))[:, -self.horizon :]


class DirectForecast(ForecastNetwork):
    """Forecasts all steps at once from a vector that the head reads of a window.

    It reads one column at a time, with the same weights, and further inputs beside it. A window is
    read in segments of several steps side by side (SegRNN, Lin et al. 2023,
    https://arxiv.org/abs/2308.11200).

    Args:
        segment: how many steps of the window are read at once.
        subtracts_last: whether the last value of a window is subtracted before it is read, and
            added to the forecast (NLinear, Zeng et al. 2023, https://arxiv.org/abs/2205.13504).
    """

    def __init__(self, *parts: Any, segment: int, subtracts_last: bool, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.segment = segment
        self.subtracts_last = subtracts_last
        self.predicts_quantiles = isinstance(self.head.output, Quantiles)

    @staticmethod
    def num_features(num_inputs: int, count: int, segment: int) -> int:
        return (1 + num_inputs - count) * segment

    @staticmethod
    def num_values(horizon: int, count: int) -> int:
        return horizon

    def rows_to_read(self, batch: SequenceBatch) -> SequenceBatch:
        """Returns `B * K` rows in segments: of each row of the batch one for each column, side by
        side."""
        level = self._level(batch)
        values = batch.inputs[..., : self.count] - level
        values = values.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (B * K, T, 1)
        inputs_beside = batch.inputs[..., self.count :].repeat_interleave(self.count, dim=0)
        lengths = batch.lengths.repeat_interleave(self.count, dim=0)
        targets = None
        if batch.targets is not None:
            targets_above_level = self.targets_ahead(batch) - level  # (B, H, K)
            targets = targets_above_level.transpose(1, 2).flatten(0, 1)  # (B * K, H)
        rows = torch.cat([values, inputs_beside], dim=2)
        rows, lengths = segments(rows, lengths, self.segment)
        return SequenceBatch(rows, lengths, targets)

    def score(self, batch: SequenceBatch) -> Score:
        """Returns the score of a batch, whose decision is the forecast, as `forecast` returns
        it."""
        score = super().score(batch)
        forecast = self._of_windows(score.decision, batch)
        return replace(score, decision=self._output.moved(forecast))

    def read_out(self, states: RNNOutput, batch: SequenceBatch) -> Tensor:
        """Returns the standardised forecasts `(B, H * K)`, or their quantiles `(B, H * K * Q)`."""
        predicted = self.head(states)  # (B * K, H), or (B * K, H * Q)
        if self.predicts_quantiles:
            predicted = predicted.unflatten(1, (self.horizon, -1))
        forecast = self._of_windows(predicted, batch)
        return self._output.moved(forecast).flatten(1)

    def forecast(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Forecast:
        return self._output.moved(self.uncalibrated(batch, states))

    def uncalibrated(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Forecast:
        """Returns what `forecast` returns, with quantiles as they were learned."""
        logits = self.head(states or self.encode(batch))
        standardised = self._output.standardised(logits)  # (B * K, H), or (B * K, H, Q)
        return self._of_windows(self._output.in_own_units(standardised), batch)

    def reads_whole_rows(self) -> str:
        return "a direct forecast reads its window at once: train with model.head=every_step"

    @property
    def _output(self) -> ValueOutput:
        return cast(ValueOutput, self.head.output)

    def _of_windows(self, predicted: Tensor, batch: SequenceBatch) -> Tensor:
        # What was predicted for the rows that the embedding read, standardised as the data is:
        # (B * K, H) -> (B, H, K); with quantiles, (B * K, H, Q) -> (B, H, K, Q).
        of_columns = predicted.unflatten(0, (-1, self.count)).transpose(1, 2)
        level = self._level(batch)
        if self.predicts_quantiles:
            level = level.unsqueeze(3)
        return of_columns + level

    def _level(self, batch: SequenceBatch) -> Float[Tensor, "batch 1 values"]:
        # What is subtracted from a window.
        values = batch.inputs[..., : self.count]
        if not self.subtracts_last:
            return torch.zeros_like(values[:, :1])
        return last_step(values, batch.lengths).unsqueeze(1)


class RecursiveForecast(ForecastNetwork):
    """Forecasts the next value at every step of `output`, as the difference to the last one, and
    goes on from its own forecasts and the carried state.

    In training it learns one step ahead, from the window and the values after it; in evaluation it
    is scored by what it forecasts.

    Args:
        error: what a forecast costs in evaluation.
    """

    def __init__(self, *parts: Any, error: ErrorName, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.error = error

    @staticmethod
    def num_features(num_inputs: int, count: int, segment: int) -> int:
        return num_inputs

    @staticmethod
    def num_values(horizon: int, count: int) -> int:
        return count

    def score(self, batch: SequenceBatch) -> Score:
        """Returns the score of a batch, whose decision is the forecast, as `forecast` returns it;
        in training, the next values one step ahead."""
        targets = self.targets_ahead(batch)
        if self.training:
            return self._score_one_step_ahead(batch, targets)
        forecast = self.forecast(batch)
        is_known = ~targets.isnan()
        known_targets = targets.where(is_known, forecast)
        costs = ERRORS[self.error](forecast, known_targets, reduction="none")
        return Score(costs, is_known, forecast)

    def forecast(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Values:
        def next_values(differences: Tensor, inputs: Tensor) -> Tensor:
            return (differences[:, -1:] + inputs[:, -1:]).to(inputs)

        steps_ahead = self.roll_forward(batch, next_values, states)
        return torch.cat([*islice(steps_ahead, self.horizon)], dim=1)

    def _score_one_step_ahead(self, batch: SequenceBatch, targets: Values) -> Score:
        assert batch.targets is not None
        inputs, next_values = shift(batch.inputs, targets)
        if batch.targets.shape[1] > self.horizon * self.count:
            # A value of the window that was missing is read as the last known one, and not learned.
            next_values = batch.targets.unflatten(1, (-1, self.count))
        lengths = batch.lengths + self.horizon - 1
        differences = next_values - inputs
        score = super().score(SequenceBatch(inputs.to(batch.inputs), lengths, differences))
        return replace(score, decision=(score.decision + inputs)[:, -self.horizon :])


def segments(
    rows: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch segments read"], Int[Tensor, " batch"]]:
    """Returns each row in segments of `size` steps side by side, the last of which ends at the
    row's own last step, and how many there are of each row. The first segment repeats the row's
    first step where steps lack."""
    counts = (lengths + size - 1) // size  # ONNX would round a negative quotient up
    steps = torch.arange((rows.shape[1] + size - 1) // size * size, device=rows.device)
    steps = steps + on_device(lengths - counts * size, rows.device).unsqueeze(1)
    index = steps.clamp(0, rows.shape[1] - 1).unsqueeze(2).expand(-1, -1, rows.shape[2])
    return rows.gather(1, index).unflatten(1, (-1, size)).flatten(2), counts


def shift(
    inputs: Float[Tensor, "batch time values"], ahead: Values
) -> tuple[Float[Tensor, "batch steps values"], Float[Tensor, "batch steps values"]]:
    """Returns what to read and what comes next, at every step but the last, `(B, T + H - 1, K)`
    each.

    Args:
        ahead: what follows the inputs, nan where it is missing: there, the last known value is
            read.
    """
    steps = torch.cat([inputs, ahead], dim=1)
    numbers = torch.arange(steps.shape[1], device=steps.device).view(1, -1, 1)
    last_known = numbers.where(~steps.isnan(), 0).cummax(dim=1).values
    return steps.gather(1, last_known)[:, :-1], steps[:, 1:]
