"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.runs.metrics_file import read_metrics


def learning_curves(metrics_file: Path, picture: Path, metrics: Sequence[str]) -> None:
    """Metrics by epoch, training and validation, from a `metrics.csv`."""
    rows = read_metrics(metrics_file)
    figure = Figure(figsize=(5 * len(metrics), 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics)), metrics, strict=True):
        for stage, style in (("train", "--"), ("validation", "-")):
            points = [(r["epoch"] + 1, r[n]) for r in rows if (n := f"{stage}/{metric}") in r]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=stage, marker=".", markersize=4)
        axes.set(xlabel="epoch", ylabel=metric.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:  # none where nothing was logged, as in debug=fast
            axes.legend()
    figure.savefig(picture, dpi=120)


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], picture: Path) -> None:
    """How often each true class (row) was taken for each class (column).

    Args:
        counts: `(C, C)` integers.
    """
    side = min(max(4.0, 0.45 * len(classes) + 2), 20)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    ticks = np.arange(len(classes))
    axes.set_xticks(ticks, classes, rotation=90 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix, test part")
    if len(classes) <= 30:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    figure.savefig(picture, dpi=120)
