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

from seqmodels.compare.columns import cautions, failures, overview, table
from seqmodels.compare.comparison import Comparison, Section, Setting
from seqmodels.compare.figures import compared_curves, compared_runs
from seqmodels.compare.tables import as_csv, as_markdown

MOST_DIAGRAMS = 20  # each is some 20 kB, so more would make the page slow to open


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md`, `.png` and `.html`, and returns their paths.

    Args:
        folder: created if it is missing. Older files of these names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = _png(compared_runs(comparison))
    contents = {
        "csv": as_csv(comparison).encode(),
        "md": as_markdown(comparison).encode(),
        "png": runs,
        "html": page(comparison, folder, runs).encode(),
    }
    paths = [folder / f"comparison.{kind}" for kind in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        partial = path.with_suffix(".tmp")
        partial.write_bytes(content)
        partial.replace(path)
    return paths


def page(comparison: Comparison, folder: Path, runs: bytes) -> str:
    """The page's HTML: tables that sort, figures, each head's diagram, links to the runs.

    Args:
        folder: the folder that you will write the page to; links are relative to it.
        runs: the figure of the runs as PNG.
    """
    body = [
        *_html_table(overview(comparison)),
        *(line for section in comparison.sections for line in _section(comparison, section)),
        *(
            f"<p class=failed>{escape(line)}</p>"
            for line in (*cautions(comparison), *failures(comparison))
        ),
        f"<h2>Every run</h2>{_image(runs, 'a dot for every run')}",
        f"<h2>Learning curves</h2>{_image(_png(compared_curves(comparison)), 'learning curves')}",
        *_diagrams(comparison),
        "<h2>Runs</h2>",
        *(
            line
            for section in comparison.sections
            for setting in section.settings
            for line in _links(setting, folder)
        ),
    ]
    template = resources.files("seqmodels.compare").joinpath("page.html").read_text("utf-8")
    return template.replace("<!--METRIC-->", escape(comparison.metric)).replace(
        "<!--BODY-->", "\n".join(body)
    )


def _section(comparison: Comparison, section: Section) -> Iterator[str]:
    yield f"<h2>{escape(section.data)}</h2><p>{escape(section.verdict())}</p>"
    yield from _html_table(table(comparison, section), best_first=True)


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
    for section in comparison.sections:
        for setting in section.settings:
            picture = setting.records[0].folder / "dataflow.svg"
            name = str(setting.records[0].result["head"])
            if name in drawn or len(drawn) == MOST_DIAGRAMS or not picture.is_file():
                continue
            if not drawn:
                yield "<h2>Which tensor each head reads</h2>"
            drawn.add(name)
            yield f"<figure>{picture.read_text('utf-8')}</figure>"


def _links(setting: Setting, folder: Path) -> Iterator[str]:
    yield f"<details><summary>{escape(setting.name)}</summary><ul>"
    for record in setting.records:
        link = escape(os.path.relpath(record.folder, folder), quote=True)
        yield f'<li><a href="{link}">seed {record.seed}: {link}</a></li>'
    yield "</ul></details>"


def _image(png: bytes, text: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{text}" src="data:image/png;base64,{data}">'


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
