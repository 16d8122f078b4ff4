"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.runs.metrics_file import read_metrics


def learning_curves(metrics_file: Path, picture: Path, metrics: Sequence[str]) -> None:
    """Metrics by epoch, counted from 0, training and validation, from a `metrics.csv`."""
    rows = read_metrics(metrics_file)
    figure = Figure(figsize=(5 * len(metrics), 4), layout="constrained")
    for axes, metric in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True
    ):
        for stage, style in (("train", "--"), ("validation", "-")):
            points = [(r["epoch"], r[n]) for r in rows if (n := f"{stage}/{metric}") in r]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=stage, marker=".", markersize=4)
        axes.set(xlabel="epoch", ylabel=metric.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        if axes.lines:  # none where nothing was logged, as in debug=fast
            axes.legend()
    figure.savefig(picture, dpi=120)
