"""The next values of a series: all at once, or one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Literal, cast

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from seqmodels.arguments import ArgumentsOf, Count
from seqmodels.batch import AnyBatch, SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.network import once_a_batch
from seqmodels.engine.task import Task
from seqmodels.engine.value_scores import (
    QUANTILE_SCORES,
    VALUE_SCORES,
    known_values,
    named_values,
)
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.values import ERRORS, Quantiles, ValueOptions, ValueOutput
from seqmodels.screen import Screen
from seqmodels.tasks.forecasting.forecast_scores import (
    SCALED_SCORES,
    forecast_parts,
    forecast_scores,
    known_count,
)
from seqmodels.tasks.forecasting.intervals import Intervals
from seqmodels.tasks.forecasting.linear_path import LinearPath, ShareOfLinear
from seqmodels.tasks.forecasting.window_dataset import WindowDataset
from seqmodels.tasks.forecasting.window_rows import newest_steps, segments, window_scale

MOST_STEPS = 100_000  # to forecast
SEGMENTS = 14  # of a window, about, to read by `auto`
VALUES = 500_000  # at most, of the validation split, to correct forecasts by
Forecast = Float[Tensor, "batch horizon values"] | Float[Tensor, "batch horizon values quantiles"]


class Forecaster(Task):
    """The next `data["horizon"]` values of the columns in `data["values"]`.

    The head decides how. One that reads a vector for each sequence forecasts all of them at once:
    *direct*. `every_step` predicts the next value at every step of `output`: *recursive*. It learns
    from the window and the values after it, one step ahead, and forecasts by reading its own
    predictions, from the carried state; so do validation and test.

    Args:
        data, encoder, head, options: as `Task` documents them.
        output: arguments of `ValueOptions`: the error to learn by, or quantiles to predict.
        base: what to predict the difference to: the `last` value that was read, the value one
            `season` before, a period of the data, or a `linear` regression, as `LinearPath`
            documents it. It is fitted before the training and stays as it is; each validation keeps
            as much of the difference as helps. None: predict the values themselves.
        instance_norm: how each window is scaled by itself, before it is read: `last` or `standard`,
            as `window_scale` documents them; undone in the forecast. The loss is in these units.
        channel_independent: read and forecast one column at a time, with the same weights; with
            `data.inputs` beside each.
        segment: how many steps of the window the network reads at once (SegRNN, Lin et al. 2023,
            https://arxiv.org/abs/2308.11200); None: one. `auto`: a 14th of the window.

    `auto` of the others is what was best on the validation split of several data sets: `linear`,
    `last` and one column at a time; for a recursive forecaster, the last value and nothing else.

    Raises:
        UserError: for a head that cannot forecast so, or a season longer than the window.
    """

    contract = Contract(per="sequence", target="forecast")
    curves = ("loss", "mase")
    bar = "mase"
    mean: Tensor  # (S, K), of the targets of each series
    deviation: Tensor  # (S, K)
    naive_error: Tensor

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "last_hidden",
        *,
        output: Annotated[dict[str, Any], ArgumentsOf("seqmodels.nn.values.ValueOptions")]
        | None = None,
        base: Literal["last", "season", "linear", "auto"] | None = None,
        instance_norm: Literal["last", "standard", "auto"] | None = None,
        channel_independent: bool | Literal["auto"] = False,
        segment: Count | Literal["auto"] | None = None,
        **options: Any,
    ) -> None:
        self.recursive = self.contract_for(head).per == "step"
        self.horizon, self.count = data["horizon"], len(data["values"])
        if self.horizon > MOST_STEPS:
            raise UserError(f"data.horizon is {self.horizon}: at most {MOST_STEPS}")
        reading: dict[str, Any] = {
            "base": base,
            "instance_norm": instance_norm,
            "channel_independent": channel_independent,
            "segment": segment,
        }
        usual: dict[str, Any] = {"base": "last", "channel_independent": False}
        if not self.recursive:
            usual = {"base": "linear", "instance_norm": "last", "channel_independent": True}
            usual["segment"] = max(data["window"] // SEGMENTS, 1)
        self.chosen = [name for name, value in reading.items() if value == "auto"]
        reading |= {name: usual.get(name) for name in self.chosen}
        base = reading["base"]
        super().__init__(data, encoder, head, output=output, **reading, **options)
        for wrong, what in (
            (data.get("future_inputs"), "data.future_inputs"),
            (data["num_inputs"] > self.count, "data.inputs, which nobody knows in advance"),
            (self.output.quantiles, "model.output.quantiles"),
            (base not in (None, "last"), f"model.base={base}"),
            *((value, f"model.{name}") for name, value in reading.items() if name != "base"),
        ):
            if self.recursive and wrong:
                raise UserError(
                    f"model.head={head} forecasts step by step from its own forecasts, without "
                    f"{what}: leave that out, or choose a head that forecasts all at once, such as "
                    "model.head=last_hidden"
                )
        if base == "season" and data["period"] > data["window"]:
            raise UserError(
                f"model.base=season needs the last period, of {data['period']} steps, and "
                f"data.window is {data['window']}: lengthen it, or set model.base=last"
            )
        self.linear = self.intervals = None
        if base == "linear":
            self.linear = LinearPath(data)
        if self.output.quantiles is not None:
            self.intervals = Intervals(self.levels, self.horizon, self.count)
        for name in ("mean", "deviation", "naive_error"):  # saved in the data's spec
            of_targets = torch.tensor(data[name])[:, : self.count]
            self.register_buffer(name, of_targets, persistent=False)

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        if find_head(head).per == "sequence":
            return cls.contract
        return replace(cls.contract, per="step", causal=True, stateful=True)

    @property
    def output(self) -> ValueOptions:
        return ValueOptions(**(self.hparams["output"] or {}))

    @property
    def levels(self) -> list[float]:
        return self.output.quantiles or [0.5]

    def make_output(self, width: int, **options: Any) -> ValueOutput | Quantiles:
        steps = 1 if self.recursive else self.horizon
        count = 1 if self.hparams["channel_independent"] else self.count
        made = self.output.build(width, steps * count, **options)
        if self.hparams["base"] == "linear":
            made.project = ShareOfLinear(width, steps * count, self.levels)
        return made

    def inputs_of(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        beside = data["num_inputs"] - self.count
        columns = (1 if self.hparams["channel_independent"] else self.count) + beside
        return {**data, "num_inputs": columns * (self.hparams["segment"] or 1)}

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        return (*(QUANTILE_SCORES if self.output.quantiles else VALUE_SCORES), *SCALED_SCORES)

    def step(self, batch: SequenceBatch) -> Step:
        targets, levels = self._targets(batch), self.output.quantiles
        learn = self._learn_steps if self.recursive else self._learn_all
        loss, made = (learn if self.training else self._try)(batch, targets)
        weight = (~targets.isnan()).sum()
        made, targets = self.restore(made, batch), self.restore(targets, batch)
        scored = known_values(made, targets, levels) if self.measures_more else None
        assert batch.series is not None
        naive_error, deviation = (self._of_rows(n, batch) for n in ("naive_error", "deviation"))
        parts = forecast_parts(made, targets, naive_error, deviation, levels, self.mean.mean(0))
        apart = self.split == "test"  # of all series together otherwise
        count = len(self.hparams["data"]["series"]) if apart else 1
        series = batch.series if apart else torch.zeros_like(batch.series)
        sums = parts.new_zeros(len(parts), count, *parts.shape[2:])  # (P, S, H, K)
        sums.index_add_(1, series.to(parts.device, non_blocking=True), parts)
        return Step(loss, weight, {"values": sums}, scored)

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        of_steps = sums["values"].sum(1)  # (P, H, K)
        each = of_steps.sum(1) if self.recursive else of_steps.flatten(1)
        return forecast_scores(of_steps.flatten(1), each)

    def cut(self, batch: AnyBatch) -> SequenceBatch:
        """`B` rows, or `B * K`, one for each column, side by side."""
        assert isinstance(batch, SequenceBatch)
        if self.recursive:
            return batch
        inputs, lengths, targets = batch.inputs, batch.lengths, batch.targets
        center, spread, base = self._scale_and_base(batch)
        values, beside = (inputs[..., : self.count] - center) / spread, inputs[..., self.count :]
        if targets is not None:
            ahead = targets.unflatten(1, (self.horizon, self.count))
            targets = (ahead - center) / spread - base  # (B, H, K)
        if self.hparams["channel_independent"]:
            values = values.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (B * K, T, 1)
            beside, lengths = (x.repeat_interleave(self.count, dim=0) for x in (beside, lengths))
            targets = None if targets is None else targets.transpose(1, 2).flatten(0, 1)
        rows = torch.cat([values, beside], dim=2)
        if size := self.hparams["segment"]:
            rows, lengths = segments(rows, lengths, size)
            rows = rows.flatten(2)
        return SequenceBatch(rows, lengths, None if targets is None else targets.flatten(1))

    def read_out(self, states: RNNOutput, batch: AnyBatch) -> Tensor:
        """The standardised forecasts `(B, H * K)`, or `(B, H * K * Q)`; at every step what the head
        gives."""
        logits = self.head(states)
        if self.recursive:
            return logits
        assert isinstance(batch, SequenceBatch)
        values = self._of_windows(
            logits.unflatten(1, (-1, len(self.output.quantiles or [0]))), batch
        )
        return values.flatten(1)

    def _of_windows(self, made: Tensor, batch: SequenceBatch) -> Tensor:
        """What was made of the rows that `cut` gave, standardised as the data is: `(B, H, K, Q)` of
        `(B, H * K, Q)` or `(B * K, H, Q)`."""
        if self.hparams["channel_independent"]:
            made = made.unflatten(0, (-1, self.count)).transpose(1, 2)
        else:
            made = made.unflatten(1, (self.horizon, self.count))
        if self.intervals is not None:
            made = self.intervals(made)
        center, spread, base = (each.unsqueeze(3) for each in self._scale_and_base(batch))
        return (made + base) * spread + center

    def on_validation_epoch_start(self) -> None:
        if self.trainer.state.fn == "fit" and not self.recursive:
            windows: Any = self.trainer.val_dataloaders.dataset  # type: ignore[union-attr]
            if self.linear is not None:
                self._share.shrink(self.added(batch) for batch in self.some_of(windows))
            if self.intervals is not None:
                self.intervals.fit(
                    (self._values(batch), self._targets(batch)) for batch in self.some_of(windows)
                )

    @property
    def _share(self) -> ShareOfLinear:
        return cast(Any, self.head.output).project

    def some_of(self, windows: WindowDataset) -> Iterator[SequenceBatch]:
        """Evenly spread ones, in batches."""
        every = -(-len(windows) * self.horizon * self.count // VALUES)
        for rows in torch.arange(0, len(windows), every).split(256):
            yield windows.__getitems__(rows.tolist()).to(self.device)

    def added(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """What the network adds to the linear regression, and what there was to add."""
        center, spread, base = self._scale_and_base(batch)
        made = self._values(batch).sort(dim=3).values[..., self.levels.index(0.5)]
        targets = self._targets(batch)
        return (made - center) / spread - base, (targets - center) / spread - base

    def _values(self, batch: SequenceBatch) -> Tensor:  # (B, H, K, Q)
        return self(batch).unflatten(1, (self.horizon, self.count, -1))

    def on_test_start(self) -> None:
        if self.intervals is not None and self.intervals.width.ne(1).any():
            rank_zero_only(Screen().print)(str(self.intervals))

    def _learn_all(self, batch: SequenceBatch, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, made = self.loss_and_decision(batch)
        if self.output.quantiles is not None:
            return loss, self._of_windows(made, batch).detach()
        return loss, self._of_windows(made.unsqueeze(2), batch).squeeze(3).detach()

    def _learn_steps(self, batch: SequenceBatch, targets: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = shift(batch.inputs, targets)
        base = inputs if self.hparams["base"] else torch.zeros_like(inputs)
        lengths = batch.lengths + self.horizon - 1
        loss, made = self.loss_and_decision(SequenceBatch(inputs, lengths, targets - base))
        return loss, (made + base)[:, -self.horizon :]

    def _try(self, batch: SequenceBatch, targets: Tensor) -> tuple[Tensor, Tensor]:
        if not self.recursive:
            return self._learn_all(batch, targets)
        made, known = self._roll(batch), ~targets.isnan()
        errors = ERRORS[self.output.error](made, targets.where(known, made), reduction="sum")
        return errors / known.sum().clamp(min=1), made

    def losses(self, batch: SequenceBatch) -> Tensor:
        targets = self._targets(batch)
        known = ~targets.isnan()
        if not self.recursive:
            losses, counts = super().losses(batch), known.sum(1)
            if not self.hparams["channel_independent"]:
                return losses
            weighted = losses.view_as(counts) * counts
            return weighted.sum(1) / counts.sum(1).clamp(min=1)
        made = self._roll(batch)
        errors = ERRORS[self.output.error](made, targets.where(known, made), reduction="none")
        return errors.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)

    @once_a_batch
    def _roll(self, batch: SequenceBatch) -> Tensor:
        def choose(logits: Tensor, inputs: Tensor) -> Tensor:
            base = inputs[:, -1:] if self.hparams["base"] else 0.0
            return (logits[:, -1:] + base).to(inputs)

        steps = self.roll_forward(batch.inputs, batch.lengths, choose)
        return torch.cat([*islice(steps, self.horizon)], dim=1)

    def forecast(self, batch: SequenceBatch) -> Forecast:
        """The next values of each row, or their quantiles, in their own units."""
        if self.recursive:
            return self.restore(self._roll(batch), batch)
        made = self._values(batch)
        of_levels = made.squeeze(3) if self.output.quantiles is None else made.sort(dim=3).values
        return self.restore(of_levels, batch)

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """`{column: [value, ...]}` for each row, a value for each step ahead; with quantiles,
        `{column: {"0.1": [value, ...], ...}}`."""
        return self._plain(self.forecast(batch), self.output.level_names)

    def score_parts(self, sums: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Of each column: of each series, if there are several, and of each step ahead."""
        values, data, rows = sums["values"].cpu(), self.hparams["data"], []  # (P, S, H, K)
        for place, column in enumerate(data["values"]):
            of = values[..., place]
            parts: dict[tuple[str | None, int | None], Tensor]
            parts = {(name, None): of[:, n] for n, name in enumerate(data["series"])}
            parts = parts if len(parts) > 1 else {}
            parts |= {(None, step + 1): of[:, :, step] for step in range(self.horizon)}
            for (series, step), part in parts.items():
                whole = part.sum(1, keepdim=True)
                scores = {k: float(v) for k, v in forecast_scores(whole, whole).items()}
                name = {"column": column, "series": series, "step": step}
                rows.append({**name, "count": known_count(whole), **scores})
        return rows

    def outcomes(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """With what the scaled error divides by, `naive_error`."""
        columns = {
            "target": self._plain(self.restore(self._targets(batch), batch)),
            "prediction": self.describe(batch),
            "naive_error": self._plain(self._of_rows("naive_error", batch)[:, 0]),
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _plain(self, values: Tensor, levels: Sequence[str] = ()) -> list[dict[str, Any]]:
        # (B, K), (B, H, K), or with levels (B, H, K, Q)
        names = self.hparams["data"]["values"]
        if values.dim() > 2:
            values = values.movedim(1, -1)  # (B, K, [Q], H)
        return [named_values(row, names, levels) for row in values.tolist()]

    def _targets(self, batch: SequenceBatch) -> Tensor:  # (B, H, K)
        assert batch.targets is not None
        return batch.targets.unflatten(1, (self.horizon, self.count))

    def _scale_and_base(self, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """What the windows are scaled by, `(B, 1, K)`, and what forecasts of scaled ones are a
        difference to, `(B, H, K)`, or `(B, 1, K)` where it is 0."""
        read, base = batch.inputs[..., : self.count], self.hparams["base"]
        center, spread = window_scale(read, batch.lengths, self.hparams["instance_norm"])
        if base is None:
            return center, spread, torch.zeros_like(center)
        of_last = {"last": 1, "season": self.hparams["data"]["period"]}
        if self.linear is not None:
            return center, spread, self.linear.forecast(batch, center, spread)
        newest = newest_steps(read, batch.lengths, of_last[base])
        steps = torch.arange(self.horizon, device=read.device) % of_last[base]
        return center, spread, ((newest - center) / spread)[:, steps]

    def initialize(self, data: pl.LightningDataModule) -> None:
        """Fits the linear regression, and lets the network begin with no difference to it."""
        super().initialize(data)
        if self.chosen:
            values = (f"model.{name}={self.hparams[name]}" for name in self.chosen)
            rank_zero_only(Screen().print)(f"auto: {', '.join(values)}")
        if self.linear is None:
            return
        splits: Any = data.datasets  # type: ignore[attr-defined]
        norm = self.hparams["instance_norm"]
        error = self.linear.fit(splits["train"], splits["validation"], norm)
        if error is not None:
            self._share.begin(error)

    def _of_rows(self, name: str, batch: SequenceBatch, dims: int = 3) -> Tensor:
        assert batch.series is not None
        scale = getattr(self, name)[batch.series.to(self.device, non_blocking=True)]
        return scale.view(len(batch), 1, self.count, *[1] * (dims - 3))

    def restore(self, made: Tensor, batch: SequenceBatch) -> Tensor:
        """Standardised values of the targets `(B, T, K)`, or `(B, T, K, Q)`, in their own units."""
        deviation = self._of_rows("deviation", batch, made.dim())
        return made * deviation + self._of_rows("mean", batch, made.dim())


def shift(
    inputs: Float[Tensor, "batch time values"], ahead: Float[Tensor, "batch horizon values"]
) -> tuple[Tensor, Tensor]:
    """What to read and what comes next, at every step but the last, `(B, T + H - 1, K)` each.

    Args:
        ahead: what follows the inputs, nan where it is missing: there, the last known value is
            read.
    """
    steps = torch.cat([inputs, ahead], dim=1)
    numbers = torch.arange(steps.shape[1], device=steps.device).view(1, -1, 1)
    last_known = numbers.where(~steps.isnan(), 0).cummax(dim=1).values
    return steps.gather(1, last_known)[:, :-1], steps[:, 1:]
