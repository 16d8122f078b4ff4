"""`dataflow.svg` as a PNG, for loggers that show no SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

PER_INCH, POINT = 96, 72 / 96  # pixels of an SVG; one of them in points


def write_png(drawing: Path, folder: str) -> Path:
    """Writes what `to_svg` has drawn to a PNG of the same name in a folder, at twice its size."""
    root = ElementTree.parse(drawing).getroot()
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    figure = Figure(figsize=(width / PER_INCH, height / PER_INCH))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for number, part in enumerate(root.iter()):  # each above what comes before it
        kind, own = part.tag.rpartition("}")[2], part.attrib
        line: dict[str, Any] = {
            "zorder": number,
            "linewidth": POINT * float(own.get("stroke-width", 1)),
        }
        if kind == "rect":
            x, y, wide, high = (float(own[name]) for name in ("x", "y", "width", "height"))
            line |= {"facecolor": own["fill"], "edgecolor": own["stroke"]}
            line["linestyle"] = (0, (3, 3)) if "stroke-dasharray" in own else "-"
            axes.add_patch(Rectangle((x, y), wide, high, **line))
        elif kind == "path":
            for points in own["d"].split("M")[1:]:
                xs, ys = zip(
                    *(map(float, point.split()) for point in points.split("L")), strict=True
                )
                axes.add_line(Line2D(xs, ys, color=own["stroke"], **line))
        elif kind == "text":
            axes.text(
                float(own["x"]),
                float(own["y"]),
                part.text or "",
                fontsize=POINT * float(own["font-size"]),
                fontweight="bold" if "font-weight" in own else "normal",
                color=own["fill"],
                ha="center" if "text-anchor" in own else "left",
                zorder=number,
                parse_math=False,
            )
    picture = Path(folder) / f"{drawing.stem}.png"
    figure.savefig(picture, dpi=2 * PER_INCH)
    return picture
