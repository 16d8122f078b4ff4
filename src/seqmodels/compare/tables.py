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
OVER_SETS = "over all data sets"  # in place of the name of one


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    header: str
    cells: Sequence[str]  # of each setting, the best first
    is_name: bool = False  # of a key that tells the settings apart; else it holds numbers
    is_cost: bool = False  # which a terminal that is too narrow does without


@dataclass(frozen=True)
class Measure:
    """A number of each setting that a table shows."""

    name: str  # in what `numbers` gives
    header: str
    write: Callable[[Any], str]
    is_cost: bool = False

    def column(self, settings: Iterable[Mapping[str, Any]]) -> Column:
        """Its numbers of some settings; empty where there is nothing to say, and `-` for nan."""
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
    difference, records = setting.difference, setting.records
    return {
        "runs": len(records),
        "metric": comparison.metric,
        "mean": setting.summary.mean,
        "deviation": setting.summary.deviation,
        "interval": setting.summary.interval,
        "difference_to_best": difference.mean if difference else 0.0,
        "shared": difference.shared if difference else len(setting.scores),
        "p": difference.p if difference else "",
        "seeds_needed": (difference and difference.seeds_needed) or "",
        **({comparison.beside: setting.beside} if comparison.beside else {}),
        "parameters": records[0].parameters,
        "per_second": fmean(record.speed[1] for record in records),
        "seconds": fmean(record.training_seconds for record in records),
    }


def metric_header(metric: str) -> str:
    """The metric's name with its unit: `test/accuracy, %`."""
    return f"{metric}, {unit(metric)}" if unit(metric) else metric


def table(comparison: Comparison, section: Section) -> list[Column]:
    """A row for each setting, the best first."""
    counted = {record.speed[0] for s in section.settings for record in s.records}
    unit_of_speed = f"{counted.pop()}/s" if len(counted) == 1 else "/s"
    write_score = partial(show, comparison.metric)
    measures = [
        Measure("runs", "runs", str),
        Measure("mean", metric_header(comparison.metric), write_score),
        Measure("deviation", "sd", write_score),
        Measure("interval", "± 95 %", write_score),
        Measure("difference_to_best", "to best", write_score),
        Measure("p", "p", _p),
    ]
    if comparison.beside:
        measures.append(Measure(comparison.beside, metric_header(comparison.beside), write_score))
    measures += [
        Measure("parameters", "parameters", "{:,}".format, is_cost=True),
        Measure("per_second", unit_of_speed, "{:,.0f}".format, is_cost=True),
        Measure("seconds", "time, s", "{:.1f}".format, is_cost=True),
    ]
    rows = [numbers(setting, comparison) for setting in section.settings]
    rows[0]["difference_to_best"] = ""
    names = _names(comparison.keys, [setting.values for setting in section.settings])
    return [*names, *(measure.column(rows) for measure in measures)]


def table_over_sets(comparison: Comparison, across: Across) -> list[Column]:
    """A row for each setting, the best over all data sets first."""
    write_score = partial(show, comparison.metric)
    measures = [
        Measure("sets", "sets", str),
        Measure("mean_rank", "mean rank", "{:.2f}".format),
        Measure("mean", metric_header(comparison.metric), write_score),
        Measure("best_on", "best on", str),
        Measure("median_difference", "median to best", write_score),
        Measure("low", "95 % from", write_score),
        Measure("high", "to", write_score),
        Measure("p", "p", _p),
    ]
    best, *others = [vars(setting) for setting in across.found]
    to_itself = dict.fromkeys(("median_difference", "low", "high", "p"), "")
    rows = [best | to_itself, *others]
    names = _names(comparison.keys, [across.values[row["setting"]] for row in rows])
    return [*names, *(measure.column(rows) for measure in measures)]


def _names(keys: Sequence[str], values: Sequence[Sequence[Any]]) -> list[Column]:
    """A column for each key that tells the settings apart.

    Args:
        values: of each setting, those of all keys.
    """
    return [
        Column(key, [shown_value(of_setting[place]) for of_setting in values], is_name=True)
        for place, key in enumerate(short_keys(keys))
    ]


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def cautions(comparison: Comparison) -> list[str]:
    """What to keep in mind when you read the tables."""
    lines, keys = list[str](), [*comparison.keys, *comparison.grouping.also]
    if also := short_keys(keys)[len(comparison.keys) :]:
        lines.append(f"caution: these vary too: {enumerated(also)}")
    if comparison.across and (missing := comparison.across.missing):
        why = "a data set counts only for the pairs of settings that it has"
        lines.append(f"missing: {enumerated(missing)}: {why}")
    if comparison.others:
        lines.append(f"caution: the runs also differ in {', '.join(comparison.others)}")
    if left_out := [visible_line(str(record.folder)) for record in comparison.left_out]:
        why = f"{comparison.metric} is missing, not finite or beyond ±{LARGEST_SCORE:g}"
        lines.append(f"left out, because {why}: {enumerated(left_out)}")
    return lines


def failures(comparison: Comparison) -> list[str]:
    """A line for each run that did not complete: its status, its folder and its error; and for
    each that cannot be read."""
    lines = list[str]()
    for run in comparison.failed:
        line = f"{run.status}: {visible_line(str(run.folder))}"
        if run.error:
            line += f" ({run.error})"
        lines.append(line)
    return lines + [f"left out: {line}" for line in comparison.unreadable]


def comparison_table(comparison: Comparison, console: Console) -> Group:
    """For a terminal: a table and a verdict per data set and over all, and what to keep in mind. A
    terminal that is too narrow for a table gets it without the costs."""
    parts: list[Any] = [Text(comparison.ranking() + "\n")]
    for section in comparison.sections:
        columns = table(comparison, section)
        shown = rich_table(columns, best_first=section.tested)
        unlimited = console.options.update(width=10_000)
        if Measurement.get(console, unlimited, shown).minimum > console.width:
            without_costs = [column for column in columns if not column.is_cost]
            shown = rich_table(without_costs, best_first=section.tested)
        parts += [Text(section.data, style="bold"), shown, Text(section.verdict() + "\n")]
    if across := comparison.across:
        shown = rich_table(table_over_sets(comparison, across))
        parts += [Text(OVER_SETS, style="bold"), shown, Text(across.verdict() + "\n")]
    parts += [Text(line, style="yellow") for line in cautions(comparison)]
    parts += [Text(line, style="red") for line in failures(comparison)]
    total = sum(len(setting.records) for setting in comparison.settings) + len(comparison.failed)
    statuses = Counter(record.status for record in comparison.failed)
    parts += [Text(f"{n} of {total} runs {status}") for status, n in sorted(statuses.items())]
    return Group(*parts)


def rich_table(columns: Sequence[Column], *, best_first: bool = False) -> Table:
    """For a terminal. Names fold where they are very long; numbers don't."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for column in columns:
        header = column.header
        for end_of_word in ("/", "_", " "):  # what is below a header is short
            header = header.replace(end_of_word, f"{end_of_word}\n".lstrip(" "))
        if column.is_name:
            longest = max(map(len, column.cells))
            shown.add_column(header, overflow="fold", min_width=min(longest, LONG_NAME))
        else:
            shown.add_column(header, justify="right", no_wrap=True)
    for number, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        is_best = best_first and number == 0
        shown.add_row(*row, style="bold green" if is_best else None)
    return shown


def as_markdown(comparison: Comparison) -> str:
    """For a README: a table and a verdict over all data sets and per data set, and what to keep in
    mind."""
    lines = [_markdown(comparison.ranking()), ""]
    parts = [(each.data, table(comparison, each), each.verdict()) for each in comparison.sections]
    if across := comparison.across:
        parts = [(OVER_SETS, table_over_sets(comparison, across), across.verdict()), *parts]
    for title, columns, verdict in parts:
        lines += [f"**{_markdown(title)}**", "", *_markdown_table(columns)]
        lines += ["", _markdown(verdict), ""]
    lines += [f"- {_markdown(line)}" for line in (*cautions(comparison), *failures(comparison))]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is: no table cells, links, pictures or HTML in it."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def _markdown_table(columns: Sequence[Column]) -> list[str]:
    header = [_markdown(column.header) for column in columns]
    alignment = ["---" if column.is_name else "---:" for column in columns]
    rows = zip(*(map(_markdown, column.cells) for column in columns), strict=True)
    return [f"| {' | '.join(row)} |" for row in (header, alignment, *rows)]


def as_csv(comparison: Comparison) -> str:
    """For a program: one row per setting and data set, and then per setting over all data sets;
    numbers unrounded."""

    def named(keys: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(keys, values, strict=True))

    rows, keys = list[dict[str, Any]](), comparison.keys
    for section in comparison.sections:
        of_data = {"data": section.data, **named(comparison.grouping.data_keys, section.values)}
        for setting in section.settings:
            own = numbers(setting, comparison)
            rows.append({**of_data, **named(keys, setting.values), **own})
    if across := comparison.across:
        p_to = [f"p: {name}" for name in across.names]
        for each in across.found:
            own = {"metric": comparison.metric, **vars(each), **named(p_to, each.pairs)}
            del own["setting"], own["pairs"]
            rows.append({"data": OVER_SETS, **named(keys, across.values[each.setting]), **own})
    file = io.StringIO()
    writer = csv.DictWriter(file, dict.fromkeys(chain(*rows)))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
