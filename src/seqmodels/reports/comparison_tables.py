"""A comparison as a table: for a terminal, for a README, for a program."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqmodels.reports.comparison import Comparison, Setting
from seqmodels.reports.runs import is_share


def shown(metric: str, value: float) -> str:
    """Accuracies and F1 in per cent, others as they are."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:.2f}" if is_share(metric) else f"{value:.4f}"


def columns_of(comparison: Comparison) -> list[str]:
    """What stands above `row_of`."""
    unit = ", %" if is_share(comparison.metric) else ""
    return [
        *(key.removeprefix("model.") for key in comparison.keys),
        "runs",
        comparison.metric + unit,
        "sd",
        "± 95 %",
        "to best",
        "p",
        "parameters",
        "/s",
        "s",
    ]


def row_of(comparison: Comparison, setting: Setting) -> list[str]:
    """A setting in words."""
    summary, difference, metric = setting.summary, setting.difference, comparison.metric
    delta = p = ""
    if difference is not None:
        delta = shown(metric, difference.mean)
        p = "-" if math.isnan(difference.p) else f"{difference.p:.3f}"
        p = "<0.001" if difference.p < 0.001 else p
    return [
        *(str(value) for value in setting.values),
        str(len(setting.records)),
        shown(metric, summary.mean),
        shown(metric, summary.deviation),
        shown(metric, summary.interval),
        delta,
        p,
        f"{setting.parameters:,}",
        f"{setting.per_second:,.0f}",
        f"{setting.seconds:.1f}",
    ]


def comparison_table(comparison: Comparison) -> Group:
    """For a terminal."""
    parts: list[Any] = []
    for section in comparison.sections:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for number, column in enumerate(columns_of(comparison)):
            justify: Literal["left", "right"] = "left" if number < len(comparison.keys) else "right"
            table.add_column(column, justify=justify, no_wrap=number < len(comparison.keys))
        for setting in section.settings:
            style = "bold green" if setting.difference is None else None
            table.add_row(*row_of(comparison, setting), style=style)
        parts += [Text(section.data, style="bold"), table]
        parts.append(Text(section.verdict() + "\n"))
    parts += [Text(line, style="red") for line in failures(comparison)]
    if comparison.failed:
        count = sum(len(setting.records) for s in comparison.sections for setting in s.settings)
        parts.append(
            Text(f"{len(comparison.failed)} of {count + len(comparison.failed)} runs failed")
        )
    return Group(*parts)


def failures(comparison: Comparison) -> list[str]:
    """A line for each run that did not complete."""
    return [
        f"{record.result['status']}: {record.folder}"
        + (f" ({record.result['error']})" if record.result["error"] else "")
        for record in comparison.failed
    ]


def as_markdown(comparison: Comparison) -> str:
    """A table for a README."""
    lines: list[str] = []
    columns = columns_of(comparison)
    for section in comparison.sections:
        rule = ["---"] * len(comparison.keys) + ["---:"] * (len(columns) - len(comparison.keys))
        lines += [f"**{section.data}**", "", _line(columns), _line(rule)]
        lines += [_line(row_of(comparison, setting)) for setting in section.settings]
        lines += ["", section.verdict() + ".", ""]
    lines += [f"- {line}" for line in failures(comparison)]
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def as_csv(comparison: Comparison) -> str:
    """A row for each setting, numbers as they are."""
    file = io.StringIO()
    writer = csv.writer(file)
    costs = ["parameters", "per_second", "seconds"]
    against = ["difference_to_best", "shared_seeds", "p", "seeds_needed"]
    moments = ["runs", "metric", "mean", "deviation", "interval"]
    writer.writerow(["data", *comparison.keys, *moments, *against, *costs])
    for section in comparison.sections:
        for setting in section.settings:
            summary, difference = setting.summary, setting.difference
            numbers: list[Any] = [summary.mean, summary.deviation, summary.interval]
            if difference is None:
                numbers += [0.0, len(setting.scores), "", ""]
            else:
                numbers += [difference.mean, difference.shared, difference.p]
                numbers += ["" if difference.seeds_needed is None else difference.seeds_needed]
            numbers += [setting.parameters, setting.per_second, setting.seconds]
            what = [section.data, *setting.values, len(setting.records), comparison.metric]
            writer.writerow([*what, *numbers])
    return file.getvalue()
