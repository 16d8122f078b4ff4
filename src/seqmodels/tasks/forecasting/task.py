"""The next values of a series: all at once, or one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.batch import SequenceBatch
from seqmodels.device import exact
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Described
from seqmodels.engine.value_task import ValueTask, decision, known_values, value_scores, value_sums
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import Constants, ErrorName, ValueOptions, ValueOutput
from seqmodels.screen import figure_text
from seqmodels.tasks.forecasting.networks import (
    DirectForecast,
    Forecast,
    ForecastNetwork,
    RecursiveForecast,
    Values,
)

# Of one column, a picture shows this many origins; of several, each once, up to this many.
ORIGINS_DRAWN = 6
COLUMNS_DRAWN = 12
HISTORY = 3  # times the horizon, which is drawn of what was read
SCALED_SCORES = ("mase", "standardised_mse", "standardised_mae")


@dataclass(frozen=True)
class ForecastOptions(ValueOptions):
    """How a forecaster learns, its `model.output`. It is compared by absolute errors, as its
    `mase`, and learns by them unless you name another error."""

    usual_error: ClassVar[ErrorName] = "mae"


class Forecaster(Constants, ValueTask):
    """The next `data["horizon"]` values of the columns in `data["values"]`.

    The head decides how. One that reads a vector for each sequence forecasts all of them at once:
    *direct*, one column at a time, with the same weights, and with `data.inputs` beside it.
    `every_step` predicts the next value at every step of `output`, as the difference to the last
    one: *recursive*. It learns from the window and the values after it, one step ahead, and
    forecasts by reading its own predictions, from the carried state; so do validation and test.

    Args:
        data, encoder, head, options: as `Task` documents them; `output` is of `ForecastOptions`:
            the error to learn by, or quantiles to predict.
        norm: what a direct forecast does to each window before it is read, undone in the forecast:
            `last` subtracts its last value (NLinear, Zeng et al. 2023,
            https://arxiv.org/abs/2205.13504). None: nothing.
        segment: how many steps of the window a direct forecast reads at once (SegRNN, Lin et al.
            2023, https://arxiv.org/abs/2308.11200).

    Raises:
        UserError: for a head that cannot forecast so.
    """

    Options = ForecastOptions
    contract = Contract(per="sequence", target="forecast")
    curves = ("loss", "mase")
    bar = "mase"
    # No answers can be chosen for attributions: each value has logits for many steps ahead.
    answers = ()
    # (K,): the mean of the targets in training.
    center: Tensor
    network: ForecastNetwork

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "last_hidden",
        *,
        norm: Literal["last"] | None = "last",
        segment: Count = 24,
        **options: Any,
    ) -> None:
        self.horizon = data["horizon"]
        self.count = len(data["values"])
        super().__init__(data, encoder, head, norm=norm, segment=segment, **options)
        self.levels: list[float] | None = self.output.quantiles
        mean_of_series = torch.tensor(data["mean"], dtype=torch.float64)[:, : self.count]  # (S, K)
        # A checkpoint needs no center, because it holds the spec of the data.
        self.register_buffer("center", mean_of_series.mean(0), persistent=False)
        refused_key = None
        if data["num_inputs"] > self.count:
            refused_key = "data.inputs"
        elif self.levels:
            refused_key = "model.output.quantiles"
        if self.contract.per == "step" and refused_key is not None:
            raise UserError(
                f"model.head={head} forecasts step by step from its own forecasts, without "
                f"{refused_key}: leave that out, or choose a head that forecasts all at once, "
                "such as model.head=last_hidden"
            )

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        if find_head(head).per == "sequence":
            return cls.contract
        return replace(cls.contract, per="step", causal=True, stateful=True)

    # The network. A head that reads every step forecasts one step, any other all of them.

    @property
    def network_class(self) -> type[ForecastNetwork]:
        """The kind of network that the head asks for."""
        return RecursiveForecast if self.contract.per == "step" else DirectForecast

    def make_network(self, *parts: Any, **options: Any) -> ForecastNetwork:
        options_by_class: dict[type[ForecastNetwork], dict[str, Any]] = {
            RecursiveForecast: {"error": self.output.learned_error},
            DirectForecast: {
                "segment": self.hparams["segment"],
                "subtracts_last": self.hparams["norm"] is not None,
            },
        }
        return self.network_class(
            *parts,
            horizon=self.horizon,
            count=self.count,
            **options_by_class[self.network_class],
            **options,
        )

    def make_output(self, width: int, **options: Any) -> ValueOutput:
        num_values = self.network_class.num_values(self.horizon, self.count)
        return self.output.build(width, num_values, **options)

    def inputs_of(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        num_features = self.network_class.num_features(
            data["num_inputs"], self.count, self.hparams["segment"]
        )
        return {**data, "num_inputs": num_features}

    # Steps

    def step(self, batch: SequenceBatch) -> Step:
        score = self.score(batch)
        forecast = self.restore(score.decision, batch)
        targets = self.restore(self.network.targets_ahead(batch), batch)
        measured = None
        if self.measures_more:
            measured = known_values(forecast, targets, self.levels)
        sums = self.count_errors(forecast, targets, batch)
        return Step(replace(score, decision=forecast), sums, measured)

    # Scores

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        return (*super().measures, *SCALED_SCORES)

    def count_errors(
        self, forecast: Forecast, targets: Values, batch: SequenceBatch
    ) -> dict[str, Tensor]:
        """Returns what `scores` are made of, for each column: `value_sums`, then the
        `SCALED_SCORES`, of forecasts and targets in their own units, nan where there is none."""
        _, deviation, naive_error = self._scale(batch)

        def scaled_errors(errors: Tensor) -> list[Tensor]:
            standardised_errors = errors / deviation
            return [errors / naive_error, standardised_errors.square(), standardised_errors]

        sums = value_sums(forecast, targets, self.levels, self.center, scaled_errors)
        return {"values": sums}

    def scores_of(self, sums: Tensor) -> dict[str, Tensor]:
        return forecast_scores(sums)

    # Predictions

    def forecast(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Forecast:
        """The next values of each row, or their quantiles, in their own units."""
        return self.restore(self.network.forecast(batch, states), batch)

    def standardised_quantiles(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        return network.uncalibrated(batch), network.targets_ahead(batch)

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """`{column: [value, ...]}` for each row, a value for each step ahead; with quantiles,
        `{column: {"0.1": [value, ...], ...}}`."""
        return self.named(self.forecast(batch, states), self._steps(batch), are_predicted=True)

    def targets_of(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        targets = self.restore(self.network.targets_ahead(batch), batch)
        return self.named(targets, self._steps(batch))

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """Some forecasts beside what came: of one column at several origins, or of each column."""
        num_panels = ORIGINS_DRAWN if self.count == 1 else min(self.count, COLUMNS_DRAWN)
        batch = self.some_of(dataset, num_panels)
        names = [dataset.row_name(int(row)) for row in batch.rows]
        return {"forecasts.png": draw_forecasts(self, batch, names)}

    def _steps(self, batch: SequenceBatch) -> list[int]:
        return [self.horizon] * len(batch)

    def _scale(self, batch: SequenceBatch, dims: int = 3) -> Sequence[Tensor]:
        assert batch.scale is not None
        # Mean, deviation and naive error of each row, (B, 3, K) -> (B, 1, K) or (B, 1, K, 1) each.
        shape = len(batch), 1, self.count, *[1] * (dims - 3)
        return [scale.view(shape) for scale in batch.scale.unbind(1)]

    def restore(self, standardised: Tensor, batch: SequenceBatch) -> Tensor:
        """Returns standardised values of the targets `(B, T, K)`, or `(B, T, K, Q)`, in their own
        units."""
        mean, deviation, _ = self._scale(batch, standardised.dim())
        return exact(standardised) * deviation + mean


def forecast_scores(sums: Float[Tensor, "parts columns"]) -> dict[str, Tensor]:
    """The scores of all known values, by name, from what `Forecaster.count_errors` counts."""
    sums_in_own_units, scaled_sums = sums.tensor_split([-len(SCALED_SCORES)])
    count = sums_in_own_units[0].sum()
    scaled_means = scaled_sums.sum(1) / count
    return {
        **value_scores(sums_in_own_units),
        **dict(zip(SCALED_SCORES, scaled_means, strict=True)),
    }


def draw_forecasts(task: Any, batch: Any, names: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each origin of one column, or for each column, at an origin of its own: the
    values that were read, the forecast with its interval, and what came.

    Args:
        task: a `Forecaster`.
        batch: the rows of the origins; one at least, and as many as there are panels, if the data
            has so many.
        names: of the rows, as `WindowDataset.row_name` gives them.
    """
    columns = task.hparams["data"]["values"]
    num_panels = len(batch) if len(columns) == 1 else min(len(columns), COLUMNS_DRAWN)
    num_rows = math.ceil(num_panels / 2)
    # In their own units, (B, T, K)
    values_read = batch.inputs[:, -HISTORY * task.horizon :, : task.count]
    values_read = task.restore(values_read, batch).cpu()
    values_ahead = task.restore(task.network.targets_ahead(batch), batch).cpu()
    forecast = task.forecast(batch).detach().cpu()  # (B, H, K), or (B, H, K, Q)
    medians = decision(forecast, task.levels)

    figure = Figure(figsize=(11, 2.6 * num_rows + 0.5), layout="constrained")
    grid = figure.subplots(num_rows, 2, squeeze=False).flatten()
    steps_read = np.arange(1 - values_read.shape[1], 1)
    steps_ahead = np.arange(1, task.horizon + 1)
    for panel, axes in enumerate(grid[:num_panels]):
        row = panel % len(batch)
        column = panel % len(columns)
        ahead = values_ahead[row, :, column]
        axes.plot(steps_read, values_read[row, :, column], color="0.35", label="read")
        axes.plot(steps_ahead, ahead, color="black", linestyle="--", label="what came")
        if task.levels:
            quantiles = forecast[row, :, column]  # (H, Q)
            lowest, highest = quantiles[:, 0], quantiles[:, -1]
            axes.fill_between(steps_ahead, lowest, highest, color="tab:blue", alpha=0.2)
        axes.plot(steps_ahead, medians[row, :, column], color="tab:blue", label="forecast")
        name = f"{names[row].get('series', '')} {columns[column]}".strip()
        axes.set_title(figure_text(name, most=50), fontsize="medium")
        axes.set_xlabel("steps from the origin")
        axes.grid(alpha=0.3)
    for axes in grid[num_panels:]:
        axes.remove()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
