"""The next values of a series: all at once, or one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.batch import SequenceBatch
from seqmodels.device import exact, on_device
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Described
from seqmodels.engine.value_scores import known_values, value_scores, value_sums
from seqmodels.engine.value_task import ValueTask
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ERRORS, Score, ValueOutput
from seqmodels.padding import last_step
from seqmodels.tasks.forecasting.forecast_plot import COUNT, draw_forecasts

SCALED_SCORES = ("mase", "standardised_mse", "standardised_mae")
Values = Float[Tensor, "batch horizon values"]
Forecast = Values | Float[Tensor, "batch horizon values quantiles"]


class Forecaster(ValueTask):
    """The next `data["horizon"]` values of the columns in `data["values"]`.

    The head decides how. One that reads a vector for each sequence forecasts all of them at once:
    *direct*, one column at a time, with the same weights, and with `data.inputs` beside it.
    `every_step` predicts the next value at every step of `output`, as the difference to the last
    one: *recursive*. It learns from the window and the values after it, one step ahead, and
    forecasts by reading its own predictions, from the carried state; so do validation and test.

    Args:
        data, encoder, head, options: as `Task` documents them; `output` is of `ValueOptions`: the
            error to learn by, or quantiles to predict.
        norm: what a direct forecast does to each window before it is read, undone in the forecast:
            `last` subtracts its last value (NLinear, Zeng et al. 2023,
            https://arxiv.org/abs/2205.13504). None: nothing.
        segment: how many steps of the window a direct forecast reads at once (SegRNN, Lin et al.
            2023, https://arxiv.org/abs/2308.11200).

    Raises:
        UserError: for a head that cannot forecast so.
    """

    contract = Contract(per="sequence", target="forecast")
    curves = ("loss", "mase")
    bar = "mase"
    answers = ()  # of each value, many steps ahead are logits
    center: Tensor  # (K,), of the targets in training

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
        self.recursive = self.contract_for(head).per == "step"
        self.horizon, self.count = data["horizon"], len(data["values"])
        own: dict[str, Any] = {"norm": norm, "segment": segment}
        super().__init__(data, encoder, head, **own, **options)
        self.levels: list[float] | None = self.output.quantiles
        inputs = data["num_inputs"] > self.count
        if self.recursive and (inputs or self.levels):
            raise UserError(
                f"model.head={head} forecasts step by step from its own forecasts, without "
                f"{'data.inputs' if inputs else 'model.output.quantiles'}: leave that out, or "
                "choose a head that forecasts all at once, such as model.head=last_hidden"
            )
        center = torch.tensor(data["mean"], dtype=torch.float64)[:, : self.count].mean(0)
        self.register_buffer("center", center, persistent=False)  # saved in the data's spec

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        if find_head(head).per == "sequence":
            return cls.contract
        return replace(cls.contract, per="step", causal=True, stateful=True)

    def make_output(self, width: int, **options: Any) -> ValueOutput:
        count = self.count if self.recursive else self.horizon
        return self.output.build(width, count, **options)

    def inputs_of(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.recursive:
            return data
        columns = 1 + data["num_inputs"] - self.count
        return {**data, "num_inputs": columns * self.hparams["segment"]}

    def reads_whole_rows(self) -> str:
        if self.recursive:
            return super().reads_whole_rows()
        return "a direct forecast reads its window at once: train with model.head=every_step"

    # a direct forecast: from the window as it is to rows of segments, and back

    def cut(self, batch: SequenceBatch) -> SequenceBatch:
        """`B * K` rows, one for each column, side by side; in segments."""
        if self.recursive:
            return batch
        inputs, level, targets = batch.inputs, self._level(batch), None
        values = inputs[..., : self.count] - level
        values = values.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (B * K, T, 1)
        parts = inputs[..., self.count :], batch.lengths
        beside, lengths = (part.repeat_interleave(self.count, dim=0) for part in parts)
        if batch.targets is not None:
            targets = (self._targets(batch) - level).transpose(1, 2).flatten(0, 1)  # (B * K, H)
        rows = torch.cat([values, beside], dim=2)
        rows, lengths = segments(rows, lengths, self.hparams["segment"])
        return SequenceBatch(rows, lengths, targets)

    def _level(self, batch: SequenceBatch) -> Tensor:
        """What to subtract from a window, `(B, 1, K)`."""
        values = batch.inputs[..., : self.count]
        if self.hparams["norm"] is None:
            return torch.zeros_like(values[:, :1])
        return last_step(values, batch.lengths).unsqueeze(1)

    def read_out(self, states: RNNOutput, batch: SequenceBatch) -> Tensor:
        """The standardised forecasts `(B, H * K)`, or `(B, H * K * Q)`; at every step what the head
        gives."""
        logits = self.head(states)
        if self.recursive:
            return logits
        made = logits.unflatten(1, (-1, len(self.levels))) if self.levels else logits
        return self.moved(self._of_windows(made, batch)).flatten(1)

    def _of_windows(self, made: Tensor, batch: SequenceBatch) -> Tensor:
        """What was made of the rows that `cut` gave, standardised as the data is: `(B, H, K)` of
        `(B * K, H)`; with levels, `(B, H, K, Q)` of `(B * K, H, Q)`."""
        made, level = made.unflatten(0, (-1, self.count)).transpose(1, 2), self._level(batch)
        return made + (level.unsqueeze(3) if self.levels else level)

    # steps

    def step(self, batch: SequenceBatch) -> Step:
        targets = self._targets(batch)
        if self.recursive:
            learn = self._learn_steps if self.training else self._roll_and_compare
            score = learn(batch, targets)
        else:
            score = self.score(batch)
            forecast = self._of_windows(score.decision, batch)
            score = replace(score, decision=self.moved(forecast))
        made, targets = self.restore(score.decision, batch), self.restore(targets, batch)
        measured = known_values(made, targets, self.levels) if self.measures_more else None
        sums = self.count_errors(made, targets, batch)
        return Step(replace(score, decision=made), sums, measured)

    def _learn_steps(self, batch: SequenceBatch, targets: Tensor) -> Score:
        inputs, following = shift(batch.inputs, targets)
        assert batch.targets is not None
        if batch.targets.shape[1] > self.horizon * self.count:
            # A value of the window that was missing is read as the last known one, and not learned.
            following = batch.targets.unflatten(1, (-1, self.count))
        lengths, read = batch.lengths + self.horizon - 1, inputs.to(batch.inputs)
        score = self.score(SequenceBatch(read, lengths, following - inputs))
        return replace(score, decision=(score.decision + inputs)[:, -self.horizon :])

    def _roll_and_compare(self, batch: SequenceBatch, targets: Tensor) -> Score:
        made, known = self._roll(batch), ~targets.isnan()
        errors = ERRORS[self.output.error](made, targets.where(known, made), reduction="none")
        return Score(errors, known, made)

    def _roll(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Tensor:
        def choose(logits: Tensor, inputs: Tensor) -> Tensor:
            return (logits[:, -1:] + inputs[:, -1:]).to(inputs)

        steps = self.roll_forward(batch, choose, states)
        return torch.cat([*islice(steps, self.horizon)], dim=1)

    # scores

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        return (*super().measures, *SCALED_SCORES)

    def count_errors(
        self, made: Forecast, targets: Values, batch: SequenceBatch
    ) -> dict[str, Tensor]:
        """What `scores` are made of, for each column: `value_sums`, then the `SCALED_SCORES`, of
        forecasts and targets in their own units, nan where there is none."""
        _, deviation, naive_error = self._scale(batch)

        def scaled(errors: Tensor) -> list[Tensor]:
            standardised = errors / deviation
            return [errors / naive_error, standardised.square(), standardised]

        return {"values": value_sums(made, targets, self.levels, self.center, scaled)}

    def scores_of(self, sums: Tensor) -> dict[str, Tensor]:
        return forecast_scores(sums)

    # predictions

    def forecast(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Forecast:
        """The next values of each row, or their quantiles, in their own units."""
        if self.recursive:
            return self.restore(self._roll(batch, states), batch)
        return self.restore(self.moved(self._standardised(batch, states)), batch)

    def _standardised(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Forecast:
        output: Any = self.head.output
        made = output.in_own_units(output.standardised(self.head(states or self.encode(batch))))
        return self._of_windows(made, batch)

    def standardised_quantiles(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        return self._standardised(batch), self._targets(batch)

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """`{column: [value, ...]}` for each row, a value for each step ahead; with quantiles,
        `{column: {"0.1": [value, ...], ...}}`."""
        return self.named(self.forecast(batch, states), self._steps(batch), made=True)

    def targets_of(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        return self.named(self.restore(self._targets(batch), batch), self._steps(batch))

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """The first column of some forecasts beside what came."""
        batch = self.some_of(dataset, COUNT)
        names = [dataset.row_name(int(row)) for row in batch.rows]
        return {"forecasts.png": draw_forecasts(self, batch, names)}

    def _steps(self, batch: SequenceBatch) -> list[int]:
        return [self.horizon] * len(batch)

    def _targets(self, batch: SequenceBatch) -> Tensor:  # (B, H, K)
        assert batch.targets is not None
        return batch.targets.unflatten(1, (-1, self.count))[:, -self.horizon :]

    def _scale(self, batch: SequenceBatch, dims: int = 3) -> Sequence[Tensor]:
        assert batch.scale is not None
        shape = len(batch), 1, self.count, *[1] * (dims - 3)
        return [part.view(shape) for part in batch.scale.unbind(1)]

    def restore(self, made: Tensor, batch: SequenceBatch) -> Tensor:
        """Standardised values of the targets `(B, T, K)`, or `(B, T, K, Q)`, in their own units."""
        mean, deviation, _ = self._scale(batch, made.dim())
        return exact(made) * deviation + mean


def forecast_scores(sums: Float[Tensor, "parts columns"]) -> dict[str, Tensor]:
    """The scores of all known values, by name, from what `Forecaster.count_errors` counts."""
    own, scaled = sums.tensor_split([-len(SCALED_SCORES)])
    means = scaled.sum(1) / own[0].sum()
    return {**value_scores(own), **dict(zip(SCALED_SCORES, means, strict=True))}


def segments(
    rows: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch segments read"], Int[Tensor, " batch"]]:
    """Each row in segments of `size` steps side by side, the last of which ends at the row's own
    last step, and how many there are of each. The first one repeats the row's first step where
    steps lack."""
    counts = (lengths + size - 1) // size  # ONNX would round a negative quotient up
    steps = torch.arange((rows.shape[1] + size - 1) // size * size, device=rows.device)
    steps = steps + on_device(lengths - counts * size, rows.device).unsqueeze(1)
    index = steps.clamp(0, rows.shape[1] - 1).unsqueeze(2).expand(-1, -1, rows.shape[2])
    return rows.gather(1, index).unflatten(1, (-1, size)).flatten(2), counts


def shift(
    inputs: Float[Tensor, "batch time values"], ahead: Values
) -> tuple[Float[Tensor, "batch steps values"], Float[Tensor, "batch steps values"]]:
    """What to read and what comes next, at every step but the last, `(B, T + H - 1, K)` each.

    Args:
        ahead: what follows the inputs, nan where it is missing: there, the last known value is
            read.
    """
    steps = torch.cat([inputs, ahead], dim=1)
    numbers = torch.arange(steps.shape[1], device=steps.device).view(1, -1, 1)
    last_known = numbers.where(~steps.isnan(), 0).cummax(dim=1).values
    return steps.gather(1, last_known)[:, :-1], steps[:, 1:]
