"""Draws some forecasts of the test split beside what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure

from seqmodels.engine.value_scores import decision
from seqmodels.errors import UserError
from seqmodels.screen import figure_text
from seqmodels.tasks.forecasting import Forecaster

COUNT, HISTORY = 6, 3  # origins; times the horizon to show of what was read


class ForecastPlot(Callback):
    """Draws `figures/forecasts.png` of the test split into the run folder: origins that are evenly
    spread, with the values of the first column that were read, its forecast with the interval, and
    what came."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if cast(Forecaster, pl_module).contract.target != "forecast":
            raise UserError("only a forecaster has forecasts: set callbacks.forecasts=null")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        windows: Any = trainer.test_dataloaders.dataset  # type: ignore[union-attr]
        rows = np.linspace(0, len(windows) - 1, min(COUNT, len(windows))).round().astype(int)
        figures = Path(trainer.default_root_dir) / "figures"
        figures.mkdir(exist_ok=True)
        batch = windows.__getitems__(rows.tolist()).to(pl_module.device)
        draw_forecasts(cast(Forecaster, pl_module), batch).savefig(
            figures / "forecasts.png", dpi=120
        )


def draw_forecasts(task: Forecaster, batch: Any) -> Figure:
    """A panel for each row of a batch, with its first column."""
    data, down = task.hparams["data"], -(-len(batch) // 2)
    ahead = batch.targets.unflatten(1, (task.horizon, task.count))
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
        name = f"{data['series'][int(batch.series[row])]} {data['values'][0]}".strip()
        axes.set_title(figure_text(name, most=50), fontsize="medium")
        axes.set_xlabel("steps from the origin")
        axes.grid(alpha=0.3)
    for axes in grid[len(batch) :]:
        axes.remove()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
