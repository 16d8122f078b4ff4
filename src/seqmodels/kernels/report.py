"""A check of a device on the screen: a table, and a sentence for each fault."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from seqmodels.kernels import compare
from seqmodels.kernels.check import Report
from seqmodels.kernels.compare import Measure
from seqmodels.screen import Screen

# Columns, and what each shows the largest difference of.
COLUMNS = {
    "forward": (compare.FORWARD, compare.DROPPED),
    "gradients": (compare.GRADIENTS, compare.DROPPED_GRADIENTS),
    "row alone": (compare.ALONE,),
    "after training": (compare.AFTER,),
}


def show(report: Report, screen: Screen) -> None:
    """Prints the table, the faults, and whether the device is right."""
    screen.print(table(report))
    for line in lines(report):
        screen.print(line, soft_wrap=True)


def table(report: Report) -> Table:
    """The largest difference of each network; in red what is out of its bounds."""
    title = f"Largest differences from formulas in float64, on {report.device}"
    result = Table(title=title, title_justify="left")
    result.add_column("network")
    for column in COLUMNS:
        result.add_column(column, justify="right")
    rows: dict[tuple[str, str], list[Measure]] = {}
    for measure in report.measures:
        rows.setdefault((measure.precision.name, _name(measure)), []).append(measure)
    precision_before = ""
    # Networks without dropout came first, in each precision.
    for (precision, name), measures in sorted(rows.items(), key=lambda row: _order(report, row[0])):
        if precision != precision_before:
            result.add_section()
            result.add_row(Text(precision, style="bold"))
            precision_before = precision
        cells = [_cell(measures, what) for what in COLUMNS.values()]
        result.add_row(name, *cells)
    return result


def _order(report: Report, row: tuple[str, str]) -> tuple[int, str]:
    precisions = list(dict.fromkeys(m.precision.name for m in report.measures))
    return precisions.index(row[0]), row[1]


def _name(measure: Measure) -> str:
    case = measure.case
    numbers = f"{case.layers}x{case.directions}" + (" dropout" if case.dropout else "")
    return f"{case.kind} {numbers}"


def _cell(measures: list[Measure], what: tuple[str, ...]) -> Text:
    compared = [measure for measure in measures if measure.what in what]
    if not compared:
        return Text("")
    largest = max(measure.difference for measure in compared)
    is_wrong = any(measure.is_wrong for measure in compared)
    return Text(f"{largest:.0e}", style="bold red" if is_wrong else "")


def lines(report: Report) -> list[str]:
    """A sentence for each fault, with its thread and what to do; then whether the device is
    right."""
    sentences: list[str] = []
    refusals = dict.fromkeys(
        f"not computed: {measure.case.kind} in {measure.precision.name}, by {measure.way}"
        for measure in report.refused
    )
    sentences += refusals
    if report.device.type == "mps":
        sentences.append(
            "not run: packed rows, which crash on MPS "
            "(https://github.com/pytorch/pytorch/issues/102911); RecurrentEncoder packs none there"
        )
    for finding in report.findings:
        sentences.append(f"wrong: {finding}")
        if finding.fault.thread:
            sentences.append(f"  met before: {finding.fault.thread}")
        if finding.fault.remedy:
            sentences.append(f"  what to do: {finding.fault.remedy}")
    name = {"cpu": "CPU", "cuda": "GPU"}.get(report.device.type, str(report.device))
    if report.findings:
        count = len(report.findings)
        faults = "1 fault" if count == 1 else f"{count} faults"
        sentences.append(f"your {name} is wrong: {faults}")
    else:
        sentences.append(f"your {name} is right")
    return sentences
