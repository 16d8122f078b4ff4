"""A comparison as a table: for a terminal, for a README, for a program."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqmodels.compare.comparison import Comparison, Setting
from seqmodels.tasks.metrics import is_share


def shown(metric: str, value: float) -> str:
    """Accuracies and F1 in per cent, others as they are."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:.2f}" if is_share(metric) else f"{value:.4f}"


def columns_of(comparison: Comparison) -> list[str]:
    """What stands above `row_of`."""
    return [
        *(key.removeprefix("model.") for key in comparison.keys),
        "runs",
        mean_of(comparison),
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


def overview(comparison: Comparison) -> list[list[str]]:
    """The mean of each setting on each of several data sets, the best setting first; with a header.
    Nothing for one data set."""
    if len(comparison.sections) == 1:
        return []
    means: dict[str, dict[str, float]] = {}
    for section in comparison.sections:
        for setting in section.settings:
            means.setdefault(setting.name, {})[section.data] = setting.summary.mean
    overall = {name: math.fsum(values.values()) / len(values) for name, values in means.items()}
    names = sorted(overall, key=overall.__getitem__, reverse=is_share(comparison.metric))
    rows = [
        [section.data]
        + [shown(comparison.metric, means[name].get(section.data, math.nan)) for name in names]
        for section in comparison.sections
    ]
    return [[mean_of(comparison), *names], *rows]


def mean_of(comparison: Comparison) -> str:
    """The metric with its unit."""
    return comparison.metric + (", %" if is_share(comparison.metric) else "")


def comparison_table(comparison: Comparison) -> Group:
    """For a terminal."""
    parts: list[Any] = []
    for section in comparison.sections:
        table = _table(columns_of(comparison), len(comparison.keys))
        for setting in section.settings:
            style = "bold green" if setting.difference is None else None
            table.add_row(*row_of(comparison, setting), style=style)
        parts += [Text(section.data, style="bold"), table]
        parts.append(Text(section.verdict() + "\n"))
    if rows := overview(comparison):
        table = _table(["", *rows[0][1:]], 1)
        for row in rows[1:]:
            table.add_row(*row)
        parts += [Text(f"all data sets: {rows[0][0]}", style="bold"), table]
    parts += [Text(line, style="yellow") for line in cautions(comparison)]
    parts += [Text(line, style="red") for line in failures(comparison)]
    if comparison.failed:
        count = sum(len(setting.records) for s in comparison.sections for setting in s.settings)
        parts.append(
            Text(f"{len(comparison.failed)} of {count + len(comparison.failed)} runs failed")
        )
    return Group(*parts)


def _table(columns: Sequence[str], names: int) -> Table:
    """Of so many columns of names, which are folded where the terminal is narrow, then numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for number, column in enumerate(columns):
        if number < names:
            table.add_column(column, overflow="fold")
        else:
            header = re.sub(r"(?<=\w)[/_]|, |(?<!\d) ", lambda m: m[0].strip() + "\n", column)
            header = header.replace("parameters", "param-\neters")
            table.add_column(header, justify="right", no_wrap=True)
    return table


def cautions(comparison: Comparison) -> list[str]:
    """What the tables do not show."""
    lines = []
    if comparison.others:
        others = "; ".join(comparison.others)
        lines.append(f"these runs also differ in other things, which counts: {others}")
    if left_out := comparison.left_out:
        folders = ", ".join(str(record.folder) for record in left_out[:3])
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        lines.append(f"left out, without a finite {comparison.metric}: {folders}{more}")
    return lines


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
    if rows := overview(comparison):
        lines += [*_head(rows[0], 1), *(_line(row) for row in rows[1:]), ""]
    for section in comparison.sections:
        lines += [f"**{section.data}**", "", *_head(columns_of(comparison), len(comparison.keys))]
        lines += [_line(row_of(comparison, setting)) for setting in section.settings]
        lines += ["", section.verdict() + ".", ""]
    lines += [f"- {line}" for line in (*cautions(comparison), *failures(comparison))]
    return "\n".join(lines).rstrip() + "\n"


def _head(columns: Sequence[str], names: int) -> list[str]:
    return [_line(columns), _line(["---"] * names + ["---:"] * (len(columns) - names))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def as_csv(comparison: Comparison) -> str:
    """A row for each setting, numbers as they are."""
    file = io.StringIO()
    writer = csv.writer(file)
    costs = ["parameters", "per_second", "seconds"]
    against = ["difference_to_best", "shared_seeds", "p", "seeds_needed"]
    moments = ["runs", "metric", "mean", "deviation", "interval"]
    writer.writerow(["data", *comparison.data_keys, *comparison.keys, *moments, *against, *costs])
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
            what = [section.data, *section.values, *setting.values]
            writer.writerow([*what, len(setting.records), comparison.metric, *numbers])
    return file.getvalue()
