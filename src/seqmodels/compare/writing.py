"""Write a comparison into files: its tables, and pictures of its runs, of the mean ranks over data
sets, and of every set with every setting."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from textwrap import fill

import networkx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.compare.comparison import Across, Comparison, Setting
from seqmodels.compare.statistics import LEVEL, OverSets
from seqmodels.compare.tables import as_csv, as_markdown, metric_header
from seqmodels.files import write_figure, write_text
from seqmodels.metrics import show, unit
from seqmodels.screen import figure_text

# Settings of a data set that a picture of its runs shows, the best of them; its width in inches can
# be read on a phone, and two are side by side on a screen.
MOST_SETTINGS = 40
WIDTH = 5.5
# The same of a picture of mean ranks, which has room for a name on each side: the height of a name
# in inches, and the longest line of it in characters.
MOST_RANKED = 20
WIDTH_OF_RANKS = 7.0
HEIGHT_OF_NAME = 0.34
LONGEST_LINE = 26


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
    sections = [section.settings[:MOST_SETTINGS] for section in comparison.sections]
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
        if (count := len(section.settings)) > MOST_SETTINGS:
            titles.append(f"the best {MOST_SETTINGS} of {count} settings")
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


def critical_differences(across: Across) -> Figure:
    """The mean rank of each setting, the best at the left. A bar joins the dots of settings that
    the data sets cannot tell apart (Demšar 2006, by signed-rank tests: Benavoli et al. 2016)."""
    settings = across.found[:MOST_RANKED]
    ranks = np.array([setting.mean_rank for setting in settings])
    bars = bars_of(settings)
    names_at_left = (len(settings) + 1) // 2
    top = 0.24 * len(bars) + 0.3
    bottom = top + HEIGHT_OF_NAME * names_at_left
    figure = Figure(figsize=(WIDTH_OF_RANKS, bottom + 0.5), layout="constrained")
    axes = figure.subplots()
    low, high = np.floor(ranks.min(initial=1)), np.ceil(ranks.max(initial=2))
    axes.set(xlim=(low, high), ylim=(bottom, 0), yticks=[])
    axes.xaxis.set(ticks_position="top", label_position="top")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"mean rank over {len(across.sets)} data sets")
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    for row, bar in enumerate(bars):
        level = 0.24 * row + 0.2
        axes.plot(ranks[bar], [level] * len(bar), "-o", color="black", linewidth=2.5, markersize=4)
    for place, setting in enumerate(settings):
        rank = ranks[place]
        name = figure_text(across.names[setting.setting])
        name = fill(name, LONGEST_LINE, break_long_words=False)
        if place < names_at_left:
            level = top + HEIGHT_OF_NAME * place
            side, edge, end, label = "right", low, -0.02, f"{name}  {rank:.2f}"
        else:  # The worst setting is on top, so that no two lines cross.
            level = top + HEIGHT_OF_NAME * (len(settings) - 1 - place)
            side, edge, end, label = "left", high, 1.02, f"{rank:.2f}  {name}"
        axes.plot([rank, rank, edge], [0, level, level], color="grey", linewidth=0.8, zorder=0)
        text = axes.text(end, level, label, fontsize=9, ha=side, va="center")
        text.set_transform(axes.get_yaxis_transform())
    return figure


def bars_of(settings: Sequence[OverSets]) -> list[list[int]]:
    """The places of the largest groups of which no pair can be told apart."""
    pairs = combinations(range(len(settings)), 2)
    equal_pairs = [
        (one, other)
        for one, other in pairs
        if not settings[one].pairs[settings[other].setting] < LEVEL  # or nan
    ]
    return sorted(map(sorted, networkx.find_cliques(networkx.Graph(equal_pairs))))


def scores_by_set(comparison: Comparison, across: Across) -> Figure:
    """A row for each data set, a column for each setting; the redder, the further behind the best
    one on that set."""
    order = [setting.setting for setting in across.found[:MOST_RANKED]]
    names = [figure_text(across.names[number]) for number in order]
    scores = across.scores[:, order]
    best = np.nanmax if comparison.higher_is_better else np.nanmin
    behind = np.abs(scores - best(across.scores, 1, keepdims=True))
    size = 3.0 + 0.6 * len(order), 1.6 + 0.26 * len(scores)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    # The reddest of the map is beyond the scale, so that numbers stay legible.
    reddest = 1.7 * np.nanmax(behind) or 1.0
    axes.imshow(behind, cmap="YlOrRd", aspect="auto", vmin=0, vmax=reddest)
    axes.xaxis.set(ticks_position="top")
    axes.set_xticks(range(len(order)), names, rotation=40, ha="left", fontsize=9)
    axes.set_yticks(range(len(scores)), [*map(figure_text, across.sets)], fontsize=9)
    axes.set_xlabel(figure_text(metric_header(comparison.metric)))
    for row, column in np.ndindex(*scores.shape):
        score = float(scores[row, column])
        text = "-" if np.isnan(score) else show(comparison.metric, score)
        axes.text(column, row, text, ha="center", va="center", fontsize=7)
    return figure
