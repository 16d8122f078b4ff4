"""Draws the tags of some series of the test split, as they are and as they were predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from seqmodels.screen import figure_text

COUNT, MOST = 3, 20  # series; colours that can be told apart


def draw_tags(rows: Sequence[Any], names: Sequence[str], tags: Sequence[str]) -> Figure:
    """For each row two bars, a colour for each tag: its true tags above those predicted.

    Args:
        rows: `(true, predicted)`, numbers of tags `(T,)` each; a step below 0 has none.
        names: of the rows.
    """
    colours = colormaps["tab10" if len(tags) <= 10 else "tab20"]
    figure = Figure(figsize=(11, 1.3 * len(rows) + 0.8), layout="constrained")
    grid = figure.subplots(len(rows), 1, squeeze=False).flatten()
    for axes, bars, name in zip(grid, rows, names, strict=True):
        shown = np.ma.masked_less(np.stack(bars), 0)
        axes.imshow(shown, colours, aspect="auto", vmin=-0.5, vmax=colours.N - 0.5, origin="upper")
        axes.set_yticks([0, 1], ["true", "predicted"])
        axes.set_title(figure_text(name, most=50), fontsize="medium")
    grid[-1].set_xlabel("step")
    legend = [
        Patch(color=colours(n), label=figure_text(tag, most=20)) for n, tag in enumerate(tags)
    ]
    figure.legend(handles=legend, loc="outside upper center", ncols=min(len(legend), 8))
    return figure
