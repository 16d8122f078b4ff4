"""What a regressor and a forecaster share: each target is some numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqmodels.device import exact
from seqmodels.engine.intervals import MOST_ROWS, quantile_shifts
from seqmodels.engine.task import Task
from seqmodels.engine.value_scores import QUANTILE_SCORES, VALUE_SCORES, value_scores
from seqmodels.nn.outputs import Constants, ValueOptions


class ValueTask(Constants, Task):
    """A task whose targets are the values in `data["values"]`.

    Its quantiles, if it predicts some, are moved by `shifts` `(K, Q)`, in standardised units, once
    `calibrate` has learned them. They are no weights: `result.json` keeps them.
    """

    Options = ValueOptions
    shifts: Tensor | None

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.register_buffer("shifts", None, persistent=False)

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
        return None if self.shifts is None else self.shifts.tolist()

    @calibration.setter
    def calibration(self, shifts: list[list[float]] | None) -> None:
        levels = self.output.quantiles or []
        if shifts is None:
            self.shifts = None
            return
        if [len(row) for row in shifts] != [len(levels)] * len(self.names):
            raise ValueError(
                f"the calibration is not of {len(self.names)} x {len(levels)} quantiles"
            )
        self.shifts = exact(torch.tensor(shifts, dtype=torch.float64)).to(self.device)

    def moved(self, quantiles: Tensor, deviation: Tensor | float = 1.0) -> Tensor:
        """Quantiles `(..., K, Q)` after their `shifts`, ascending; as they are before `calibrate`.

        Args:
            deviation: of the units that they are in, `(K, 1)`; 1: they are standardised.
        """
        if self.shifts is None:
            return quantiles
        return (quantiles + (self.shifts * deviation).to(quantiles)).sort(-1).values

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
