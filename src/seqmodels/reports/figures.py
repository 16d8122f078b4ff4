"""Pictures of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqmodels.reports.comparison import Comparison
from seqmodels.reports.metrics_file import read_metrics
from seqmodels.reports.runs import is_share


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


def compared_runs(comparison: Comparison, most: int = 40) -> Figure:
    """A dot for every run, the mean and its 95 % interval; the best setting on top.

    Args:
        most: how many settings of a data set are drawn, the best ones.
    """
    sections = [list(section.settings)[:most] for section in comparison.sections]
    heights = [0.9 + 0.32 * len(settings) for settings in sections]
    figure = Figure(figsize=(8, sum(heights) + 0.3), layout="constrained")
    share = is_share(comparison.metric)
    factor = 100 if share else 1
    grid = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights, sharex=share)
    for axes, settings, section in zip(grid[:, 0], sections, comparison.sections, strict=True):
        for place, setting in enumerate(settings):
            scores = [factor * score for score in setting.scores.values()]
            colour = "#16783a" if setting.difference is None else "#374151"
            axes.plot(scores, [place] * len(scores), ".", color=colour, alpha=0.45, markersize=7)
            interval = setting.summary.interval
            axes.errorbar(
                factor * setting.summary.mean,
                place,
                xerr=None if np.isnan(interval) else factor * interval,
                fmt="|",
                color=colour,
                markersize=14,
                capsize=4,
            )
        axes.set_yticks(range(len(settings)), [setting.name for setting in settings])
        axes.set_ylim(len(settings) - 0.5, -0.5)
        axes.set_title(section.data, fontsize=10, loc="left")
        axes.grid(axis="x", alpha=0.3)
    if share:  # an interval may go beyond what there is
        low, high = grid[0, 0].get_xlim()
        grid[0, 0].set_xlim(max(low, -2), min(high, 102))
    unit = ", %" if factor == 100 else ""
    grid[-1, 0].set_xlabel(f"{comparison.metric}{unit}; dots: runs; bars: mean, 95 % interval")
    return figure


def compared_curves(comparison: Comparison, most: int = 12) -> Figure:
    """The validation loss by epoch, mean over the runs of each setting.

    Args:
        most: how many settings of a data set are drawn, the best ones.
    """
    count = len(comparison.sections)
    figure = Figure(figsize=(8, 3.4 * count), layout="constrained")
    grid = figure.subplots(count, 1, squeeze=False)
    for axes, section in zip(grid[:, 0], comparison.sections, strict=True):
        for setting in list(section.settings)[:most]:
            by_epoch: dict[float, list[float]] = {}
            for record in setting.records:
                for row in read_metrics(record.folder / "metrics.csv"):
                    if "validation/loss" in row:
                        by_epoch.setdefault(row["epoch"] + 1, []).append(row["validation/loss"])
            if by_epoch:
                epochs = sorted(by_epoch)
                means = [float(np.mean(by_epoch[epoch])) for epoch in epochs]
                axes.plot(epochs, means, label=setting.name, marker="." if len(epochs) < 5 else "")
        axes.set_title(section.data, fontsize=10, loc="left")
        axes.set(xlabel="epoch", ylabel="validation loss")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    return figure


def contributions(
    before: np.ndarray,
    after: np.ndarray,
    lengths: Sequence[int],
    picture: Path,
    *,
    backwards: bool,
) -> None:
    """How much each input step counts for the logits: of each row, after training; and on average,
    before and after.

    Args:
        before, after: `(B, T)`: shares; those of a row sum to 1.
        lengths: of the rows.
        backwards: of the last step's logits, as a language model's: counted back from it.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    rows_axes, mean_axes = figure.subplots(1, 2)
    longest, order = max(lengths), np.argsort(lengths)[::-1]
    if backwards:
        before, after = (
            np.stack(
                [np.pad(r[:n][::-1], (0, longest - n)) for r, n in zip(s, lengths, strict=True)]
            )
            for s in (before, after)
        )
    shown = np.where(np.arange(longest) < np.array(lengths)[:, None], after[:, :longest], np.nan)
    # a share of 1 / length is even: so rows of all lengths can be compared
    image = rows_axes.imshow(
        (shown * np.array(lengths)[:, None])[order],
        aspect="auto",
        cmap="Greens",
        norm="log" if backwards else "linear",
        interpolation="nearest",
    )
    figure.colorbar(image, ax=rows_axes, label="times an even share")
    rows_axes.set_yticks(range(len(lengths)), [f"{lengths[row]} steps" for row in order])
    rows_axes.set(title="each sequence, after training")
    if backwards:
        for shares, name, style in ((before, "before", "--"), (after, "after", "-")):
            mean_axes.semilogy(shares.mean(axis=0)[: min(lengths)], style, label=name, marker=".")
        mean_axes.set(ylabel="share of the gradient", title="mean")
        for axes in (rows_axes, mean_axes):
            axes.set_xlabel("steps back from the prediction")
    else:
        grid = np.linspace(0, 1, 50)
        for shares, name, style in ((before, "before", "--"), (after, "after", "-")):
            curves = [
                np.interp(grid, (np.arange(n) + 0.5) / n, row[:n] * n)
                for row, n in zip(shares, lengths, strict=True)
            ]
            mean_axes.plot(100 * grid, np.mean(curves, axis=0), style, label=name)
        mean_axes.axhline(1, color="grey", linewidth=0.8, linestyle=":", label="even")
        mean_axes.set(xlabel="per cent of the way from the first step to the last", title="mean")
        mean_axes.set(ylabel="times an even share", ylim=(0, None))
        rows_axes.set_xlabel("step")
    mean_axes.legend(title="training")
    mean_axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
