"""Quality and cost: which settings does nothing beat in both?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from seqmodels.compare.comparison import Comparison, Section
from seqmodels.compare.figures import colours, new_figure, set_title
from seqmodels.compare.records import Record
from seqmodels.compare.tables import metric_header
from seqmodels.engine.metrics import unit
from seqmodels.screen import figure_text

COSTS: Mapping[str, Callable[[Record], float]] = {
    "seconds of training": lambda record: record.seconds,
    "parameters": lambda record: float(record.parameters),
}
Point = tuple[float, float]  # a cost and the metric


def unbeaten(points: Mapping[int, Point], *, higher_is_better: bool) -> list[int]:
    """The numbers of the points that no other beats, the cheapest first (the Pareto front).

    A point beats another one if its metric is better at the same cost or less, or as good at less.
    """
    sign = -1 if higher_is_better else 1
    keys = {number: (cost, sign * metric) for number, (cost, metric) in points.items()}
    front: list[int] = []
    for number in sorted(keys, key=keys.__getitem__):
        cheaper = keys[front[-1]] if front else (math.nan, math.inf)  # the best one so far
        if keys[number][1] < cheaper[1] or keys[number] == cheaper:
            front.append(number)
    return front


def compared_costs(comparison: Comparison) -> Figure:
    """The metric against seconds of training and against parameters: a large dot for the means of a
    setting, small ones for its runs; a number and a name where nothing beats it in both.

    Leaves out settings with a run that doesn't say what it cost, as a resumed one doesn't, and the
    parameters where all settings on the data have as many.
    """
    panels = [
        (section, cost, points, unbeaten(points, higher_is_better=comparison.higher_is_better))
        for section in comparison.sections
        for cost in COSTS
        for points in [_points(comparison, section, cost)]
        if cost != "parameters" or len({count for count, _ in points.values()}) != 1
    ]
    heights = [height for *_, front in panels for height in (2.8, 0.45 + 0.2 * len(front))]
    figure = new_figure(sum(heights) + 0.5)
    grid = figure.subplots(len(heights), 1, height_ratios=heights)
    for panel, axes, below in zip(panels, grid[::2], grid[1::2], strict=True):
        _draw(axes, below, comparison, *panel)
    return figure


def _points(comparison: Comparison, section: Section, cost: str) -> dict[int, Point]:
    """The mean cost and metric of each setting whose cost is known, by its number."""
    factor = 100 if unit(comparison.metric) == "%" else 1
    points = {}
    for number, setting in enumerate(section.settings):
        costs = [COSTS[cost](record) for record in setting.records]
        if all(0 < value < math.inf for value in costs):
            points[number] = (fmean(costs), factor * setting.summary.mean)
    return points


def _draw(
    axes: Axes,
    below: Axes,
    comparison: Comparison,
    section: Section,
    cost: str,
    points: Mapping[int, Point],
    front: Sequence[int],
) -> None:
    """Draws one cost on one data set, and below it the names on its front."""
    of_setting = colours(comparison)
    factor = 100 if unit(comparison.metric) == "%" else 1
    labels: dict[Point, int] = {}  # settings of the same cost and metric share one
    for number in front:
        labels.setdefault(points[number], len(labels) + 1)
    names = [f"{labels[points[number]]}  {section.settings[number].name}" for number in front]
    rings = {}
    for number, point in points.items():
        setting = section.settings[number]
        colour = of_setting[id(setting)]
        costs = [COSTS[cost](record) for record in setting.records]
        scores = [factor * record.score(comparison.metric) for record in setting.records]
        axes.plot(costs, scores, ".", color=colour, alpha=0.35, markersize=5)
        if number not in front:
            axes.plot(*point, "o", color=colour, markersize=7)
            continue
        edge = mpl.rcParams["text.color"]
        [rings[number]] = axes.plot(*point, "o", color=colour, markersize=13, markeredgecolor=edge)
        text = str(labels[point])
        axes.annotate(text, point, color="w", size=8, weight="bold", ha="center", va="center")
    line = [[points[number][axis] for number in front] for axis in (0, 1)]
    axes.plot(*line, "--", color="#6b7280", zorder=1)
    set_title(axes, comparison, section, len(section.settings))
    axes.set(xlabel=cost, ylabel=figure_text(metric_header(comparison.metric)))
    axes.grid(alpha=0.3)
    known = [cost for cost, _ in points.values()]
    if known and max(known) > 10 * min(known):
        axes.set_xscale("log")
        wide = max(known) > 100 * min(known)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda cost, _: f"{cost:,g}" if cost < 1e6 else f"{cost:.0e}")
    below.axis("off")
    below.legend(
        [rings[number] for number in front],
        [figure_text(name[:60]) for name in names],
        loc="upper left",
        fontsize=9,
        frameon=False,
        markerscale=0.7,
        alignment="left",
        title="Nothing cheaper is as good as:" if names else "These runs don't say what they cost.",
    )
