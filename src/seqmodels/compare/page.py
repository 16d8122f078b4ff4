"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from seqmodels.compare.comparison import Comparison
from seqmodels.compare.figures import compared_curves, compared_runs
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
from seqmodels.nn.encoder import CELLS
from seqmodels.visible import visible_line

MOST_DIAGRAMS = 20  # each is some 20 kB, so more would make the page slow to open
MOST_LAYERS = 8  # in a diagram


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md`, `.png` and `.html`, replacing older ones, and returns their
    paths."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = _png(compared_runs(comparison))
    template = resources.files("seqmodels.compare").joinpath("page.html").read_text("utf-8")
    body = "\n".join(_body(comparison, folder, runs))
    html = with_policy(template).replace("<!--METRIC-->", escape(comparison.metric))
    paths = []
    for kind, content in (
        ("csv", as_csv(comparison).encode()),
        ("md", as_markdown(comparison).encode()),
        ("png", runs),
        ("html", html.replace("<!--BODY-->", body).encode()),
    ):
        paths.append(folder / f"comparison.{kind}")
        write_bytes(paths[-1], content)
    return paths


def _body(comparison: Comparison, folder: Path, runs: bytes) -> Iterator[str]:
    """Tables that sort, figures (`runs` is one, as PNG), each head's diagram, and links to the
    runs, relative to `folder`."""
    yield from _html_table(overview(comparison))
    for section in comparison.sections:
        yield f"<h2>{escape(section.data)}</h2><p>{escape(section.verdict())}</p>"
        yield from _html_table(table(comparison, section), best_first=True)
    for line in (*cautions(comparison), *failures(comparison)):
        yield f"<p class=failed>{escape(line)}</p>"
    for title, alt, png in (
        ("Every run", "a dot for every run", runs),
        ("Learning curves", "learning curves", _png(compared_curves(comparison))),
    ):
        data = base64.b64encode(png).decode()
        yield f'<h2>{title}</h2><img alt="{alt}" src="data:image/png;base64,{data}">'
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


def _html_table(rows: Sequence[Sequence[str]], *, best_first: bool = False) -> Iterator[str]:
    if not rows:
        return
    yield "<div class=table><table><thead><tr>"
    for column in rows[0]:
        text = escape(column).replace("_", "_<wbr>")
        yield f'<th scope="col"><button type="button">{text}</button></th>'
    yield "</tr></thead><tbody>"
    for number, row in enumerate(rows[1:]):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        yield f"<tr{' class=best' if best_first and number == 0 else ''}>{cells}</tr>"
    yield "</tbody></table></div>"


def _diagrams(comparison: Comparison) -> Iterator[str]:
    """Each head's diagram, drawn here: a picture in a run folder may be anything."""
    drawn: set[str] = set()
    for setting in comparison.settings:
        record = setting.records[0]
        head = str(record.result["head"])
        if head in drawn or len(drawn) == MOST_DIAGRAMS:
            continue
        picture = _diagram(head, record)
        if picture is None:
            continue
        if not drawn:
            yield "<h2>Which tensor each head reads</h2>"
        drawn.add(head)
        yield f"<figure>{picture}</figure>"


def _diagram(head: str, record: Record) -> str | None:
    """Of an untrained network like the run's; None where this process does not know the head."""
    cell, layers, directions = record.values(
        f"model.encoder.{key}" for key in ("cell", "num_layers", "bidirectional")
    )
    if head not in HEADS or str(cell) not in CELLS or layers not in range(1, MOST_LAYERS + 1):
        return None
    try:
        task = example_task(str(cell), int(layers), directions is True or None, head)
        return to_svg(draw(task, trace(task, example_batch(task, length=4)), row=1))
    except UserError:  # the head does not fit
        return None


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
