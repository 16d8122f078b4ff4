"""A comparison as tables: for a terminal, for a README, for a program."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from seqmodels.compare.settings import short_keys, shown_value
from seqmodels.metrics import show, unit
from seqmodels.screen import visible_line

LONG_NAME = 20  # characters; a longer one may fold
OVER_SETS = "over all data sets"  # in place of the name of one
COSTS = 3  # the last columns: parameters, speed and seconds; left out of a narrow terminal


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


def table(comparison: Comparison, section: Section) -> list[list[str]]:
    """The header and a row per setting, the best first."""
    counted = {record.speed[0] for s in section.settings for record in s.records}
    score, beside = partial(show, comparison.metric), comparison.beside
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "runs": ("runs", str),
        "mean": (metric_header(comparison.metric), score),
        "deviation": ("sd", score),
        "interval": ("± 95 %", score),
        "difference_to_best": ("to best", score),
        "p": ("p", _p),
        **({beside: (metric_header(beside), score)} if beside else {}),
        "parameters": ("parameters", "{:,}".format),
        "per_second": (f"{counted.pop()}/s" if len(counted) == 1 else "/s", "{:,.0f}".format),
        "seconds": ("time, s", "{:.1f}".format),
    }
    best, *others = ((s.values, numbers(s, comparison)) for s in section.settings)
    best[1]["difference_to_best"] = ""
    return _table(comparison.keys, columns, [best, *others])


def table_over_sets(comparison: Comparison, across: Across) -> list[list[str]]:
    """The header and a row per setting, the best over all data sets first."""
    score = partial(show, comparison.metric)
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "sets": ("sets", str),
        "mean_rank": ("mean rank", "{:.2f}".format),
        "mean": (metric_header(comparison.metric), score),
        "best_on": ("best on", str),
        "median_difference": ("median to best", score),
        "low": ("95 % from", score),
        "high": ("to", score),
        "p": ("p", _p),
    }
    first, *others = map(vars, across.found)
    rows = [first | dict.fromkeys(("median_difference", "low", "high", "p"), ""), *others]
    return _table(comparison.keys, columns, [(across.values[r["setting"]], r) for r in rows])


def _table(
    keys: Sequence[str],
    columns: Mapping[str, tuple[str, Callable[[Any], str]]],
    rows: Iterable[tuple[Sequence[Any], Mapping[str, Any]]],
) -> list[list[str]]:
    def cell(value: Any, write: Callable[[Any], str]) -> str:
        return "" if value == "" else "-" if math.isnan(value) else write(value)

    found = [[*short_keys(keys), *(header for header, _ in columns.values())]]
    for values, numbers in rows:
        cells = [cell(numbers[name], write) for name, (_, write) in columns.items()]
        found.append([*map(shown_value, values), *cells])
    return found


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
        why = f"{comparison.metric} is missing or not finite"
        lines.append(f"left out, because {why}: {enumerated(left_out)}")
    return lines


def failures(comparison: Comparison) -> list[str]:
    """A line for each run that did not complete: its status, its folder and its error."""
    return [
        f"{run.status}: {visible_line(str(run.folder))}" + (f" ({run.error})" if run.error else "")
        for run in comparison.failed
    ]


def comparison_table(comparison: Comparison, console: Console) -> Group:
    """For a terminal: a table and a verdict per data set and over all, and what to keep in mind. A
    terminal that is too narrow for a table gets it without the costs."""
    wide, names = console.options.update(width=10_000), len(comparison.keys)
    parts: list[Any] = [Text(comparison.ranking() + "\n")]
    for section in comparison.sections:
        rows = table(comparison, section)
        shown = rich_table(rows, names, best_first=section.tested)
        if Measurement.get(console, wide, shown).minimum > console.width:
            rows = [row[:-COSTS] for row in rows]
            shown = rich_table(rows, names, best_first=section.tested)
        parts += [Text(section.data, style="bold"), shown, Text(section.verdict() + "\n")]
    if across := comparison.across:
        shown = rich_table(table_over_sets(comparison, across), names)
        parts += [Text(OVER_SETS, style="bold"), shown, Text(across.verdict() + "\n")]
    parts += [Text(line, style="yellow") for line in cautions(comparison)]
    parts += [Text(line, style="red") for line in failures(comparison)]
    total = sum(len(setting.records) for setting in comparison.settings) + len(comparison.failed)
    statuses = Counter(record.status for record in comparison.failed)
    parts += [Text(f"{n} of {total} runs {status}") for status, n in sorted(statuses.items())]
    return Group(*parts)


def rich_table(rows: Sequence[Sequence[str]], names: int, *, best_first: bool = False) -> Table:
    """The first `names` columns are names, and fold where they are very long; the others are
    numbers."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for number, column in enumerate(rows[0]):
        header = re.sub(r"(?<=\w)([/_])(?=\w)|\s", r"\1\n", column)  # what is below it is short
        if number < names:
            longest = max(len(row[number]) for row in rows[1:])
            shown.add_column(header, overflow="fold", min_width=min(longest, LONG_NAME))
        else:
            shown.add_column(header, justify="right", no_wrap=True)
    for number, row in enumerate(rows[1:]):
        shown.add_row(*row, style="bold green" if best_first and number == 0 else None)
    return shown


def as_markdown(comparison: Comparison) -> str:
    """For a README: a table and a verdict over all data sets and per data set, and what to keep in
    mind."""
    lines = [_markdown(comparison.ranking()), ""]
    parts = [(each.data, table(comparison, each), each.verdict()) for each in comparison.sections]
    if across := comparison.across:
        parts = [(OVER_SETS, table_over_sets(comparison, across), across.verdict()), *parts]
    for title, rows, verdict in parts:
        lines += [f"**{_markdown(title)}**", "", *_markdown_table(rows, len(comparison.keys))]
        lines += ["", _markdown(verdict), ""]
    lines += [f"- {_markdown(line)}" for line in (*cautions(comparison), *failures(comparison))]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is: no table cells, links, pictures or HTML in it."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def _markdown_table(rows: Sequence[Sequence[str]], names: int) -> list[str]:
    escaped = [[_markdown(cell) for cell in row] for row in rows]
    alignment = ["---"] * names + ["---:"] * (len(rows[0]) - names)
    return [f"| {' | '.join(row)} |" for row in (escaped[0], alignment, *escaped[1:])]


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
