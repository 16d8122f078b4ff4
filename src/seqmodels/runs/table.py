"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqmodels.tasks.metrics import is_share


def metrics_table(
    metrics: Mapping[str, float],
    title: str,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> Group:
    """A row for each metric: accuracies and F1 in per cent, others as they are.

    Args:
        baselines: metric -> what gives it -> value.
    """
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, _shown(name, value))
    for metric, rows in (baselines or {}).items():
        table.add_section()
        for name, value in rows.items():
            table.add_row(f"{metric} of {name}", _shown(metric, value), style="dim")
    return Group(Text(title, style="bold"), table)


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if is_share(name) else f"{value:.4f}"


def results_table(result: Mapping[str, Any]) -> Group:
    """A finished run's test metrics (those of validation, if it was not tested) beside what little
    would do on the same split."""
    [speed] = [name for name in result if name.endswith("_per_second")]
    metrics = result["metrics"]
    return metrics_table(
        {name: value for name, value in metrics.items() if name.startswith("test/")} or metrics,
        f"{result['data']}, {result['head']} reads {' and '.join(result['reads'])}: "
        f"{result['seconds']['fit']:.1f} s, {result[speed]:,.0f} {speed.partition('_')[0]}/s",
        result["baselines"],
    )
