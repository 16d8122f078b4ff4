"""What a run shows at its end: a table of its metrics, and its learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqmodels.engine.metrics import show_with_unit, without_split
from seqmodels.runs.metrics_file import read_metrics


def metrics_table(
    metrics: Mapping[str, float],
    title: str,
    baselines: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Group:
    """A row per metric and a column per split, in the metric's unit; an unknown metric is a plain
    number. Beneath each metric are its baselines.

    Args:
        metrics: value by name, such as `test/accuracy`; shares such as an accuracy from 0 to 1.
        title: printed above the table.
        baselines: metric -> name of the baseline -> value; None: it was left out.
    """
    baselines = baselines or {}
    splits = list(dict.fromkeys(name.rpartition("/")[0] for name in metrics))
    table = Table()
    table.add_column("metric")
    for split in splits:
        table.add_column(split or "value", justify="right", no_wrap=True)
    for short in dict.fromkeys(map(without_split, metrics)):
        names = [f"{split}/{short}".lstrip("/") for split in splits]
        table.add_row(short, *(_cell(name, metrics.get(name)) for name in names))
        rows = [baselines.get(name, {}) for name in names]
        for baseline in dict.fromkeys(baseline for row in rows for baseline in row):
            values = zip(names, (row.get(baseline) for row in rows), strict=True)
            cells = (_cell(name, value) for name, value in values)
            table.add_row(f"  {baseline}", *cells, style="dim")
    return Group(Text(title, style="bold"), table)


def _cell(name: str, value: float | None) -> str:
    return "" if value is None else show_with_unit(name, value)


def results_table(result: Mapping[str, Any]) -> Group:
    """The metrics of a finished run on validation and test, beside simple baselines on the same
    splits, and its verdict.

    Args:
        result: the content of `result.json`.
    """
    [speed] = [name for name in result if name.endswith("_per_second")]
    table = metrics_table(
        result["metrics"],
        f"{result['data']}, {result['head']} reads {' and '.join(result['reads'])}: "
        f"{result['seconds']['fit']:.1f} s{' since its resume' if result.get('resumed') else ''}, "
        f"{result[speed]:,.0f} {speed.partition('_')[0]}/s",
        result["baselines"],
    )
    return Group(table, *map(Text, result.get("verdict", ())))


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
