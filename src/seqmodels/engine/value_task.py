"""What a regressor and a forecaster share: each target is some numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.device import exact, on_device
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import Quantiles, ValueOptions, pinball

MOST_ROWS = 5_000  # of the validation split to learn from, evenly spread over it


def quantile_shifts(
    quantiles: Float[Tensor, "rows values quantiles"],
    targets: Float[Tensor, "rows values"],
    levels: Sequence[float],
) -> Float[Tensor, "values quantiles"]:
    """How far to move each quantile of each value outwards, so that as many targets lie beyond it
    as its level says, for new rows that are exchangeable with these: the one-sided form of
    conformalized quantile regression (Romano, Patterson and Candès 2019,
    https://arxiv.org/abs/1905.03222). A quantile beyond which too few lie stays where it is, and so
    does the median.

    Args:
        quantiles, targets: of rows that the model has not learned from; nan is no target. Rows that
            are too few for a level, less than 9 of 0.9, move it to the furthest of them.
    """
    shifts = torch.zeros(quantiles.shape[1:], dtype=torch.float64)
    for number, level in enumerate(levels):
        if level == 0.5:
            continue
        outwards = 1 if level > 0.5 else -1
        share_inside = max(level, 1 - level)
        # by how much each target lies beyond the quantile; negative inside
        distances = outwards * (targets - quantiles[..., number]).double()
        for value, column in enumerate(distances.unbind(1)):
            known_distances = column[~column.isnan()].sort().values
            if not len(known_distances):
                continue
            # The rank for n rows is that of n + 1, of which the next row is one; rounded first,
            # because 10 * 0.9 is a little more than 9.
            rank = math.ceil(round((len(known_distances) + 1) * share_inside, 9))
            distance = float(known_distances[min(rank, len(known_distances)) - 1])
            shifts[value, number] = outwards * max(distance, 0.0)
    return shifts


Predicted = Float[Tensor, "..."]  # (*rows, values), or (*rows, values, quantiles)
Targets = Float[Tensor, "*rows values"]
VALUE_SCORES = ("rmse", "mae", "r2")
QUANTILE_SCORES = (*VALUE_SCORES, "pinball", "coverage")


def decision(predicted: Tensor, levels: list[float] | None) -> Tensor:
    """The predictions themselves, or the medians among quantiles."""
    return predicted if levels is None else predicted[..., levels.index(0.5)]


def known_values(
    predicted: Tensor, targets: Tensor, levels: list[float] | None
) -> tuple[Tensor, Tensor]:
    """Decisions and targets `(N, K)` of all rows and steps whose K values are all known."""
    decided, targets = decision(predicted, levels).flatten(0, -2), targets.flatten(0, -2)
    known = ~targets.isnan().any(dim=-1)
    return decided[known], targets[known]


def value_sums(
    predicted: Predicted,
    targets: Targets,
    levels: list[float] | None = None,
    center: Tensor | float = 0.0,
    more: Callable[[Tensor], Sequence[Tensor]] = lambda errors: (),
) -> Float[Tensor, "parts values"]:
    """What `value_scores` are made of, for each of K values, over all rows with a target.

    Args:
        predicted, targets: with levels, `(..., K, Q)` and `(..., K)`; nan is no target.
        levels: of the quantiles in `predicted`, ascending.
        center: about the mean of the targets, for each of K: the variance of numbers that are far
            from 0 would lose its digits.
        more: makes further parts, `(..., K)` each, of the absolute errors; they are the last ones.
    """
    predicted, targets = exact(predicted.detach()), exact(targets)
    off, apart = decision(predicted, levels) - targets, targets - center
    errors = off.abs()
    parts = [torch.ones_like(off), off.square(), errors, apart, apart.square()]
    if levels is not None:
        of_levels = on_device(torch.tensor(levels, dtype=targets.dtype), targets.device)
        costs = pinball(targets.unsqueeze(-1) - predicted, of_levels)
        inside = (predicted[..., 0] <= targets) & (targets <= predicted[..., -1])
        parts += [costs.mean(-1), inside.to(off)]
    parts += more(errors)
    return torch.stack(parts).where(~targets.isnan(), 0.0).flatten(1, -2).sum(1)


def value_scores(sums: Float[Tensor, "parts values"]) -> dict[str, Tensor]:
    """The scores of all known values, by name.

    - `rmse`, `mae`: the root of the mean squared error, and the mean absolute error.
    - `r2`: the share of a value's variance that is explained, the mean over the K values. A value
      that is constant gives 1 if it is predicted exactly, else 0, as in scikit-learn; one that is
      known fewer than twice is left out.
    - with levels, `pinball`: the mean over values and quantiles of what `pinball` says, which is
      lowest for the true quantiles; and `coverage`: the share of values from the lowest to the
      highest quantile, both included. Compare it with what these quantiles promise, such as 0.8
      from 0.1 to 0.9.
    """
    known, squares, absolute, _, _, *of_quantiles = sums.sum(1)
    scores = {"rmse": (squares / known).sqrt(), "mae": absolute / known}
    count, squares, _, total, of_squares, *_ = sums
    spread = of_squares - total.square() / count.clamp(min=1)
    spread = spread.where(spread > 1e-12 * of_squares, 0.0)  # of a constant, but for rounding
    r2 = torch.where(spread > 0, 1 - squares / spread, (squares == 0).to(spread))
    scores["r2"] = r2.where(count > 1, torch.nan).nanmean()
    scores |= zip(QUANTILE_SCORES[3:], (part / known for part in of_quantiles), strict=False)
    return scores


class ValueTask(Task):
    """A task whose targets are the values in `data["values"]`.

    If it predicts quantiles, `calibrate` learns the `shifts` of its `Quantiles`. They are no
    weights: `result.json` keeps them.
    """

    Options = ValueOptions

    def standardised_quantiles(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The quantiles of a batch before `shifts` `(B, [T], K, Q)`, and its targets, nan where
        there is none, `(B, [T], K)`; both standardised as they are learned."""
        raise NotImplementedError(f"{type(self).__name__} must define standardised_quantiles")

    @torch.no_grad()
    def calibrate(self, data: Any) -> None:
        if self.output.quantiles is None:
            return
        dataset = data.datasets["validation"]
        count, last = min(MOST_ROWS, len(dataset)), len(dataset) - 1
        rows = torch.linspace(0, last, count, dtype=torch.float64)
        quantiles, targets = [], []
        for some_rows in rows.round().int().split(data.batch_size):
            batch = self.ready(dataset.__getitems__(some_rows.tolist()))
            predicted, wanted = self.standardised_quantiles(batch)
            quantiles.append(predicted.flatten(0, -3).cpu())
            targets.append(wanted.flatten(0, -2).cpu())
        shifts = quantile_shifts(torch.cat(quantiles), torch.cat(targets), self.output.quantiles)
        self.calibration = shifts.tolist()

    @property
    def calibration(self) -> list[list[float]] | None:
        quantiles = self.network.head.output
        if not isinstance(quantiles, Quantiles) or quantiles.shifts is None:
            return None
        return quantiles.shifts.tolist()

    @calibration.setter
    def calibration(self, shifts: list[list[float]] | None) -> None:
        quantiles: Any = self.network.head.output
        levels = self.output.quantiles or []
        if shifts is None:
            quantiles.shifts = None
            return
        if [len(row) for row in shifts] != [len(levels)] * len(self.names):
            raise ValueError(
                f"the calibration is not of {len(self.names)} x {len(levels)} quantiles"
            )
        quantiles.shifts = exact(torch.tensor(shifts, dtype=torch.float64)).to(self.device)

    @property
    def names(self) -> list[str]:
        """Of the values, in the order of the predictions."""
        return self.hparams["data"]["values"]

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        return QUANTILE_SCORES if self.output.quantiles else VALUE_SCORES

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.scores_of(sums["values"])

    def scores_of(self, sums: Tensor) -> dict[str, Tensor]:
        """The scores of some columns, from what `value_sums` gives."""
        return value_scores(sums)

    def score_parts(self, sums: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Of each column, if there are several: how many values are known, and their scores."""
        rows = []
        for name, of in zip(self.names, sums["values"].cpu().split(1, dim=1), strict=True):
            scores = {k: float(v) for k, v in self.scores_of(of).items()}
            rows.append({"column": name, "count": int(of[0]), **scores})
        return rows if len(rows) > 1 else []

    def named(
        self, values: Tensor, steps: Iterable[int] | None = None, *, made: bool = False
    ) -> list[dict[str, Any]]:
        """Each row's values by the name of their column; quantiles by their levels, such as `0.1`.

        Args:
            values: `(B, K)`, or of quantiles `(B, K, Q)`; with steps `(B, T, K)`, `(B, T, K, Q)`.
            steps: how many of each row to take.
            made: whether they are predictions, which may be quantiles.
        """
        levels = [f"{level:g}" for level in self.output.quantiles or ()] if made else []
        rows: Iterable[Tensor] = values.cpu()
        if steps is not None:  # (T, K, [Q]) -> (K, [Q], T)
            rows = (row[:count].movedim(0, -1) for row, count in zip(rows, steps, strict=True))

        def of_levels(value: Any) -> Any:
            return dict(zip(levels, value, strict=True)) if levels else value

        return [dict(zip(self.names, map(of_levels, row.tolist()), strict=True)) for row in rows]
