"""Figures of a comparison: one colour per head in all of them, for light and for dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.compare.comparison import Comparison, Section, Setting
from seqmodels.compare.records import LOSS
from seqmodels.compare.tables import metric_header
from seqmodels.engine.metrics import unit
from seqmodels.screen import figure_text

WIDTH = 5.5  # inches of every figure: readable on a phone, and two side by side on a screen
LIGHT = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
DARK = {
    **LIGHT,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), "#171c24"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "#e5e7eb"),
    **dict.fromkeys(("axes.edgecolor", "legend.edgecolor"), "#6b7280"),
}
# each has a contrast of at least 3 to both papers
PALETTE = (
    *("#3b82f6", "#d97706", "#16a34a", "#ef4444", "#a855f7"),
    *("#a16207", "#db2777", "#0d9488", "#6b7280", "#65a30d"),
)
LINES = ("-", "--", ":", "-.")  # of settings with the same head


def colours(comparison: Comparison) -> dict[int, str]:
    """A colour for each setting, by its `id`: one per head, the same in every figure; one per
    setting where all have the same head."""
    heads = [str(setting.records[0].result["head"]) for setting in comparison.settings]
    if len(set(heads)) == 1:
        heads = [setting.name for setting in comparison.settings]
    names = sorted(set(heads))
    palette: Sequence[Any] = PALETTE
    if len(names) > len(PALETTE):
        palette = list(mpl.colormaps["turbo"](np.linspace(0.1, 0.9, len(names))))
    by_name = {name: mpl.colors.to_hex(palette[n]) for n, name in enumerate(names)}
    return {id(s): by_name[head] for s, head in zip(comparison.settings, heads, strict=True)}


def compared_runs(comparison: Comparison, most: int = 40) -> Figure:
    """A dot per run, and the mean of each setting with its 95 % interval; the best on top.

    Draws only the best `most` settings of each data set. An interval ends where the metric does,
    at 0 and 100 %.
    """
    sections = [list(section.settings)[:most] for section in comparison.sections]
    heights = [0.6 + 0.42 * len(settings) for settings in sections]
    figure = new_figure(sum(heights) + 0.5)
    percent = unit(comparison.metric) == "%"
    grid = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights, sharex=percent)
    of_setting = colours(comparison)
    for axes, settings, section in zip(grid[:, 0], sections, comparison.sections, strict=True):
        for place, setting in enumerate(settings):
            _draw_setting(axes, setting, place, of_setting[id(setting)], comparison)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(settings) - 0.5, -0.75)
        set_title(axes, comparison, section, most)
        axes.grid(axis="x", alpha=0.3)
    label = figure_text(metric_header(comparison.metric))
    grid[-1, 0].set_xlabel(f"{label}\ndots: runs; bars: mean with its 95 % interval")
    return figure


def _draw_setting(
    axes: Axes, setting: Setting, place: int, colour: str, comparison: Comparison
) -> None:
    percent = unit(comparison.metric) == "%"
    factor = 100 if percent else 1
    scores = [factor * score for score in setting.scores.values()]
    axes.plot(scores, [place] * len(scores), ".", color=colour, alpha=0.5, markersize=8)
    middle, half = setting.summary.mean, setting.summary.interval
    low, high = middle - half, middle + half
    if percent:  # a share; only an error rate may be larger than 1
        low, high = max(low, 0.0), min(high, 1.0) if comparison.higher_is_better else high
    axes.errorbar(
        factor * middle,
        place,
        xerr=None if math.isnan(half) else [[factor * (middle - low)], [factor * (high - middle)]],
        fmt="|",
        color=colour,
        markersize=12,
        markeredgewidth=2,
        elinewidth=1.5,
        capsize=4,
        capthick=1.5,
    )
    # above its interval instead of beside it, so that a long name takes no room from the axes
    axes.text(
        0,
        place - 0.22,
        figure_text(setting.name),
        transform=axes.get_yaxis_transform(),
        verticalalignment="bottom",
        fontsize=9,
        fontweight="bold" if setting.difference is None else "normal",
    )


def compared_curves(comparison: Comparison, most: int = 12) -> Figure:
    """The validation loss by epoch, mean over the runs of each of the best `most` settings; by step
    where a run was validated more often.

    Epochs count from 0, as everywhere in Lightning.
    """
    count = len(comparison.sections)
    figure = new_figure(0.8 + 2.8 * count)
    grid = figure.subplots(count, 1, squeeze=False)
    of_setting = colours(comparison)
    lines: dict[str, Any] = {}
    for axes, section in zip(grid[:, 0], comparison.sections, strict=True):
        used: dict[str, int] = {}  # how many settings have this colour
        settings = list(section.settings)[:most]
        by = _counted_by(settings)
        for setting in settings:
            means = _mean_losses(setting, by)
            colour = of_setting[id(setting)]
            style = LINES[used.setdefault(colour, 0) % len(LINES)]
            used[colour] += 1
            if means:
                name, marker = figure_text(setting.name), "." if len(means) < 5 else ""
                [lines[name]] = axes.plot(
                    [*means], [*means.values()], style, color=colour, label=name, marker=marker
                )
        set_title(axes, comparison, section, most)
        axes.set(xlabel=by, ylabel="validation loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    if lines:
        columns = max(1, min(3, 66 // (6 + max(map(len, lines)))))
        figure.legend(
            handles=[*lines.values()],
            loc="outside lower left",
            ncols=columns,
            fontsize=9,
            frameon=False,
        )
    return figure


def _mean_losses(setting: Setting, by: str) -> dict[float, float]:
    losses: dict[float, list[float]] = {}
    for record in setting.records:
        for row in record.validations:
            losses.setdefault(row[by], []).append(row[LOSS])
    return {place: float(np.mean(losses[place])) for place in sorted(losses)}


def _counted_by(settings: Sequence[Setting]) -> str:
    records = [record for setting in settings for record in setting.records]
    often = any(len(r.validations) > len({row["epoch"] for row in r.validations}) for r in records)
    return "step" if often else "epoch"


def new_figure(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    return figure


def set_title(axes: Axes, comparison: Comparison, section: Section, most: int) -> None:
    """Names the data where there are several, and says where settings are left out."""
    titles = [section.data] if len(comparison.sections) > 1 else []
    if (count := len(section.settings)) > most:
        titles.append(f"the best {most} of {count} settings")
    axes.set_title(figure_text(": ".join(titles)), fontsize=10, loc="left")
