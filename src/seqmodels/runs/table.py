"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqmodels.tasks.metrics import show, unit


def metrics_table(
    metrics: Mapping[str, float],
    title: str,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> Group:
    """One row per metric, in the metric's unit; an unknown metric is a plain number.

    Args:
        metrics: value by name; shares such as an accuracy from 0 to 1.
        title: printed above the table.
        baselines: metric -> name of the baseline -> value.
    """
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, _with_unit(name, value))
    for metric, rows in (baselines or {}).items():
        table.add_section()
        for name, value in rows.items():
            table.add_row(f"{metric} of {name}", _with_unit(metric, value), style="dim")
    return Group(Text(title, style="bold"), table)


def _with_unit(name: str, value: float) -> str:
    return f"{show(name, value)} {unit(name)}".rstrip()


def results_table(result: Mapping[str, Any]) -> Group:
    """The test metrics of a finished run beside simple baselines on the same split.

    Args:
        result: the content of `result.json`. Without test metrics, all others are shown.
    """
    [speed] = [name for name in result if name.endswith("_per_second")]
    metrics = result["metrics"]
    return metrics_table(
        {name: value for name, value in metrics.items() if name.startswith("test/")} or metrics,
        f"{result['data']}, {result['head']} reads {' and '.join(result['reads'])}: "
        f"{result['seconds']['fit']:.1f} s, {result[speed]:,.0f} {speed.partition('_')[0]}/s",
        result["baselines"],
    )
