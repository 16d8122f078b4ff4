"""What a regressor and a forecaster share: each target is some numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.device import exact, on_device
from seqmodels.engine.task import Task
from seqmodels.nn.outputs import Quantiles, ValueOptions, pinball


def quantile_shifts(
    quantiles: Float[Tensor, "rows values quantiles"],
    targets: Float[Tensor, "rows values"],
    levels: Sequence[float],
) -> Float[Tensor, "values quantiles"]:
    """Returns how far to move each quantile of each value outwards, so that as many targets lie
    beyond it as its level says, for new rows that are exchangeable with these: the one-sided form
    of conformalized quantile regression (Romano, Patterson and Candès 2019,
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
        # A distance says by how much a target lies beyond the quantile; inside, it is negative.
        distances = outwards * (targets - quantiles[..., number]).double()
        for value, column in enumerate(distances.unbind(1)):
            known_distances = column[~column.isnan()].sort().values
            if not len(known_distances):
                continue
            # The next row counts, too, so the rank is one among n + 1 rows. We round first, because
            # 10 * 0.9 is a little more than 9.
            exact_rank = round((len(known_distances) + 1) * share_inside, 9)
            rank = min(math.ceil(exact_rank), len(known_distances))
            distance = float(known_distances[rank - 1])
            shifts[value, number] = outwards * max(distance, 0.0)
    return shifts


Predicted = Float[Tensor, "..."]  # (*rows, values), or (*rows, values, quantiles)
Targets = Float[Tensor, "*rows values"]
VALUE_SCORES = ("rmse", "mae", "r2")
QUANTILE_SCORES = (*VALUE_SCORES, "pinball", "coverage")


def decision(predicted: Tensor, levels: list[float] | None) -> Tensor:
    """Returns the predictions themselves, or the medians among quantiles."""
    if levels is None:
        return predicted
    return predicted[..., levels.index(0.5)]


def known_values(
    predicted: Tensor, targets: Tensor, levels: list[float] | None
) -> tuple[Tensor, Tensor]:
    """Returns decisions and targets `(N, K)` of all rows and steps whose K values are all known."""
    decisions = decision(predicted, levels).flatten(0, -2)
    targets = targets.flatten(0, -2)
    is_known = ~targets.isnan().any(dim=-1)
    return decisions[is_known], targets[is_known]


def value_sums(
    predicted: Predicted,
    targets: Targets,
    levels: list[float] | None = None,
    center: Tensor | float = 0.0,
    further_sums: Callable[[Tensor], Sequence[Tensor]] = lambda errors: (),
) -> Float[Tensor, "sums values"]:
    """Returns what `value_scores` are made of, for each of K values, over all rows with a target.

    Args:
        predicted, targets: with levels, `(..., K, Q)` and `(..., K)`; nan is no target.
        levels: of the quantiles in `predicted`, ascending.
        center: about the mean of the targets, for each of K: the variance of numbers that are far
            from 0 would lose its digits.
        further_sums: makes further numbers to sum, `(..., K)` each, of the absolute errors; they
            are the last ones.
    """
    predicted = exact(predicted.detach())
    targets = exact(targets)
    differences = decision(predicted, levels) - targets
    errors = differences.abs()
    centered_targets = targets - center
    summands = [
        torch.ones_like(differences),
        differences.square(),
        errors,
        centered_targets,
        centered_targets.square(),
    ]
    if levels is not None:
        level_tensor = on_device(torch.tensor(levels, dtype=targets.dtype), targets.device)
        costs = pinball(targets.unsqueeze(-1) - predicted, level_tensor)
        is_inside = (predicted[..., 0] <= targets) & (targets <= predicted[..., -1])
        summands += [costs.mean(-1), is_inside.to(differences)]
    summands += further_sums(errors)
    is_known = ~targets.isnan()
    return torch.stack(summands).where(is_known, 0.0).flatten(1, -2).sum(1)


def value_scores(sums: Float[Tensor, "sums values"]) -> dict[str, Tensor]:
    """Returns the scores of all known values, by name.

    - `rmse`, `mae`: the root of the mean squared error, and the mean absolute error.
    - `r2`: the share of a value's variance that is explained, the mean over the K values. A value
      that is constant gives 1 if it is predicted exactly, else 0, as in scikit-learn; one that is
      known fewer than twice is left out.
    - with levels, `pinball`: the mean over values and quantiles of what `pinball` says, which is
      lowest for the true quantiles; and `coverage`: the share of values from the lowest to the
      highest quantile, both included. Compare it with what these quantiles promise, such as 0.8
      from 0.1 to 0.9.
    """
    count, squared_errors, absolute_errors, _, _, *quantile_sums = sums.sum(1)
    scores = {
        "rmse": (squared_errors / count).sqrt(),
        "mae": absolute_errors / count,
        "r2": explained_share(sums),
    }
    for name, quantile_sum in zip(QUANTILE_SCORES[3:], quantile_sums, strict=False):
        scores[name] = quantile_sum / count
    return scores


def explained_share(sums: Float[Tensor, "sums values"]) -> Float[Tensor, ""]:
    """Returns `r2` as `value_scores` documents it."""
    counts, squared_errors, _, totals, squared_targets, *_ = sums  # (K,) each
    spreads = squared_targets - totals.square() / counts.clamp(min=1)
    # The spread of a constant is 0 but for rounding.
    spreads = spreads.where(spreads > 1e-12 * squared_targets, 0.0)
    is_exact = squared_errors == 0
    shares = torch.where(spreads > 0, 1 - squared_errors / spreads, is_exact.to(spreads))
    return shares.where(counts > 1, torch.nan).nanmean()


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
        quantiles: list[Tensor] = []
        targets: list[Tensor] = []
        for batch in self.validation_batches(data):
            batch_quantiles, batch_targets = self.standardised_quantiles(batch)
            quantiles.append(batch_quantiles.flatten(0, -3).cpu())
            targets.append(batch_targets.flatten(0, -2).cpu())
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
        sums_by_column = sums["values"].cpu().split(1, dim=1)
        if len(sums_by_column) == 1:
            return []
        rows = []
        for name, column_sums in zip(self.names, sums_by_column, strict=True):
            scores = {score: float(value) for score, value in self.scores_of(column_sums).items()}
            rows.append({"column": name, "count": int(column_sums[0]), **scores})
        return rows

    def named(
        self, values: Tensor, steps: Sequence[int] | None = None, *, are_predicted: bool = False
    ) -> list[dict[str, Any]]:
        """Returns each row's values by the name of their column; quantiles by their levels, such as
        `0.1`.

        Args:
            values: `(B, K)`, or of quantiles `(B, K, Q)`; with steps `(B, T, K)`, `(B, T, K, Q)`.
            steps: how many steps of each row to take.
            are_predicted: whether they may be quantiles.
        """
        levels: list[str] = []
        if are_predicted and self.output.quantiles:
            levels = [f"{level:g}" for level in self.output.quantiles]
        rows = list(values.cpu())
        if steps is not None:  # (T, K, [Q]) -> (K, [Q], T)
            rows = [row[:count].movedim(0, -1) for row, count in zip(rows, steps, strict=True)]
        named_rows = []
        for row in rows:
            named_row = dict(zip(self.names, row.tolist(), strict=True))
            if levels:
                for name, quantiles in named_row.items():
                    named_row[name] = dict(zip(levels, quantiles, strict=True))
            named_rows.append(named_row)
        return named_rows
