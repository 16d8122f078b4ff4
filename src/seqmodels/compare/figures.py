"""Figures of a comparison."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from seqmodels.compare.comparison import Comparison
from seqmodels.compare.tables import metric_header
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.tasks.metrics import unit
from seqmodels.visible import figure_text


def compared_runs(comparison: Comparison, most: int = 40) -> Figure:
    """A dot per run, and the mean of each setting with its 95 % interval; the best on top.

    Draws only the best `most` settings of each data set.
    """
    sections = [list(section.settings)[:most] for section in comparison.sections]
    heights = [0.9 + 0.32 * len(settings) for settings in sections]
    figure = Figure(figsize=(8, sum(heights) + 0.3), layout="constrained")
    percent = unit(comparison.metric) == "%"
    factor = 100 if percent else 1
    grid = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights, sharex=percent)
    for axes, settings, section in zip(grid[:, 0], sections, comparison.sections, strict=True):
        for place, setting in enumerate(settings):
            scores = [factor * score for score in setting.scores.values()]
            colour = "#16783a" if setting.difference is None else "#374151"
            axes.plot(scores, [place] * len(scores), ".", color=colour, alpha=0.45, markersize=7)
            interval = setting.summary.interval
            axes.errorbar(
                factor * setting.summary.mean,
                place,
                xerr=None if np.isnan(interval) else factor * interval,
                fmt="|",
                color=colour,
                markersize=14,
                capsize=4,
            )
        axes.set_yticks(range(len(settings)), [figure_text(setting.name) for setting in settings])
        axes.set_ylim(len(settings) - 0.5, -0.5)
        axes.set_title(figure_text(section.data), fontsize=10, loc="left")
        axes.grid(axis="x", alpha=0.3)
    if percent:  # the interval of a mean may go beyond 0 and 100 %; an error rate itself, too
        highest = max(max(s.scores.values()) for settings in sections for s in settings)
        low, high = grid[0, 0].get_xlim()
        grid[0, 0].set_xlim(max(low, -2), min(high, max(102, 102 * highest)))
    label = figure_text(metric_header(comparison.metric))
    grid[-1, 0].set_xlabel(f"{label}; dots: runs; bars: mean, 95 % interval")
    return figure


def compared_curves(comparison: Comparison, most: int = 12) -> Figure:
    """The validation loss by epoch, mean over the runs of each of the best `most` settings."""
    count = len(comparison.sections)
    figure = Figure(figsize=(8, 3.4 * count), layout="constrained")
    grid = figure.subplots(count, 1, squeeze=False)
    for axes, section in zip(grid[:, 0], comparison.sections, strict=True):
        for setting in list(section.settings)[:most]:
            by_epoch: dict[float, list[float]] = {}
            for record in setting.records:
                for row in read_metrics(record.folder / "metrics.csv"):
                    if "validation/loss" in row:
                        by_epoch.setdefault(row["epoch"] + 1, []).append(row["validation/loss"])
            if by_epoch:
                epochs = sorted(by_epoch)
                means = [float(np.mean(by_epoch[epoch])) for epoch in epochs]
                name, marker = figure_text(setting.name), "." if len(epochs) < 5 else ""
                axes.plot(epochs, means, label=name, marker=marker)
        axes.set_title(figure_text(section.data), fontsize=10, loc="left")
        axes.set(xlabel="epoch", ylabel="validation loss")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    return figure
