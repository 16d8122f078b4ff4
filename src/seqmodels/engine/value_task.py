"""What a regressor and a forecaster share: each target is some numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from seqmodels.engine.task import Task
from seqmodels.engine.value_scores import QUANTILE_SCORES, VALUE_SCORES, value_scores
from seqmodels.nn.values import ValueOptions


class ValueTask(Task):
    """A task whose targets are the values in `data["values"]`."""

    Options = ValueOptions

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
