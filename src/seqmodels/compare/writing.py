"""Write a comparison into files: its tables, and pictures of its runs, of the mean ranks over data
sets, and of every set with every setting."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
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

# A picture of runs shows so many settings of a data set at most, the best of them.
MOST_SETTINGS = 40
# A picture of this width, in inches, can be read on a phone, and a screen has room for two.
WIDTH = 5.5
# A picture of mean ranks shows so many settings at most, and is wider, in inches: it has names on
# both sides.
MOST_RANKED = 20
WIDTH_OF_RANKS = 7.0
HEIGHT_OF_NAME = 0.34  # inches
LONGEST_LINE = 26  # characters; a longer name has several lines
HEIGHT_OF_BAR = 0.24  # inches, from one bar to the next


@dataclass(frozen=True)
class _Picture:
    """A picture of a comparison, and the file that it is written to."""

    title: str
    path: Path
    figure: Figure


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md` and a picture, `.png`; of several data sets, also
    `comparison_ranks.png` and `comparison_sets.png`. Replaces older ones, and returns their paths.
    Beside a comparison by another metric, their names end in the metric, as
    `comparison_test_macro_f1.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    name = _name(comparison, folder)
    pictures = [_Picture("Every run", folder / f"{name}.png", compared_runs(comparison))]
    across = comparison.across
    if across:
        ranks = critical_differences(across)
        pictures.append(_Picture("Mean ranks over data sets", folder / f"{name}_ranks.png", ranks))
        scores = scores_by_set(
            across, comparison.metric, higher_is_better=comparison.higher_is_better
        )
        pictures.append(_Picture("Every data set", folder / f"{name}_sets.png", scores))

    csv_path = folder / f"{name}.csv"
    write_text(csv_path, as_csv(comparison))
    markdown = as_markdown(comparison)
    for picture in pictures:
        markdown += f"\n![{picture.title}]({picture.path.name})\n"
    markdown_path = folder / f"{name}.md"
    write_text(markdown_path, markdown)
    for picture in pictures:
        write_figure(picture.path, picture.figure, dpi=160)
    return [csv_path, markdown_path, *(picture.path for picture in pictures)]


def _name(comparison: Comparison, folder: Path) -> str:
    """What the files' names begin with: `comparison`, unless the folder holds one by another
    metric."""
    path = folder / "comparison.csv"
    if not path.is_file():
        return "comparison"
    # A file that is no table is not ours, and is kept.
    with suppress(csv.Error), path.open(newline="", encoding="utf-8", errors="replace") as file:
        first_row = next(csv.DictReader(file), {})
        if first_row.get("metric") == comparison.metric:
            return "comparison"
    metric = re.sub(r"[^A-Za-z0-9]+", "_", comparison.metric)
    return f"comparison_{metric[:80]}"


def compared_runs(comparison: Comparison) -> Figure:
    """A dot per run, and the mean of each setting with its 95 % interval, which ends where the
    metric does, at 0 and 100 %; the best on top."""
    settings_by_section = [section.settings[:MOST_SETTINGS] for section in comparison.sections]
    heights = [0.6 + 0.42 * len(settings) for settings in settings_by_section]  # inches
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
    is_share = unit(comparison.metric) == "%"
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights, sharex=is_share)
    names = sorted({setting.name for setting in comparison.settings})
    colours = {name: f"C{number % 10}" for number, name in enumerate(names)}
    for number, section in enumerate(comparison.sections):
        axes = grid[number, 0]
        settings = settings_by_section[number]
        for row, setting in enumerate(settings):
            _draw_setting(axes, setting, row, colours[setting.name], comparison)
        axes.set_yticks([])
        axes.set_ylim(len(settings) - 0.5, -0.75)
        titles = list[str]()
        if len(comparison.sections) > 1:
            titles.append(section.data)
        if len(section.settings) > MOST_SETTINGS:
            titles.append(f"the best {MOST_SETTINGS} of {len(section.settings)} settings")
        axes.set_title(figure_text(": ".join(titles)), fontsize=10, loc="left")
        axes.spines[["left", "top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
    label = figure_text(metric_header(comparison.metric))
    grid[-1, 0].set_xlabel(f"{label}\ndots: runs; bars: mean with its 95 % interval")
    return figure


def _draw_setting(
    axes: Axes, setting: Setting, row: int, colour: str, comparison: Comparison
) -> None:
    """Draws a row: the runs of a setting, their mean with its interval, and the setting's name."""
    is_share = unit(comparison.metric) == "%"
    factor = 100 if is_share else 1
    scores = [factor * score for score in setting.scores.values()]
    axes.plot(scores, [row] * len(scores), ".", color=colour, alpha=0.5, markersize=8)

    mean = setting.summary.mean
    lengths = None  # how far the bar reaches to the left and to the right of the mean
    if not math.isnan(setting.summary.interval):
        low = mean - setting.summary.interval
        high = mean + setting.summary.interval
        if is_share:
            low = max(low, 0.0)
        if is_share and comparison.higher_is_better:  # An error rate may be larger than 1.
            high = min(high, 1.0)
        lengths = [[factor * (mean - low)], [factor * (high - mean)]]
    axes.errorbar(factor * mean, row, xerr=lengths, fmt="|", color=colour, capsize=4, ms=12)

    # The name stands above the interval, not beside it, so that it takes no room from the axes.
    weight = "normal" if setting.difference else "bold"
    name = axes.text(0, row - 0.22, figure_text(setting.name), fontsize=9, fontweight=weight)
    name.set(transform=axes.get_yaxis_transform(), verticalalignment="bottom")


def critical_differences(across: Across) -> Figure:
    """The mean rank of each setting, the best at the left. A bar joins the dots of settings that
    the data sets cannot tell apart (Demšar 2006, by signed-rank tests: Benavoli et al. 2016)."""
    settings = across.ranked[:MOST_RANKED]
    ranks = np.array([setting.mean_rank for setting in settings])
    bars = bars_of(settings)
    names_at_left = (len(settings) + 1) // 2
    # The names begin below the bars.
    top = HEIGHT_OF_BAR * len(bars) + 0.3
    bottom = top + HEIGHT_OF_NAME * names_at_left
    figure = Figure(figsize=(WIDTH_OF_RANKS, bottom + 0.5), layout="constrained")
    axes = figure.subplots()
    low = np.floor(ranks.min(initial=1))
    high = np.ceil(ranks.max(initial=2))
    axes.set(xlim=(low, high), ylim=(bottom, 0), yticks=[])
    axes.xaxis.set(ticks_position="top", label_position="top")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"mean rank over {len(across.sets)} data sets")
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    for row, bar in enumerate(bars):
        level = HEIGHT_OF_BAR * row + 0.2
        [line] = axes.plot(ranks[bar], [level] * len(bar), "-o", color="black", linewidth=2.5)
        line.set(markersize=4, clip_on=False)  # A dot may lie on the edge.
    for number, setting in enumerate(settings):
        name = figure_text(across.names[setting.setting])
        name = fill(name, LONGEST_LINE, break_long_words=False)
        if number < names_at_left:
            level = top + HEIGHT_OF_NAME * number
            _write_rank(axes, name, ranks[number], level, edge=low, is_at_left=True)
        else:  # The worst setting is on top, so that no two lines cross.
            level = top + HEIGHT_OF_NAME * (len(settings) - 1 - number)
            _write_rank(axes, name, ranks[number], level, edge=high, is_at_left=False)
    return figure


def _write_rank(
    axes: Axes, name: str, rank: float, level: float, *, edge: float, is_at_left: bool
) -> None:
    """Draws a line from a rank on the axis down to a level and on to the edge of the picture, and
    writes the setting's name behind the edge, with its rank."""
    axes.plot([rank, rank, edge], [0, level, level], color="grey", linewidth=0.8, zorder=0)
    if is_at_left:
        text = axes.text(-0.02, level, f"{name}  {rank:.2f}", fontsize=9, ha="right", va="center")
    else:
        text = axes.text(1.02, level, f"{rank:.2f}  {name}", fontsize=9, ha="left", va="center")
    text.set_transform(axes.get_yaxis_transform())  # the width is 1, heights are levels


def bars_of(settings: Sequence[OverSets]) -> list[list[int]]:
    """The largest groups of which no pair can be told apart, as places in `settings`."""
    equal_pairs = list[tuple[int, int]]()
    for first, second in combinations(range(len(settings)), 2):
        p = settings[first].pairs[settings[second].setting]
        if math.isnan(p) or p >= LEVEL:
            equal_pairs.append((first, second))
    groups = networkx.find_cliques(networkx.Graph(equal_pairs))
    return sorted(sorted(group) for group in groups)


def scores_by_set(across: Across, metric: str, *, higher_is_better: bool) -> Figure:
    """A row for each data set, a column for each setting; the redder, the further behind the best
    one on that set."""
    columns = [setting.setting for setting in across.ranked[:MOST_RANKED]]
    names = [figure_text(across.names[column]) for column in columns]
    scores = across.scores[:, columns]
    best_scores = np.nanmin(across.scores, axis=1, keepdims=True)  # (N, 1)
    if higher_is_better:
        best_scores = np.nanmax(across.scores, axis=1, keepdims=True)
    distances = np.abs(scores - best_scores)

    width = 3.0 + 0.6 * len(columns)
    height = 1.6 + 0.26 * len(scores)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    # The reddest of the map is beyond the scale, so that numbers stay legible.
    reddest = 1.7 * np.nanmax(distances) or 1.0
    axes.imshow(distances, cmap="YlOrRd", aspect="auto", vmin=0, vmax=reddest)
    axes.xaxis.set(ticks_position="top")
    axes.set_xticks(range(len(columns)), names, rotation=40, ha="left", fontsize=9)
    set_names = [figure_text(name) for name in across.sets]
    axes.set_yticks(range(len(scores)), set_names, fontsize=9)
    axes.set_xlabel(figure_text(metric_header(metric)))
    for row, column in np.ndindex(*scores.shape):
        score = float(scores[row, column])
        text = "-" if np.isnan(score) else show(metric, score)
        axes.text(column, row, text, ha="center", va="center", fontsize=7)
    return figure
