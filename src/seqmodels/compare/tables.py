"""A comparison as tables: for a terminal, for a README, for a program."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from seqmodels.compare.comparison import Across, Comparison, Section, Setting, enumerated
from seqmodels.compare.runs import LARGEST_SCORE, short_keys, shown_value
from seqmodels.metrics import show, unit
from seqmodels.screen import visible_line

LONG_NAME = 20  # characters; a longer one may fold
# The title of the table over all data sets, where the others have the name of one.
OVER_SETS = "over all data sets"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    header: str
    cells: Sequence[str]  # one for each setting, the best first
    is_name: bool = False  # whether it holds values of a key, which name settings, or numbers
    is_cost: bool = False  # whether a terminal that is too narrow does without it


@dataclass(frozen=True)
class Measure:
    """A number of each setting that a table shows."""

    name: str  # its key in the result of `numbers`
    header: str
    write: Callable[[Any], str]  # how a number becomes the text of a cell
    is_cost: bool = False

    def column(self, settings: Iterable[Mapping[str, Any]]) -> Column:
        """Writes this number of each setting into a column. A cell is empty where there is nothing
        to say, and `-` for nan.

        Args:
            settings: the numbers of each setting by their name.
        """
        cells = list[str]()
        for numbers_of_setting in settings:
            number = numbers_of_setting[self.name]
            if number == "":
                cells.append("")
            elif math.isnan(number):
                cells.append("-")
            else:
                cells.append(self.write(number))
        return Column(self.header, cells, is_cost=self.is_cost)


def numbers(setting: Setting, comparison: Comparison) -> dict[str, Any]:
    """Every number of a setting, unrounded, by its header in `comparison.csv`."""
    difference = setting.difference
    records = setting.records
    row: dict[str, Any] = {
        "runs": len(records),
        "metric": comparison.metric,
        "mean": setting.summary.mean,
        "deviation": setting.summary.deviation,
        "interval": setting.summary.interval,
    }
    if difference:
        row["difference_to_best"] = difference.mean
        row["shared"] = difference.shared
        row["p"] = difference.p
        row["seeds_needed"] = difference.seeds_needed or ""
    else:  # This is the best setting.
        row["difference_to_best"] = 0.0
        row["shared"] = len(setting.scores)
        row["p"] = ""
        row["seeds_needed"] = ""
    if comparison.beside:
        row[comparison.beside] = setting.beside
    row["parameters"] = records[0].parameters
    row["per_second"] = fmean(record.speed[1] for record in records)
    row["seconds"] = fmean(record.training_seconds for record in records)
    return row


def metric_header(metric: str) -> str:
    """The metric's name with its unit, if it has one: `test/accuracy, %`."""
    unit_of_metric = unit(metric)
    if not unit_of_metric:
        return metric
    return f"{metric}, {unit_of_metric}"


def table(comparison: Comparison, section: Section) -> list[Column]:
    """The table of one data set, with a row for each setting, the best first."""
    units = {record.speed[0] for setting in section.settings for record in setting.records}
    unit_of_speed = "/s"  # Runs may count examples or tokens.
    if len(units) == 1:
        unit_of_speed = f"{units.pop()}/s"
    write_score = partial(show, comparison.metric)
    measures = [
        Measure("runs", "runs", str),
        Measure("mean", metric_header(comparison.metric), write_score),
        Measure("deviation", "sd", write_score),
        Measure("interval", "± 95 %", write_score),
        Measure("difference_to_best", "to best", write_score),
        Measure("p", "p", _written_p),
    ]
    if comparison.beside:
        measures.append(Measure(comparison.beside, metric_header(comparison.beside), write_score))
    measures += [
        Measure("parameters", "parameters", "{:,}".format, is_cost=True),
        Measure("per_second", unit_of_speed, "{:,.0f}".format, is_cost=True),
        Measure("seconds", "time, s", "{:.1f}".format, is_cost=True),
    ]
    rows = [numbers(setting, comparison) for setting in section.settings]
    rows[0]["difference_to_best"] = ""  # The best setting differs from itself by nothing.
    values = [setting.values for setting in section.settings]
    columns = _name_columns(comparison.keys, values)
    columns += [measure.column(rows) for measure in measures]
    return columns


def table_over_sets(comparison: Comparison, across: Across) -> list[Column]:
    """The table over all data sets, with a row for each setting, the best first."""
    write_score = partial(show, comparison.metric)
    measures = [
        Measure("sets", "sets", str),
        Measure("mean_rank", "mean rank", "{:.2f}".format),
        Measure("mean", metric_header(comparison.metric), write_score),
        Measure("best_on", "best on", str),
        Measure("median_difference", "median to best", write_score),
        Measure("low", "95 % from", write_score),
        Measure("high", "to", write_score),
        Measure("p", "p", _written_p),
    ]
    rows = [dict(vars(setting)) for setting in across.ranked]
    # The best setting is not compared with itself.
    rows[0].update(median_difference="", low="", high="", p="")
    values = [across.values[setting.setting] for setting in across.ranked]
    columns = _name_columns(comparison.keys, values)
    columns += [measure.column(rows) for measure in measures]
    return columns


def _name_columns(keys: Sequence[str], values: Sequence[Sequence[Any]]) -> list[Column]:
    """A column for each key that tells the settings apart.

    Args:
        values: for each setting, its value of every key.
    """
    columns = list[Column]()
    for number, header in enumerate(short_keys(keys)):
        cells = [shown_value(values_of_setting[number]) for values_of_setting in values]
        columns.append(Column(header, cells, is_name=True))
    return columns


def _written_p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def cautions(comparison: Comparison) -> list[str]:
    """What to keep in mind when you read the tables."""
    lines = list[str]()
    # The shortest names of all keys together, so that no two are alike.
    short_names = short_keys([*comparison.keys, *comparison.grouping.also])
    names_of_also = short_names[len(comparison.keys) :]
    if names_of_also:
        lines.append(f"caution: these vary too: {enumerated(names_of_also)}")

    if comparison.across and comparison.across.missing:
        missing = enumerated(comparison.across.missing)
        lines.append(
            f"missing: {missing}: a data set counts only for the pairs of settings that it has"
        )
    if comparison.others:
        lines.append(f"caution: the runs also differ in {', '.join(comparison.others)}")

    folders = [visible_line(str(record.folder)) for record in comparison.left_out]
    if folders:
        lines.append(
            f"left out, because {comparison.metric} is missing, not finite or beyond "
            f"±{LARGEST_SCORE:g}: {enumerated(folders)}"
        )
    return lines


def failures(comparison: Comparison) -> list[str]:
    """A line for each run that did not complete, with its status, its folder and its error; and one
    for each that cannot be read."""
    lines = list[str]()
    for run in comparison.failed:
        line = f"{run.status}: {visible_line(str(run.folder))}"
        if run.error:
            line += f" ({run.error})"
        lines.append(line)
    lines += [f"left out: {line}" for line in comparison.unreadable]
    return lines


def comparison_table(comparison: Comparison, console: Console) -> Group:
    """For a terminal: a table and a verdict per data set and over all, and what to keep in mind. A
    terminal that is too narrow for a table gets it without the costs."""
    printed: list[Text | Table] = [Text(f"{comparison.ranking()}\n")]
    for section in comparison.sections:
        printed += [
            Text(section.data, style="bold"),
            _fitting_table(table(comparison, section), console, best_first=section.tested),
            Text(f"{section.verdict()}\n"),
        ]
    across = comparison.across
    if across:
        printed += [
            Text(OVER_SETS, style="bold"),
            rich_table(table_over_sets(comparison, across)),
            Text(f"{across.verdict()}\n"),
        ]
    printed += [Text(line, style="yellow") for line in cautions(comparison)]
    printed += [Text(line, style="red") for line in failures(comparison)]

    total = len(comparison.failed)
    for setting in comparison.settings:
        total += len(setting.records)
    statuses = Counter(record.status for record in comparison.failed)
    for status, count in sorted(statuses.items()):
        printed.append(Text(f"{count} of {total} runs {status}"))
    return Group(*printed)


def _fitting_table(columns: Sequence[Column], console: Console, *, best_first: bool) -> Table:
    """A table with all columns, or without the costs where the terminal is too narrow for it."""
    full_table = rich_table(columns, best_first=best_first)
    unlimited = console.options.update(width=10_000)
    if Measurement.get(console, unlimited, full_table).minimum <= console.width:
        return full_table
    columns_without_costs = [column for column in columns if not column.is_cost]
    return rich_table(columns_without_costs, best_first=best_first)


def rich_table(columns: Sequence[Column], *, best_first: bool = False) -> Table:
    """A table for a terminal. Names fold where they are very long; numbers don't.

    Args:
        best_first: whether the first row stands out, because it is the best.
    """
    rich_columns = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for column in columns:
        header = _folded_header(column.header)
        if column.is_name:
            longest = max(map(len, column.cells))
            min_width = min(longest, LONG_NAME)
            rich_columns.add_column(header, overflow="fold", min_width=min_width)
        else:
            rich_columns.add_column(header, justify="right", no_wrap=True)

    rows = zip(*(column.cells for column in columns), strict=True)
    for number, row in enumerate(rows):
        is_best = best_first and number == 0
        rich_columns.add_row(*row, style="bold green" if is_best else None)
    return rich_columns


def _folded_header(header: str) -> str:
    """A header with a line for each word, because the numbers below it are short."""
    for end_of_word in ("/", "_"):
        header = header.replace(end_of_word, f"{end_of_word}\n")
    return header.replace(" ", "\n")


def as_markdown(comparison: Comparison) -> str:
    """For a README: a table and a verdict over all data sets and per data set, and what to keep in
    mind."""
    lines = [_escaped(comparison.ranking()), ""]
    across = comparison.across
    if across:
        columns = table_over_sets(comparison, across)
        lines += _markdown_section(OVER_SETS, columns, across.verdict())
    for section in comparison.sections:
        columns = table(comparison, section)
        lines += _markdown_section(section.data, columns, section.verdict())
    lines += [f"- {_escaped(line)}" for line in cautions(comparison)]
    lines += [f"- {_escaped(line)}" for line in failures(comparison)]
    text = "\n".join(lines)
    return text.rstrip() + "\n"


def _markdown_section(title: str, columns: Sequence[Column], verdict: str) -> list[str]:
    """The lines of a title, a table and a verdict, each with an empty line after it."""
    return [f"**{_escaped(title)}**", "", *_markdown_table(columns), "", _escaped(verdict), ""]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: no table cells, links, pictures or HTML in it."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def _markdown_table(columns: Sequence[Column]) -> list[str]:
    """The lines of a table: the header, the alignment of each column, and a line for each row."""
    header = [_escaped(column.header) for column in columns]
    alignment = ["---" if column.is_name else "---:" for column in columns]
    columns_of_cells = [[_escaped(cell) for cell in column.cells] for column in columns]
    rows = [header, alignment, *zip(*columns_of_cells, strict=True)]
    return [f"| {' | '.join(row)} |" for row in rows]


def as_csv(comparison: Comparison) -> str:
    """For a program: one row per setting and data set, and then per setting over all data sets;
    numbers unrounded."""
    rows = list[dict[str, Any]]()
    for section in comparison.sections:
        cells_of_data = dict(zip(comparison.grouping.data_keys, section.values, strict=True))
        for setting in section.settings:
            row = {"data": section.data}
            row |= cells_of_data
            row |= zip(comparison.keys, setting.values, strict=True)
            row |= numbers(setting, comparison)
            rows.append(row)
    if comparison.across:
        rows += _rows_over_sets(comparison, comparison.across)

    columns = dict.fromkeys(chain(*rows))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _rows_over_sets(comparison: Comparison, across: Across) -> list[dict[str, Any]]:
    """A row for each setting over all data sets: each number by its header."""
    headers_of_pairs = [f"p: {name}" for name in across.names]
    rows = list[dict[str, Any]]()
    for setting in across.ranked:
        row: dict[str, Any] = {"data": OVER_SETS}
        row |= zip(comparison.keys, across.values[setting.setting], strict=True)
        row["metric"] = comparison.metric
        for name, number in vars(setting).items():
            if name not in ("setting", "pairs"):
                row[name] = number
        row |= zip(headers_of_pairs, setting.pairs, strict=True)
        rows.append(row)
    return rows
