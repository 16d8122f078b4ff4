"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from importlib import resources
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
from seqmodels.dataflow.page import with_policy
from seqmodels.dataflow.rendering import to_svg
from seqmodels.dataflow.tracing import trace
from seqmodels.errors import UserError
from seqmodels.files import write_bytes
from seqmodels.heads import HEADS
from seqmodels.nn.cell import CELLS
from seqmodels.visible import visible_line

MOST_DIAGRAMS = 20  # each is some 20 kB, so more would make the page slow to open
MOST_LAYERS = 8  # in a diagram
BEGINNING = 100_000  # characters of a table, which hold its first row
NOTES = {
    "Quality and cost": "<p>A large dot is a setting by its means, a small one a run. A ring: no "
    "other setting is better at the same cost or less.</p>"
}


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md`, `.png`, `.cost.png` and `.html`, replacing older ones, and
    returns their paths.

    Where a comparison by another metric stands, as in a sweep's folder, it stays: the names of the
    new files then end in their metric, `comparison_test_macro_f1.csv`.
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
    template = resources.files("seqmodels.compare").joinpath("page.html").read_text("utf-8")
    body = "\n".join(_body(comparison, folder, figures))
    html = with_policy(template).replace("<!--METRIC-->", escape(comparison.metric))
    paths = []
    for kind, content in (
        ("csv", as_csv(comparison).encode()),
        ("md", as_markdown(comparison).encode()),
        ("png", figures["Every run"][0]),
        ("cost.png", figures["Quality and cost"][0]),
        ("html", html.replace("<!--BODY-->", body).encode()),
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


def _body(
    comparison: Comparison, folder: Path, figures: Mapping[str, Sequence[bytes]]
) -> Iterator[str]:
    """Tables that sort, figures by their title (as PNG for light and for dark pages), each head's
    diagram, and links to the runs, relative to `folder`."""
    yield f"<p>{escape(_summary(comparison))} {escape(comparison.ranking())}</p>"
    yield from _html_table(overview(comparison))
    of_setting = colours(comparison)
    for section in comparison.sections:
        names = len(comparison.names)
        dots = [of_setting[id(setting)] for setting in section.settings] if names else []
        yield f"<h2>{escape(section.data)}</h2><p class=verdict>{escape(section.verdict())}</p>"
        yield from _html_table(table(comparison, section), names, dots, best_first=section.tested)
    for line in (*cautions(comparison), *failures(comparison)):
        yield f"<p class=failed>{escape(line)}</p>"
    yield "<div class=figures>"
    for title, pictures in figures.items():
        light_data, dark_data = (
            f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in pictures
        )
        yield f"<section><h2>{title}</h2><picture>"
        yield f'<source media="(prefers-color-scheme: dark)" srcset="{dark_data}">'
        yield f'<img alt="{title}" src="{light_data}"></picture>{NOTES.get(title, "")}</section>'
    yield "</div>"
    yield from _diagrams(comparison)
    yield "<h2>Runs</h2>"
    for setting in comparison.settings:
        yield f"<details><summary>{escape(setting.name)}</summary><ul>"
        for record in setting.records:
            path = os.path.relpath(record.folder, folder)
            text = escape(f"seed {record.seed}: {visible_line(path)}")
            # quoted, so that no name of a folder is the address of something else
            yield f'<li><a href="{quote(os.fsencode(path))}">{text}</a></li>'
        yield "</ul></details>"


def _summary(comparison: Comparison) -> str:
    settings = comparison.settings
    runs = sum(len(setting.records) for setting in settings)
    seeds = len({seed for setting in settings for seed in setting.scores})
    counts = ((runs, "run"), (len(settings), "setting"), (seeds, "seed"))
    texts = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts]
    better = "higher" if comparison.higher_is_better else "lower"
    return f"{', '.join(texts)}; {better} is better."


def _html_table(
    rows: Sequence[Sequence[str]],
    names: int = 1,
    dots: Sequence[str] = (),
    *,
    best_first: bool = False,
) -> Iterator[str]:
    """The first `names` columns are text, the others numbers; `dots` are the colours of the rows in
    the figures."""
    if not rows:
        return
    yield "<p class=hint>Scroll the table sideways to see all columns.</p>"
    yield '<div class=table tabindex="0"><table><thead><tr>'
    kinds = [" class=name" if number < names else "" for number in range(len(rows[0]))]
    for column, kind in zip(rows[0], kinds, strict=True):
        yield f'<th scope="col"{kind}><button type="button">{_breakable(column)}</button></th>'
    yield "</tr></thead><tbody>"
    for number, row in enumerate(rows[1:]):
        dot = f'<span class=dot style="background:{dots[number]}"></span>' if dots else ""
        cells = "".join(
            f"<td{kind}>{_breakable(c)}</td>" for c, kind in zip(row, kinds, strict=True)
        )
        cells = cells.replace(">", f">{dot}", 1)
        yield f"<tr{' class=best' if best_first and number == 0 else ''}>{cells}</tr>"
    yield "</tbody></table></div>"


def _breakable(text: str) -> str:
    return escape(text).replace("_", "_<wbr>")


def _diagrams(comparison: Comparison) -> Iterator[str]:
    """Each head's diagram, drawn here: a picture in a run folder may be anything."""
    drawn: dict[str, str] = {}
    for setting in comparison.settings:
        head = str(setting.records[0].result["head"])
        wanted = head not in drawn and len(drawn) < MOST_DIAGRAMS
        if wanted and (picture := _diagram(head, setting.records[0])):
            drawn[head] = picture
    if drawn:
        pictures = "".join(f"<figure>{picture}</figure>\n" for picture in drawn.values())
        yield f"<h2>Which tensor each head reads</h2><div class=figures>\n{pictures}</div>"


def _diagram(head: str, record: Record) -> str | None:
    """Of an untrained network like the run's; None where this process does not know the head."""
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
