"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
from matplotlib.figure import Figure

from seqmodels.compare.comparison import Comparison
from seqmodels.compare.costs import compared_costs
from seqmodels.compare.figures import DARK, LIGHT, colours, compared_curves, compared_runs
from seqmodels.compare.records import Record
from seqmodels.compare.tables import as_csv, as_markdown, cautions, failures, overview, table
from seqmodels.dataflow.diagram import draw
from seqmodels.dataflow.example import example_batch, example_task
from seqmodels.dataflow.page import TEMPLATES
from seqmodels.dataflow.rendering import to_svg
from seqmodels.dataflow.tracing import trace
from seqmodels.errors import UserError
from seqmodels.files import write_bytes
from seqmodels.heads import HEADS
from seqmodels.nn.cell import CELLS
from seqmodels.screen import visible_line

MOST_DIAGRAMS = 20  # each is some 20 kB, so more would make the page slow to open
MOST_LAYERS = 8  # in a diagram
BEGINNING = 100_000  # characters of a table, which hold its first row


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md`, `.png`, `.cost.png` and `.html`, replacing older ones, and
    returns their paths.

    A comparison by another metric that is already there, as in a sweep's folder, stays: the names
    of the new files then end in their metric, `comparison_test_macro_f1.csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        title: [_png(figure_of, comparison, theme) for theme in (LIGHT, DARK)]
        for title, figure_of in (
            ("Every run", compared_runs),
            ("Learning curves", compared_curves),
            ("Quality and cost", compared_costs),
        )
    }
    name = _name(comparison, folder)
    names, of_setting = comparison.names, colours(comparison)
    html = TEMPLATES.get_template("compare/page.html").render(
        comparison=comparison,
        counts=_counts(comparison),
        overview=overview(comparison),
        sections=[
            (
                section,
                table(comparison, section),
                [of_setting[id(s)] for s in section.settings if names],
            )
            for section in comparison.sections
        ],
        notes=[*cautions(comparison), *failures(comparison)],
        figures={
            title: [base64.b64encode(data).decode() for data in pictures]
            for title, pictures in figures.items()
        },
        diagrams=_diagrams(comparison),
        relative=lambda path: os.path.relpath(path, folder),
        quote=lambda path: quote(os.fsencode(path)),
        visible_line=visible_line,
    )
    paths = []
    for kind, content in (
        ("csv", as_csv(comparison).encode()),
        ("md", as_markdown(comparison).encode()),
        ("png", figures["Every run"][0]),
        ("cost.png", figures["Quality and cost"][0]),
        ("html", html.encode()),
    ):
        paths.append(folder / f"{name}.{kind}")
        write_bytes(paths[-1], content)
    return paths


def _name(comparison: Comparison, folder: Path) -> str:
    file = folder / "comparison.csv"
    if not file.is_file():
        return "comparison"
    with file.open(newline="", encoding="utf-8", errors="replace") as text:
        beginning = io.StringIO(text.read(BEGINNING), newline="")  # it may be someone else's file
    with suppress(csv.Error):
        if next(csv.DictReader(beginning), {}).get("metric") == comparison.metric:
            return "comparison"
    return f"comparison_{re.sub(r'[^A-Za-z0-9]+', '_', comparison.metric)[:80]}"


def _counts(comparison: Comparison) -> str:
    """`15 runs, 3 settings, 5 seeds`."""
    settings = comparison.settings
    runs = sum(len(setting.records) for setting in settings)
    seeds = len({seed for setting in settings for seed in setting.scores})
    counts = ((runs, "run"), (len(settings), "setting"), (seeds, "seed"))
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)


def _diagrams(comparison: Comparison) -> list[str]:
    """Each head's diagram, drawn here: a picture in a run folder may be anything."""
    drawn: dict[str, str] = {}
    for setting in comparison.settings:
        head = str(setting.records[0].result["head"])
        wanted = head not in drawn and len(drawn) < MOST_DIAGRAMS
        if wanted and (picture := _diagram(head, setting.records[0])):
            drawn[head] = picture
    return [*drawn.values()]


def _diagram(head: str, record: Record) -> str | None:
    """The diagram of an untrained network like the run's; None where this process does not know the
    head."""
    cell, layers, directions = record.values(
        f"model.encoder.{key}" for key in ("cell", "num_layers", "bidirectional")
    )
    if head not in HEADS or str(cell) not in CELLS or layers not in range(1, MOST_LAYERS + 1):
        return None
    try:
        task = example_task(str(cell), int(layers), directions is True or None, head)
        return to_svg(draw(task, trace(task, example_batch(task, 4)), row=1))
    except UserError:  # the head does not fit
        return None


def _png(figure_of: Callable[[Comparison], Figure], comparison: Comparison, theme: Any) -> bytes:
    file = io.BytesIO()
    with mpl.rc_context(theme):
        figure_of(comparison).savefig(file, format="png", dpi=160)
    return file.getvalue()
