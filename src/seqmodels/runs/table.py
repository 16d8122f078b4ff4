"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqmodels.tasks.metrics import show_with_unit, without_split


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
