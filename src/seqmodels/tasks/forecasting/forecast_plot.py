"""Draws some forecasts of the test split beside what came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.errors import UserError
from seqmodels.screen import figure_text
from seqmodels.tasks.forecasting import Forecaster

HISTORY = 3  # times the horizon to show of what was read


class ForecastPlot(Callback):
    """Draws `figures/forecasts.png` of the test split into the run folder: origins that are evenly
    spread, with the values that were read, the forecast, its interval, what came, and the seasonal
    naive forecast.

    Args:
        count: how many origins.
    """

    def __init__(self, count: Count = 6) -> None:
        self.count = count

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if cast(Forecaster, pl_module).contract.target != "forecast":
            raise UserError("only a forecaster has forecasts: set callbacks.forecasts=null")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        windows: Any = trainer.test_dataloaders.dataset  # type: ignore[union-attr]
        rows = np.linspace(0, len(windows) - 1, min(self.count, len(windows))).round().astype(int)
        task = cast(Forecaster, pl_module)
        batch = windows.__getitems__(rows.tolist()).to(task.device)
        ahead = batch.targets.unflatten(1, (task.horizon, task.count))
        read = batch.inputs[:, -HISTORY * task.horizon :, : task.count]
        before, after = (task.restore(values, batch).cpu() for values in (read, ahead))
        made, spec = task.forecast(batch).cpu(), task.hparams["data"]
        panels = [
            (
                f"{spec['series'][series]} {name}".strip(),
                before[row, :, value],
                after[row, :, value],
                made[row, :, value],
            )
            for row, series in enumerate(batch.series.tolist())
            for value, name in enumerate(spec["values"])
        ]
        figures = Path(trainer.default_root_dir) / "figures"
        figures.mkdir(exist_ok=True)
        across = min(2, len(rows)) if task.count == 1 else task.count
        draw_forecasts(panels, across, spec["period"], figures / "forecasts.png")


Panel = tuple[str, Float[Tensor, "_"], Float[Tensor, "_"], Float[Tensor, "_ ..."]]


def draw_forecasts(panels: Sequence[Panel], across: int, period: int, picture: Path) -> None:
    """Draws a panel for each title, the values before its origin, those after it, nan where one is
    missing, and the forecasts or their quantiles (last dimension)."""
    down = -(-len(panels) // across)
    figure = Figure(figsize=(5.5 * across, 2.6 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, *panel, period)
    for axes in grid[len(panels) :]:
        axes.remove()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    figure.savefig(picture, dpi=120)


def _draw(axes: Axes, title: str, read: Tensor, came: Tensor, made: Tensor, period: int) -> None:
    steps = torch.arange(1, len(came) + 1)
    axes.plot(torch.arange(1 - len(read), 1), read, color="0.35", label="read")
    axes.plot(steps, came, color="black", linestyle="--", label="what came")
    if period <= len(read):
        naive = read[(steps - 1) % period - period]
        axes.plot(steps, naive, color="tab:orange", alpha=0.7, label="seasonal naive")
    if made.dim() == 2:
        axes.fill_between(
            steps, made[:, 0], made[:, -1], color="tab:blue", alpha=0.2, label="interval"
        )
        made = made[:, made.shape[1] // 2]
    axes.plot(steps, made, color="tab:blue", label="forecast")
    axes.axvline(0.5, color="0.8", linewidth=1)
    axes.set_title(figure_text(title, most=50), fontsize="medium")
    axes.set_xlabel("steps from the origin")
    axes.grid(alpha=0.3)
