"""Pictures of a comparison over data sets: mean ranks, and every set with every setting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from textwrap import fill

import networkx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.compare.comparison import Across, Comparison
from seqmodels.compare.statistics import LEVEL, OverSets
from seqmodels.compare.tables import metric_header
from seqmodels.metrics import show
from seqmodels.screen import figure_text

WIDTH = 7.0  # inches: room for a name on each side
ROW = 0.34  # of it
LONG_NAME = 26  # characters, of a line
MOST = 20  # settings in a picture, the best of them


def critical_differences(across: Across) -> Figure:
    """The mean rank of each setting, the best at the left. A bar joins the dots of settings that
    the data sets cannot tell apart (Demšar 2006, by signed-rank tests: Benavoli et al. 2016)."""
    shown = across.found[:MOST]
    bars, ranks = bars_of(shown), np.array([each.mean_rank for each in shown])
    half, top = (len(shown) + 1) // 2, 0.24 * len(bars) + 0.3
    figure = Figure(figsize=(WIDTH, top + ROW * half + 0.5), layout="constrained")
    axes = figure.subplots()
    low, high = np.floor(ranks.min(initial=1)), np.ceil(ranks.max(initial=2))
    axes.set(xlim=(low, high), ylim=(top + ROW * half, 0), yticks=[])
    axes.xaxis.set(ticks_position="top", label_position="top")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"mean rank over {len(across.sets)} data sets")
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    for row, bar in enumerate(bars):
        level = 0.24 * row + 0.2
        axes.plot(ranks[bar], [level] * len(bar), "-o", color="black", linewidth=2.5, markersize=4)
    for place, (each, rank) in enumerate(zip(shown, ranks, strict=True)):
        name = figure_text(across.names[each.setting])
        left, name = place < half, fill(name, LONG_NAME, break_long_words=False)
        level = top + ROW * (place if left else len(shown) - 1 - place)
        side, edge, end = ("right", low, -0.02) if left else ("left", high, 1.02)
        axes.plot([rank, rank, edge], [0, level, level], color="grey", linewidth=0.8, zorder=0)
        label = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
        text = axes.text(end, level, label, fontsize=9, ha=side, va="center")
        text.set_transform(axes.get_yaxis_transform())
    return figure


def bars_of(found: Sequence[OverSets]) -> list[list[int]]:
    """The places of the largest groups of which no pair can be told apart."""
    pairs = combinations(range(len(found)), 2)
    equal = [(n, m) for n, m in pairs if not found[n].pairs[found[m].setting] < LEVEL]  # or nan
    return sorted(map(sorted, networkx.find_cliques(networkx.Graph(equal))))


def scores_by_set(comparison: Comparison, across: Across) -> Figure:
    """A row for each data set, a column for each setting; the redder, the further behind the best
    one on that set."""
    order = [each.setting for each in across.found[:MOST]]
    scores, names = across.scores[:, order], [figure_text(across.names[n]) for n in order]
    best = np.nanmax if comparison.higher_is_better else np.nanmin
    behind = np.abs(scores - best(across.scores, 1, keepdims=True))
    size = 3.0 + 0.6 * len(order), 1.6 + 0.26 * len(scores)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    light = 1.7 * np.nanmax(behind) or 1.0  # so that numbers are legible
    axes.imshow(behind, cmap="YlOrRd", aspect="auto", vmin=0, vmax=light)
    axes.xaxis.set(ticks_position="top")
    axes.set_xticks(range(len(order)), names, rotation=40, ha="left", fontsize=9)
    axes.set_yticks(range(len(scores)), [*map(figure_text, across.sets)], fontsize=9)
    axes.set_xlabel(figure_text(metric_header(comparison.metric)))
    for row, column in np.ndindex(*scores.shape):
        score = float(scores[row, column])
        cell = "-" if np.isnan(score) else show(comparison.metric, score)
        axes.text(column, row, cell, ha="center", va="center", fontsize=7)
    return figure
