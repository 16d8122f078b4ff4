"""Write a comparison into files."""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from pathlib import Path

from matplotlib.figure import Figure

from seqmodels.compare.comparison import Comparison
from seqmodels.compare.figures import compared_curves, compared_runs
from seqmodels.compare.tables import as_csv, as_markdown
from seqmodels.files import written_whole


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `comparison.csv`, `.md`, and its two pictures, `.png` and `.curves.png`; replaces
    older ones, and returns their paths.

    A comparison by another metric that is already there, as in a sweep's folder, stays: the names
    of the new files then end in their metric, `comparison_test_macro_f1.csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _name(comparison, folder)
    pictures = f"\n![Every run]({name}.png)\n\n![Validation losses]({name}.curves.png)\n"
    paths = []
    for kind, content in (
        ("csv", as_csv(comparison).encode()),
        ("md", (as_markdown(comparison) + pictures).encode()),
        ("png", _png(compared_runs(comparison))),
        ("curves.png", _png(compared_curves(comparison))),
    ):
        paths.append(folder / f"{name}.{kind}")
        with written_whole(paths[-1]) as file:
            file.write(content)
    return paths


def _name(comparison: Comparison, folder: Path) -> str:
    file = folder / "comparison.csv"
    if not file.is_file():
        return "comparison"
    with suppress(csv.Error), file.open(newline="", encoding="utf-8", errors="replace") as text:
        if next(csv.DictReader(text), {}).get("metric") == comparison.metric:
            return "comparison"
    return f"comparison_{re.sub(r'[^A-Za-z0-9]+', '_', comparison.metric)[:80]}"


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160)
    return file.getvalue()
