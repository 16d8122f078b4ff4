"""Draws some forecasts of the test split beside what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from seqmodels.engine.value_task import decision
from seqmodels.screen import figure_text

COUNT, HISTORY = 6, 3  # origins; times the horizon to show of what was read


def draw_forecasts(task: Any, batch: Any, names: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each row of a batch: the values of its first column that were read, its forecast
    with the interval, and what came.

    Args:
        task: a `Forecaster`.
        names: of the rows, as `WindowDataset.row_name` gives them.
    """
    column, down = task.hparams["data"]["values"][0], -(-len(batch) // 2)
    ahead = batch.targets.unflatten(1, (-1, task.count))[:, -task.horizon :]
    before = batch.inputs[:, -HISTORY * task.horizon :, : task.count]
    read, came = (task.restore(values, batch)[..., 0].cpu() for values in (before, ahead))
    made = task.forecast(batch)[:, :, 0].detach().cpu()  # (B, H), or (B, H, Q)
    middle = decision(made, task.levels)
    figure = Figure(figsize=(11, 2.6 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, 2, squeeze=False).flatten()
    steps = np.arange(1, task.horizon + 1)
    for row, axes in enumerate(grid[: len(batch)]):
        axes.plot(np.arange(1 - read.shape[1], 1), read[row], color="0.35", label="read")
        axes.plot(steps, came[row], color="black", linestyle="--", label="what came")
        if task.levels:
            axes.fill_between(steps, made[row, :, 0], made[row, :, -1], color="tab:blue", alpha=0.2)
        axes.plot(steps, middle[row], color="tab:blue", label="forecast")
        name = f"{names[row].get('series', '')} {column}".strip()
        axes.set_title(figure_text(name, most=50), fontsize="medium")
        axes.set_xlabel("steps from the origin")
        axes.grid(alpha=0.3)
    for axes in grid[len(batch) :]:
        axes.remove()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
