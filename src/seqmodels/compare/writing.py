"""Write a comparison into files, with a figure in which a setting has one colour, whatever the data
set."""

from __future__ import annotations

import csv
import math
import re
from contextlib import suppress
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqmodels.compare.comparison import Comparison, Setting
from seqmodels.compare.over_sets import critical_differences, scores_by_set
from seqmodels.compare.tables import as_csv, as_markdown, metric_header
from seqmodels.files import write_figure, write_text
from seqmodels.metrics import unit
from seqmodels.screen import figure_text

MOST = 40  # settings of a data set, the best of them
WIDTH = 5.5  # inches of every figure: readable on a phone, and two side by side on a screen


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md` and a picture, `.png`; of several data sets, also
    `comparison_ranks.png` and `comparison_sets.png`. Replaces older ones, and returns their paths.
    Beside a comparison by another metric, their names end in the metric, as
    `comparison_test_macro_f1.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    name, pictures = _name(comparison, folder), {"": ("Every run", compared_runs(comparison))}
    if across := comparison.across:
        pictures["_ranks"] = "Mean ranks over data sets", critical_differences(across)
        pictures["_sets"] = "Every data set", scores_by_set(comparison, across)
    numbers, text = folder / f"{name}.csv", folder / f"{name}.md"
    paths = {ending: folder / f"{name}{ending}.png" for ending in pictures}
    lines = [f"\n![{pictures[ending][0]}]({path.name})\n" for ending, path in paths.items()]
    write_text(numbers, as_csv(comparison))
    write_text(text, as_markdown(comparison) + "".join(lines))
    for ending, path in paths.items():
        write_figure(path, pictures[ending][1], dpi=160)
    return [numbers, text, *paths.values()]


def _name(comparison: Comparison, folder: Path) -> str:
    file = folder / "comparison.csv"
    if not file.is_file():
        return "comparison"
    with suppress(csv.Error), file.open(newline="", encoding="utf-8", errors="replace") as text:
        if next(csv.DictReader(text), {}).get("metric") == comparison.metric:
            return "comparison"
    return f"comparison_{re.sub(r'[^A-Za-z0-9]+', '_', comparison.metric)[:80]}"


def compared_runs(comparison: Comparison) -> Figure:
    """A dot per run, and the mean of each setting with its 95 % interval, which ends where the
    metric does, at 0 and 100 %; the best on top."""
    sections = [section.settings[:MOST] for section in comparison.sections]
    heights = [0.6 + 0.42 * len(settings) for settings in sections]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
    percent = unit(comparison.metric) == "%"
    grid = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights, sharex=percent)
    names = sorted({setting.name for setting in comparison.settings})
    colour = {name: f"C{number % 10}" for number, name in enumerate(names)}
    for axes, settings, section in zip(grid[:, 0], sections, comparison.sections, strict=True):
        for place, setting in enumerate(settings):
            _draw_setting(axes, setting, place, colour[setting.name], comparison)
        axes.set_yticks([])
        axes.set_ylim(len(settings) - 0.5, -0.75)
        titles = [section.data] if len(sections) > 1 else []
        if (count := len(section.settings)) > MOST:
            titles.append(f"the best {MOST} of {count} settings")
        axes.set_title(figure_text(": ".join(titles)), fontsize=10, loc="left")
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
    scores, middle = [factor * each for each in setting.scores.values()], setting.summary.mean
    axes.plot(scores, [place] * len(scores), ".", color=colour, alpha=0.5, markersize=8)
    half = setting.summary.interval
    low, high = middle - half, middle + half
    if percent:  # a share; only an error rate may be larger than 1
        low, high = max(low, 0.0), min(high, 1.0) if comparison.higher_is_better else high
    ends = None if math.isnan(half) else [[factor * (middle - low)], [factor * (high - middle)]]
    axes.errorbar(factor * middle, place, xerr=ends, fmt="|", color=colour, capsize=4, ms=12)
    # above its interval instead of beside it, so that a long name takes no room from the axes
    weight = "normal" if setting.difference else "bold"
    name = axes.text(0, place - 0.22, figure_text(setting.name), fontsize=9, fontweight=weight)
    name.set(transform=axes.get_yaxis_transform(), verticalalignment="bottom")
