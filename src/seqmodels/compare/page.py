"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from matplotlib.figure import Figure

from seqmodels.compare.comparison import Comparison
from seqmodels.compare.figures import compared_curves, compared_runs
from seqmodels.compare.tables import as_csv, as_markdown, cautions, failures, overview, table

MOST_DIAGRAMS = 20  # each is some 20 kB, so more would make the page slow to open


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md`, `.png` and `.html`, replacing older ones, and returns their
    paths."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = _png(compared_runs(comparison))
    template = resources.files("seqmodels.compare").joinpath("page.html").read_text("utf-8")
    body = "\n".join(_body(comparison, folder, runs))
    html = template.replace("<!--METRIC-->", escape(comparison.metric))
    paths = []
    for kind, content in (
        ("csv", as_csv(comparison).encode()),
        ("md", as_markdown(comparison).encode()),
        ("png", runs),
        ("html", html.replace("<!--BODY-->", body).encode()),
    ):
        paths.append(folder / f"comparison.{kind}")
        partial = paths[-1].with_suffix(".tmp")
        partial.write_bytes(content)
        partial.replace(paths[-1])
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
            link = escape(os.path.relpath(record.folder, folder), quote=True)
            yield f'<li><a href="{link}">seed {record.seed}: {link}</a></li>'
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
    drawn: set[str] = set()
    for setting in comparison.settings:
        picture = setting.records[0].folder / "dataflow.svg"
        head = str(setting.records[0].result["head"])
        if head in drawn or len(drawn) == MOST_DIAGRAMS or not picture.is_file():
            continue
        if not drawn:
            yield "<h2>Which tensor each head reads</h2>"
        drawn.add(head)
        # as an image: a picture from a run folder must not bring scripts into this page
        content = base64.b64encode(picture.read_bytes()).decode()
        source = f"data:image/svg+xml;base64,{content}"
        yield f'<figure><img alt="{escape(head)}" src="{source}"></figure>'


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
