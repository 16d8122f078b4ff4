"""Render a drawing as SVG, or as text for a terminal."""

from __future__ import annotations

from html import escape

from rich.style import Style
from rich.text import Text

from seqmodels.dataflow.diagram import Arrow, Drawing

WIDE, HIGH = 10, 26  # pixels of a character and of a line
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
LIGHT, DARK = (214, 242, 220), (22, 120, 55)  # for a small and a large share of the gradient
BLUE_LIGHT, BLUE_DARK = (219, 234, 254), (29, 78, 176)  # the same for inputs
FILLS = {"cell": "#f3f4f6", "head": "#fff7d6", "logits": "#fff7d6", "padding": "#fafafa"}


def lights(drawing: Drawing) -> list[tuple[int, int, int] | None]:
    """The colour of each box: darker for a larger share, compared with the largest one among the
    inputs or among what the head reads. None for a box without a share."""
    read = max((box.share for box in drawing.boxes if box.kind != "input"), default=0)
    inputs = max((box.share for box in drawing.boxes if box.kind == "input"), default=0)
    colours: list[tuple[int, int, int] | None] = []
    for box in drawing.boxes:
        if not box.share > 0:
            colours.append(None)
            continue
        is_input = box.kind == "input"
        light, dark = (BLUE_LIGHT, BLUE_DARK) if is_input else (LIGHT, DARK)
        depth = (box.share / (inputs if is_input else read)) ** 0.7
        red, green, blue = (round(a + depth * (b - a)) for a, b in zip(light, dark, strict=True))
        colours.append((red, green, blue))
    return colours


def is_dark(rgb: tuple[int, int, int]) -> bool:
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 140


def to_svg(drawing: Drawing) -> str:
    """The drawing as a self-contained SVG with a white background."""
    pad, top = 14, 34
    width, height = drawing.width * WIDE + 2 * pad, drawing.height * HIGH + top + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{FONT}">',
        f"<title>{escape(drawing.title)}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
        f'<text x="{pad}" y="22" font-size="14" font-weight="600" fill="#111">'
        f"{escape(drawing.title)}</text>",
        f'<g transform="translate({pad} {top})" font-size="12" stroke-linejoin="round">',
    ]
    for reads, stroke, weight in ((False, "#9ca3af", 1.3), (True, "#16783a", 2)):
        if path := "".join(_path(arrow) for arrow in drawing.arrows if arrow.reads == reads):
            parts.append(
                f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="{weight}"/>'
            )
    parts += [
        f'<text x="{label.x * WIDE}" y="{label.y * HIGH + 17}" fill="#4b5563">'
        f"{escape(label.text)}</text>"
        for label in drawing.labels
    ]
    for box, rgb in zip(drawing.boxes, lights(drawing), strict=True):
        fill = FILLS.get(box.kind, "#ffffff") if rgb is None else "#{:02x}{:02x}{:02x}".format(*rgb)
        dashed = ' stroke-dasharray="3 3"' if box.kind == "padding" else ""
        stroke = "#d1d5db" if box.kind == "padding" else "#6b7280"
        parts.append(
            f'<rect x="{box.x * WIDE + 1}" y="{box.y * HIGH + 2}" width="{box.width * WIDE - 2}" '
            f'height="{HIGH - 4}" rx="4" fill="{fill}" stroke="{stroke}"{dashed}/>'
        )
        if box.text:
            ink = "#9ca3af" if box.kind == "padding" else "#111"
            ink = "#fff" if rgb is not None and is_dark(rgb) else ink
            parts.append(
                f'<text x="{(box.x + box.width / 2) * WIDE:g}" y="{box.y * HIGH + 17}" '
                f'text-anchor="middle" fill="{ink}">{escape(box.text)}</text>'
            )
    parts.append("</g>")
    counted = any(box.share for box in drawing.boxes if box.kind == "input")
    legend = "green: read by the head, with its share of the gradient"
    legend += "; blue: how much each input step counts" if counted else ""
    parts.append(f'<text x="{pad}" y="{height - 10}" font-size="11" fill="#4b5563">{legend}</text>')
    parts.append("</svg>")
    return "".join(parts) + "\n"


def _path(arrow: Arrow) -> str:
    x, y = arrow.x * WIDE, arrow.y * HIGH
    if arrow.y != arrow.to_y:  # from the upper edge of a box to the lower edge of another
        return f"M{x} {y + 2}L{x} {arrow.to_y * HIGH + 1}m-4 6l4 -6l4 6"
    side, middle = 1 if arrow.to_x > arrow.x else -1, y + HIGH / 2
    start, tip = (at * WIDE + (1 + side) * WIDE / 2 for at in (arrow.x, arrow.to_x))
    head = f"m{-6 * side} -4l{6 * side} 4l{-6 * side} 4"
    return f"M{start:g} {middle:g}L{tip - 2 * side:g} {middle:g}{head}"


def to_text(drawing: Drawing) -> Text:
    """The drawing in characters, for Rich to print."""
    letters = [[" "] * drawing.width for _ in range(drawing.height)]
    styles = [[Style()] * drawing.width for _ in range(drawing.height)]

    def put(x: int, y: int, text: str, style: Style) -> None:
        for column, letter in enumerate(text, start=x):
            if 0 <= column < drawing.width:
                letters[y][column], styles[y][column] = letter, style

    for arrow in drawing.arrows:
        style = Style(color="green", bold=True) if arrow.reads else Style(dim=True)
        if arrow.y == arrow.to_y:
            first, last = sorted((arrow.x, arrow.to_x))
            put(first, arrow.y, "─" * (last - first + 1), style)
            put(arrow.to_x, arrow.y, "→" if arrow.to_x > arrow.x else "←", style)
        else:
            for y in range(arrow.to_y, arrow.y):
                put(arrow.x, y, "↑" if y == arrow.to_y else "│", style)
    for label in drawing.labels:
        put(label.x, label.y, label.text, Style(dim=True))
    for box, rgb in zip(drawing.boxes, lights(drawing), strict=True):
        text = box.text.center(box.width)
        if rgb is not None:
            ink = "white" if is_dark(rgb) else "black"
            style = Style(color=ink, bgcolor="rgb({},{},{})".format(*rgb))
        elif box.kind in ("head", "logits"):
            style = Style(bold=True, reverse=True)
        elif box.kind == "padding":
            text, style = box.text.center(box.width, "·"), Style(dim=True)
        else:
            style = Style()
            if box.kind in ("cell", "input") or box.width >= 5:
                text = f"[{box.text.center(box.width - 2)}]"
        put(box.x, box.y, text[: box.width], style)
    picture = Text()
    for line, line_styles in zip(letters, styles, strict=True):
        for letter, style in zip(line, line_styles, strict=True):
            picture.append(letter, style)
        picture.append("\n")
    return picture
