"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


def metrics_table(
    metrics: Mapping[str, float], title: str, baselines: Mapping[str, float] | None = None
) -> Group:
    """A row for each metric: accuracies and F1 in per cent, losses as they are."""
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4f}" if name.endswith("loss") else f"{100 * value:.2f} %")
    if baselines:
        table.add_section()
        for name, value in baselines.items():
            table.add_row(f"accuracy of {name}", f"{100 * value:.2f} %", style="dim")
    return Group(Text(title, style="bold"), table)


def results_table(result: Mapping[str, Any]) -> Group:
    """A finished run's test metrics beside what little would do on the same split."""
    return metrics_table(
        {name: value for name, value in result["metrics"].items() if name.startswith("test/")},
        f"{result['data']}, {result['head']} reads {' and '.join(result['reads'])}: "
        f"{result['seconds']['fit']:.1f} s, {result['examples_per_second']:,.0f} examples/s",
        result["baselines"],
    )
