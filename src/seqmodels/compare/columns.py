"""What a comparison shows: its columns, in one place for every table, and the lines around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seqmodels.compare.comparison import Comparison, Section, Setting, mean
from seqmodels.tasks.metrics import show, unit


@dataclass(frozen=True)
class Column:
    """One number of each setting.

    Args:
        name: its header in `comparison.csv`.
        value: the number, unrounded.
        header: its header in the tables that people read; None to leave it out of them.
        text: the number as those tables show it.
    """

    name: str
    value: Callable[[Setting], Any]
    header: str | None = None
    text: Callable[[Setting], str] = str


def columns(comparison: Comparison) -> list[Column]:
    """All columns of numbers, in order. Those of keys come before them."""
    metric = comparison.metric

    def number(value: float) -> str:
        return "-" if math.isnan(value) else show(metric, value)

    return [
        Column("runs", lambda s: len(s.records), "runs", lambda s: str(len(s.records))),
        Column("metric", lambda s: metric),
        Column(
            "mean",
            lambda s: s.summary.mean,
            metric_header(metric),
            lambda s: number(s.summary.mean),
        ),
        Column(
            "deviation", lambda s: s.summary.deviation, "sd", lambda s: number(s.summary.deviation)
        ),
        Column(
            "interval", lambda s: s.summary.interval, "± 95 %", lambda s: number(s.summary.interval)
        ),
        Column(
            "difference_to_best",
            lambda s: s.difference.mean if s.difference else 0.0,
            "to best",
            lambda s: number(s.difference.mean) if s.difference else "",
        ),
        Column("shared_seeds", lambda s: s.difference.shared if s.difference else len(s.scores)),
        Column("p", lambda s: s.difference.p if s.difference else "", "p", _p_value),
        Column("seeds_needed", lambda s: (s.difference and s.difference.seeds_needed) or ""),
        Column("parameters", lambda s: s.parameters, "parameters", lambda s: f"{s.parameters:,}"),
        Column("per_second", lambda s: s.per_second, "/s", lambda s: f"{s.per_second:,.0f}"),
        Column("seconds", lambda s: s.seconds, "s", lambda s: f"{s.seconds:.1f}"),
    ]


def _p_value(setting: Setting) -> str:
    if setting.difference is None:
        return ""
    p = setting.difference.p
    return "-" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def metric_header(metric: str) -> str:
    """The metric's name with its unit: `test/accuracy, %`."""
    return f"{metric}, {unit(metric)}" if unit(metric) else metric


def header(comparison: Comparison) -> list[str]:
    """The first row of a table that people read: keys, then numbers."""
    keys = [key.removeprefix("model.") for key in comparison.keys]
    return keys + [column.header for column in columns(comparison) if column.header]


def cells(comparison: Comparison, setting: Setting) -> list[str]:
    """The row of a setting, below `header`."""
    shown = [column for column in columns(comparison) if column.header]
    return [*map(str, setting.values), *(column.text(setting) for column in shown)]


def table(comparison: Comparison, section: Section) -> list[list[str]]:
    """The header and a row per setting, the best first, as terminal, Markdown and page show it."""
    return [header(comparison), *(cells(comparison, setting) for setting in section.settings)]


def raw_table(comparison: Comparison) -> list[list[Any]]:
    """The header and a row per setting on each data set, with every number unrounded."""
    numbers = columns(comparison)
    names = [column.name for column in numbers]
    rows: list[list[Any]] = [["data", *comparison.data_keys, *comparison.keys, *names]]
    for section in comparison.sections:
        for setting in section.settings:
            values = [column.value(setting) for column in numbers]
            rows.append([section.data, *section.values, *setting.values, *values])
    return rows


def overview(comparison: Comparison) -> list[list[str]]:
    """The header and a row per data set: the mean of each setting on it, the best setting first.

    Empty for a single data set.
    """
    if len(comparison.sections) == 1:
        return []
    metric = comparison.metric
    means: dict[str, dict[str, float]] = {}
    for section in comparison.sections:
        for setting in section.settings:
            means.setdefault(setting.name, {})[section.data] = setting.summary.mean
    overall = {name: mean(by_data.values()) for name, by_data in means.items()}
    names = sorted(overall, key=overall.__getitem__, reverse=comparison.higher_is_better)

    def row(data: str) -> list[str]:
        return [show(metric, means[n][data]) if data in means[n] else "-" for n in names]

    rows = [[section.data, *row(section.data)] for section in comparison.sections]
    return [[metric_header(metric), *names], *rows]


def cautions(comparison: Comparison) -> list[str]:
    """What to keep in mind when you read the tables."""
    lines = []
    if comparison.others:
        lines.append(f"caution: the runs also differ in {', '.join(comparison.others)}")
    if left_out := comparison.left_out:
        folders = ", ".join(str(record.folder) for record in left_out[:3])
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        lines.append(
            f"left out, because {comparison.metric} is missing or not finite: {folders}{more}"
        )
    return lines


def failures(comparison: Comparison) -> list[str]:
    """A line for each run that did not complete: its status, its folder and its error."""
    return [
        f"{record.result['status']}: {record.folder}"
        + (f" ({error})" if (error := record.result.get("error")) else "")
        for record in comparison.failed
    ]
