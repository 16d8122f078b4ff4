"""The next values of a series: all at once, or one after the other."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from seqmodels.arguments import ArgumentsOf, OneOf
from seqmodels.batch import SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.rolling import roll_forward
from seqmodels.engine.task import Task
from seqmodels.engine.value_scores import MAE, Predictions, Targets, known_values, value_scores
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.nn.values import ERRORS, Quantiles, ValueOptions, ValueOutput

MOST_STEPS = 100_000  # to forecast
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
        base: what to predict the difference to: the `last` value that was read, or the value one
            `season` before, a period of the data; None: the values themselves.

    Raises:
        UserError: for a head that cannot forecast so, or a season longer than the window.
    """

    contract = Contract(per="sequence", target="forecast")
    curves = ("loss", "mase")
    bar = "mase"
    in_numpy = """def predict(inputs, series=0):  # its number
    names, horizon, levels = (DECISION[name] for name in ("values", "horizon", "levels"))
    inputs = np.array(inputs, np.float32)
    logits, state = network(inputs)
    if state:  # recursive: the next value at every step, from the one before
        made, last = [], inputs[-1]
        for _ in range(horizon):
            last = logits[-1] + (last if DECISION["lag"] else 0)
            made.append(last)
            logits, state = network([last], *state)
        made = np.array(made)[..., None]  # (H, K, 1)
    else:
        made = np.sort(logits.reshape(horizon, len(names), -1))  # (H, K, Q)
        if lag := DECISION["lag"]:
            made = made + inputs[np.arange(horizon) % lag - lag, : len(names), None]
    mean, deviation = (np.array(DECISION[name])[series, :, None] for name in ("mean", "deviation"))
    of_name = dict(zip(names, np.moveaxis(made * deviation + mean, 0, 2).tolist()))
    return {name: dict(zip(levels, of)) if levels else of[0] for name, of in of_name.items()}"""
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
        base: Annotated[str, OneOf("last", "season")] | None = None,
        **options: Any,
    ) -> None:
        self.recursive = self.contract_for(head).per == "step"
        self.horizon, self.count = data["horizon"], len(data["values"])
        if self.horizon > MOST_STEPS:
            raise UserError(f"data.horizon is {self.horizon}: at most {MOST_STEPS}")
        super().__init__(data, encoder, head, output=output, base=base, **options)
        for wrong, what in (
            (data["num_inputs"] > self.count, "data.inputs, which nobody knows in advance"),
            (self.output.quantiles, "model.output.quantiles"),
            (base == "season", "model.base=season"),
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

    def make_output(self, width: int, **options: Any) -> ValueOutput | Quantiles:
        steps = 1 if self.recursive else self.horizon
        return self.output.build(width, steps * self.count, **options)

    def step(self, batch: SequenceBatch) -> Step:
        assert batch.targets is not None
        targets = batch.targets.unflatten(1, (self.horizon, self.count))  # (B, H, K)
        learn = self._learn_steps if self.recursive else self._learn_all
        loss, made = (learn if self.training else self._try)(batch, targets)
        scale = self._of_rows("naive_error", batch).expand_as(targets)
        known = (~targets.isnan()).sum()
        made, targets = self.restore(made, batch), self.restore(targets, batch)
        scored = known_values(made, targets, self.output.quantiles) if self.measures_more else None
        if not self.recursive:  # a row of the metrics each
            made, targets, scale = (each.flatten(1, 2) for each in (made, targets, scale))
        return Step(loss, known, made, targets, scale, scored)

    def _learn_all(self, batch: SequenceBatch, targets: Tensor) -> tuple[Tensor, Tensor]:
        base = self._base(batch)
        differences = replace(batch, targets=(targets - base).flatten(1))
        loss, made = self.loss_and_decision(differences)
        return loss, self._with_base(made, base)

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

    def _roll(self, batch: SequenceBatch) -> Tensor:
        def choose(logits: Tensor, inputs: Tensor) -> Tensor:
            base = inputs[:, -1:] if self.hparams["base"] else 0.0
            return (logits[:, -1:] + base).to(inputs)

        steps = roll_forward(self.as_function(), batch.inputs, batch.lengths, choose)
        return torch.cat([*islice(steps, self.horizon)], dim=1)

    def forecast(self, batch: SequenceBatch) -> Forecast:
        """The next values of each row, or their quantiles, in their own units."""
        if self.recursive:
            return self.restore(self._roll(batch), batch)
        output, made = self.head.output, self(batch)
        made = output.quantiles(made) if isinstance(output, Quantiles) else made
        return self.restore(self._with_base(made, self._base(batch)), batch)

    def decision(self) -> dict[str, Any]:
        """`lag`: how many steps before lies the value that a forecast is a difference to; 0: it is
        none. `mean` and `deviation` `(S, K)` are those of each series."""
        data, base = self.hparams["data"], self.hparams["base"]
        known = {name: data[name] for name in ("values", "horizon", "series")}
        for name in ("mean", "deviation"):
            known[name] = getattr(self, name).tolist()
        known["lag"] = {None: 0, "last": 1, "season": data["period"]}[base]
        return {**known, "levels": self.output.level_names}

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """`{column: [value, ...]}` for each row, a value for each step ahead; with quantiles,
        `{column: {"0.1": [value, ...], ...}}`."""
        levels, names = self.output.quantiles, self.hparams["data"]["values"]

        def plain(values: Tensor) -> Any:  # (H,) or (H, Q)
            if levels is None:
                return values.tolist()
            by_level = zip(levels, values.T.tolist(), strict=True)
            return {f"{level:g}": each for level, each in by_level}

        rows = (row.unbind(1) for row in self.forecast(batch))
        return [{n: plain(each) for n, each in zip(names, row, strict=True)} for row in rows]

    def metrics(self) -> dict[str, Metric]:
        levels = self.output.quantiles
        return {**value_scores(levels), "mase": MASE(levels)}

    def _base(self, batch: SequenceBatch) -> Tensor:  # (B, H, K)
        if self.hparams["base"] is None:
            return batch.inputs.new_zeros(len(batch), self.horizon, self.count)
        period = self.hparams["data"]["period"] if self.hparams["base"] == "season" else 1
        return batch.inputs[:, torch.arange(self.horizon) % period - period, : self.count]

    def _with_base(self, made: Tensor, base: Tensor) -> Tensor:
        # (B, H * K) or (B, H * K, Q) -> (B, H, K) or (B, H, K, Q)
        made = made.unflatten(1, (self.horizon, self.count))
        return made + base.view(*base.shape, *[1] * (made.dim() - 3))

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


class MASE(MAE):
    """The mean absolute scaled error: each error is divided by what repeating the last period is
    off in training (Hyndman and Koehler 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001)."""

    def update(  # type: ignore[override]
        self, preds: Predictions, target: Targets, scale: Targets
    ) -> None:
        """`scale`: what to divide by, `(N, K)`."""
        super().update(
            preds / (scale if self.levels is None else scale.unsqueeze(-1)), target / scale
        )
