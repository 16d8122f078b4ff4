"""Scores of forecasts, from sums over windows, which don't grow with their number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from seqmodels.engine.value_scores import decision
from seqmodels.nn.values import pinball

SCORES = ("rmse", "mae", "r2", "mase", "standardised_mse", "standardised_mae")
Values = Float[Tensor, "batch horizon values"]


def forecast_sums(
    made: Values | Float[Tensor, "batch horizon values quantiles"],
    targets: Values,
    naive_error: Float[Tensor, "batch 1 values"],
    deviation: Float[Tensor, "batch 1 values"],
    levels: Sequence[float] | None,
    series: Int[Tensor, " batch"],
    num_series: int,
) -> Float[Tensor, "sums series horizon values"]:
    """What scores are made of, by series, step ahead and column, over all known targets.

    Args:
        made, targets: in their own units; targets are nan where they are missing.
        naive_error, deviation: of the series of each row, to divide by.
        levels: of the quantiles in `made`.
    """
    exact = torch.float32 if made.device.type == "mps" else torch.float64
    made, targets = made.to(exact), targets.to(exact)
    off = decision(made, list(levels) if levels else None) - targets
    of_values = [torch.ones_like(off), off.square(), off.abs(), off.abs() / naive_error]
    of_values += [(off / deviation).square(), (off / deviation).abs(), targets, targets.square()]
    if levels is not None:
        shares = torch.tensor(levels, dtype=exact).to(made.device, non_blocking=True)
        errors = targets.unsqueeze(3) - made
        of_values += [
            pinball(errors, shares).mean(3),
            ((made[..., 0] <= targets) & (targets <= made[..., -1])).to(exact),
        ]
    rows = torch.stack(of_values, dim=1).where(~targets.isnan().unsqueeze(1), 0.0)
    sums = rows.new_zeros(num_series, *rows.shape[1:])
    return sums.index_add(0, series.to(rows.device, non_blocking=True), rows).transpose(0, 1)


def forecast_scores(
    sums: Float[Tensor, "sums ..."], *, each: Float[Tensor, "sums ..."] | None = None
) -> dict[str, Tensor]:
    """The scores of all cells together, by name.

    Args:
        each: the sums for each value whose variance counts by itself in `r2`; None: each cell.
    """
    known, squares, absolute, scaled, of_standard, absolute_standard, _, _, *more = sums.flatten(
        1
    ).sum(1)
    each = (sums if each is None else each).flatten(1)
    total, of_squares = each[6], each[7]
    spread = of_squares - total.square() / each[0].clamp(min=1)
    spread = spread.where(spread > 1e-12 * of_squares, 0.0)  # of a constant, but for rounding
    r2 = torch.where(spread > 0, 1 - each[1] / spread, (each[1] == 0).to(spread))
    names = ("pinball", "coverage")
    return {
        "rmse": (squares / known).sqrt(),
        "mae": absolute / known,
        "r2": r2.where(each[0] > 1, torch.nan).nanmean(),
        **{name: value / known for name, value in zip(names, more, strict=False)},
        "mase": scaled / known,
        "standardised_mse": of_standard / known,
        "standardised_mae": absolute_standard / known,
    }


class ForecastScore(Metric):
    """One of `forecast_scores`.

    Args:
        name: of the score.
        by_step: whether the variance of each step ahead counts by itself in `r2`.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, name: str, by_step: bool) -> None:
        super().__init__()
        self.name, self.by_step = name, by_step
        self.add_state("sums", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, sums: Float[Tensor, "sums series horizon values"]) -> None:
        self.sums = self.sums + sums.sum(1)

    def compute(self) -> Tensor:
        each = None if self.by_step else self.sums.sum(1)
        return forecast_scores(self.sums, each=each)[self.name].float()
