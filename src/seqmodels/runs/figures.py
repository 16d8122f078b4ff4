"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.runs.metrics_file import read_metrics


def learning_curves(metrics_file: Path, picture: Path, metrics: Sequence[str]) -> None:
    """Metrics of training, by some steps and by epoch, and of validation, from a `metrics.csv`;
    over the steps, so that a training of one epoch is a curve too."""
    rows = read_metrics(metrics_file)
    figure = Figure(figsize=(5 * len(metrics), 4), layout="constrained")
    for axes, metric in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True
    ):
        for name, label, style in (
            (f"train/{metric}_step", None, {"alpha": 0.35}),
            (f"train/{metric}", "train", {"linestyle": "--", "marker": "."}),
            (f"validation/{metric}", "validation", {"color": "tab:orange", "marker": "."}),
        ):
            points = [(r["step"], r[name]) for r in rows if name in r]
            if points:
                colour = {"color": "tab:blue", "markersize": 4, **style}
                axes.plot(*zip(*points, strict=True), label=label, **colour)
        axes.set(xlabel="step", ylabel=metric.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:  # none where nothing was logged, as in debug=fast
            axes.legend()
    figure.savefig(picture, dpi=120)
