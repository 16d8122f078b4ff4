"""A comparison as a table: for a terminal, for a README, for a program."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqmodels.compare.columns import cautions, failures, overview, raw_table, table
from seqmodels.compare.comparison import Comparison


def comparison_table(comparison: Comparison) -> Group:
    """For a terminal: a table and a verdict per data set, an overview, and what to keep in mind."""
    parts: list[Any] = []
    for section in comparison.sections:
        rows = table(comparison, section)
        shown = _rich_table(rows, names=len(comparison.keys), best_first=True)
        parts += [Text(section.data, style="bold"), shown, Text(section.verdict() + "\n")]
    if rows := overview(comparison):
        parts += [Text(f"all data sets: {rows[0][0]}", style="bold")]
        parts += [_rich_table([["", *rows[0][1:]], *rows[1:]], names=1)]
    parts += [Text(line, style="yellow") for line in cautions(comparison)]
    parts += [Text(line, style="red") for line in failures(comparison)]
    if failed := len(comparison.failed):
        done = sum(len(setting.records) for s in comparison.sections for setting in s.settings)
        parts.append(Text(f"{failed} of {done + failed} runs failed"))
    return Group(*parts)


def _rich_table(rows: Sequence[Sequence[str]], names: int, *, best_first: bool = False) -> Table:
    """The first `names` columns are names and fold in a narrow terminal; the others are numbers."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for number, column in enumerate(rows[0]):
        if number < names:
            shown.add_column(column, overflow="fold")
        else:
            # break the header wherever it may be broken, because the numbers below it are short
            header = re.sub(r"(?<=\w)[/_]|, |(?<!\d) ", lambda m: m[0].strip() + "\n", column)
            header = header.replace("parameters", "param-\neters")
            shown.add_column(header, justify="right", no_wrap=True)
    for number, row in enumerate(rows[1:]):
        shown.add_row(*row, style="bold green" if best_first and number == 0 else None)
    return shown


def as_markdown(comparison: Comparison) -> str:
    """For a README: an overview, a table and a verdict per data set, and what to keep in mind."""
    lines: list[str] = []
    if rows := overview(comparison):
        lines += [*_markdown_table(rows, names=1), ""]
    for section in comparison.sections:
        rows = table(comparison, section)
        lines += [f"**{section.data}**", "", *_markdown_table(rows, names=len(comparison.keys))]
        lines += ["", section.verdict(), ""]
    lines += [f"- {line}" for line in (*cautions(comparison), *failures(comparison))]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(rows: Sequence[Sequence[str]], names: int) -> list[str]:
    first, *others = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    ]
    alignment = ["---"] * names + ["---:"] * (len(rows[0]) - names)
    return [first, f"| {' | '.join(alignment)} |", *others]


def as_csv(comparison: Comparison) -> str:
    """For a program: one row per setting and data set, numbers unrounded."""
    file = io.StringIO()
    csv.writer(file).writerows(raw_table(comparison))
    return file.getvalue()
