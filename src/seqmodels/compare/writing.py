"""Write a comparison into files, with two figures: a setting has one colour in both, whatever the
data set."""

from __future__ import annotations

import csv
import io
import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.compare.comparison import Comparison, Section, Setting
from seqmodels.compare.records import LOSS
from seqmodels.compare.tables import as_csv, as_markdown, metric_header
from seqmodels.files import written_whole
from seqmodels.metrics import unit
from seqmodels.screen import figure_text

WIDTH = 5.5  # inches of every figure: readable on a phone, and two side by side on a screen
LINES = ("-", "--", ":", "-.")  # the next where Matplotlib's ten colours start again


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md`, and its two pictures, `.png` and `.curves.png`; replaces
    older ones, and returns their paths.

    A comparison by another metric that is already there, as in a sweep's folder, stays: the names
    of the new files then end in their metric, `comparison_test_macro_f1.csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _name(comparison, folder)
    pictures = f"\n![Every run]({name}.png)\n\n![Validation losses]({name}.curves.png)\n"
    paths = []
    for kind, content in (
        ("csv", as_csv(comparison).encode()),
        ("md", (as_markdown(comparison) + pictures).encode()),
        ("png", _png(compared_runs(comparison))),
        ("curves.png", _png(compared_curves(comparison))),
    ):
        paths.append(folder / f"{name}.{kind}")
        with written_whole(paths[-1]) as file:
            file.write(content)
    return paths


def _name(comparison: Comparison, folder: Path) -> str:
    file = folder / "comparison.csv"
    if not file.is_file():
        return "comparison"
    with suppress(csv.Error), file.open(newline="", encoding="utf-8", errors="replace") as text:
        if next(csv.DictReader(text), {}).get("metric") == comparison.metric:
            return "comparison"
    return f"comparison_{re.sub(r'[^A-Za-z0-9]+', '_', comparison.metric)[:80]}"


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160)
    return file.getvalue()


def styles(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """The colour and the line of each setting, by its name."""
    names = sorted({setting.name for setting in comparison.settings})
    return {n: (f"C{k % 10}", LINES[k // 10 % len(LINES)]) for k, n in enumerate(names)}


def compared_runs(comparison: Comparison, most: int = 40) -> Figure:
    """A dot per run, and the mean of each setting with its 95 % interval; the best on top.

    Draws only the best `most` settings of each data set. An interval ends where the metric does,
    at 0 and 100 %.
    """
    sections = [list(section.settings)[:most] for section in comparison.sections]
    heights = [0.6 + 0.42 * len(settings) for settings in sections]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
    percent = unit(comparison.metric) == "%"
    grid = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights, sharex=percent)
    style = styles(comparison)
    for axes, settings, section in zip(grid[:, 0], sections, comparison.sections, strict=True):
        for place, setting in enumerate(settings):
            _draw_setting(axes, setting, place, style[setting.name][0], comparison)
        axes.set_yticks([])
        axes.set_ylim(len(settings) - 0.5, -0.75)
        _set_title(axes, comparison, section, most)
        axes.spines[["left", "top", "right"]].set_visible(False)
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
    ends = None if math.isnan(half) else [[factor * (middle - low)], [factor * (high - middle)]]
    axes.errorbar(factor * middle, place, xerr=ends, fmt="|", color=colour, capsize=4, ms=12)
    # above its interval instead of beside it, so that a long name takes no room from the axes
    weight = "normal" if setting.difference else "bold"
    name = axes.text(0, place - 0.22, figure_text(setting.name), fontsize=9, fontweight=weight)
    name.set(transform=axes.get_yaxis_transform(), verticalalignment="bottom")


def compared_curves(comparison: Comparison, most: int = 12) -> Figure:
    """The validation loss by step, mean over the runs of each of the best `most` settings."""
    count = len(comparison.sections)
    figure = Figure(figsize=(WIDTH, 0.8 + 2.8 * count), layout="constrained")
    grid = figure.subplots(count, 1, squeeze=False)
    style, lines = styles(comparison), dict[str, Any]()
    for axes, section in zip(grid[:, 0], comparison.sections, strict=True):
        for setting in section.settings[:most]:
            if means := _mean_losses(setting):
                name, marker = figure_text(setting.name), "." if len(means) < 5 else ""
                colour, line = style[setting.name]
                [lines[name]] = axes.plot(
                    [*means], [*means.values()], line, color=colour, label=name, marker=marker
                )
        _set_title(axes, comparison, section, most)
        axes.set(xlabel="step", ylabel="validation loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    if lines:
        columns = max(1, min(3, 66 // (6 + max(map(len, lines)))))
        figure.legend(
            handles=[*lines.values()], loc="outside lower left", ncols=columns, frameon=False
        )
    return figure


def _mean_losses(setting: Setting) -> dict[float, float]:
    losses: dict[float, list[float]] = {}
    for record in setting.records:
        for row in record.validations:
            losses.setdefault(row["step"], []).append(row[LOSS])
    return {place: float(np.mean(losses[place])) for place in sorted(losses)}


def _set_title(axes: Axes, comparison: Comparison, section: Section, most: int) -> None:
    """Names the data where there are several, and says where settings are left out."""
    titles = [section.data] if len(comparison.sections) > 1 else []
    if (count := len(section.settings)) > most:
        titles.append(f"the best {most} of {count} settings")
    axes.set_title(figure_text(": ".join(titles)), fontsize=10, loc="left")
