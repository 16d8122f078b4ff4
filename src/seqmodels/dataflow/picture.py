"""`dataflow.svg` as a PNG, for loggers that show no SVG."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

SVG = "{http://www.w3.org/2000/svg}"
PER_INCH, POINT = 96, 72 / 96  # pixels of an SVG; one of them in points
ANCHORS = {"start": "left", "middle": "center"}


def write_png(drawing: Path, folder: str) -> Path:
    """Writes what `to_svg` has drawn to a PNG of the same name in a folder, at twice its size."""
    root = ElementTree.parse(drawing).getroot()
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    figure = Figure(figsize=(width / PER_INCH, height / PER_INCH))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _add(axes, root, 0.0, 0.0, 12.0)
    picture = Path(folder) / f"{drawing.stem}.png"
    figure.savefig(picture, dpi=2 * PER_INCH)
    return picture


def _add(axes: Axes, group: ElementTree.Element, left: float, top: float, size: float) -> None:
    """Adds the rectangles, texts and paths of a group, in their order."""
    for part in group:
        own = part.attrib
        if part.tag == f"{SVG}g":
            x, y = map(float, re.findall(r"[\d.]+", own["transform"]))
            _add(axes, part, left + x, top + y, float(own["font-size"]))
        elif part.tag == f"{SVG}rect":
            corner = left + float(own.get("x", 0)), top + float(own.get("y", 0))
            axes.add_patch(
                Rectangle(
                    corner,
                    float(own["width"]),
                    float(own["height"]),
                    facecolor=own["fill"],
                    edgecolor=own.get("stroke", "none"),
                    linestyle=(0, (3, 3)) if "stroke-dasharray" in own else "-",
                    linewidth=POINT,
                )
            )
        elif part.tag == f"{SVG}text":
            axes.text(
                left + float(own["x"]),
                top + float(own["y"]),
                part.text or "",
                fontsize=POINT * float(own.get("font-size", size)),
                fontweight="bold" if "font-weight" in own else "normal",
                color=own["fill"],
                ha=ANCHORS[own.get("text-anchor", "start")],
                parse_math=False,
            )
        elif part.tag == f"{SVG}path":
            for xs, ys in _lines(own["d"]):
                axes.add_line(
                    Line2D(
                        [left + x for x in xs],
                        [top + y for y in ys],
                        color=own["stroke"],
                        linewidth=POINT * float(own["stroke-width"]),
                    )
                )


def _lines(path: str) -> list[tuple[list[float], list[float]]]:
    """The lines of a path of the commands M, L, m and l, as x and y of their points."""
    lines: list[tuple[list[float], list[float]]] = []
    x = y = 0.0
    for command, first, second in re.findall(r"([MLml])(-?[\d.]+) (-?[\d.]+)", path):
        relative = command.islower()
        x, y = float(first) + relative * x, float(second) + relative * y
        if command in "Mm":
            lines.append(([], []))
        lines[-1][0].append(x)
        lines[-1][1].append(y)
    return lines
