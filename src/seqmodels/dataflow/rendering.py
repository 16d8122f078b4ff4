"""A picture of a network in characters and lines; as SVG."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Literal

from rich.color import blend_rgb
from rich.color_triplet import ColorTriplet

Kind = Literal["cell", "output", "state", "input", "head", "logits", "padding"]

WIDE, HIGH, PAD, TOP = 8, 26, 10, 56  # pixels: of a character, of a line, around all, of the title
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
# for a small and a large share of the gradient
GREENS = ColorTriplet(214, 242, 220), ColorTriplet(22, 120, 55)
BLUES = ColorTriplet(219, 234, 254), ColorTriplet(29, 78, 176)  # the same for inputs

NONE, PAPER, INK, FAINT_INK = "none", "#ffffff", "#111111", "#4b5563"
LINE, FAINT_LINE, ARROW, READING = "#6b7280", "#d1d5db", "#9ca3af", "#16783a"
FILLS = {"cell": "#f3f4f6", "head": "#fff7d6", "logits": "#fff7d6", "padding": "#fafafa"}
LEGEND = (
    (GREENS, "read by the head, with its share of the gradient"),
    (BLUES, "how much each input step counts"),
)


@dataclass(frozen=True)
class Box:
    """A rectangle, as many lines high as its text, which is in its middle."""

    x: int
    y: int
    width: int
    text: str
    kind: Kind
    share: float = 0.0  # 0 if the head does not read it

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")


@dataclass(frozen=True)
class Arrow:
    """A horizontal or upward line; `reads` if it goes into the head."""

    x: int | float  # the middle of an odd width is half a character
    y: int
    to_x: int | float
    to_y: int
    reads: bool = False


@dataclass(frozen=True)
class Label:
    x: int | float
    y: int
    text: str


@dataclass
class Drawing:
    """Boxes over labels over arrows, in characters and lines from the upper left corner."""

    title: str
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)

    def box(self, x: int, y: int, width: int, text: str, kind: Kind, share: float = 0.0) -> None:
        self.boxes.append(Box(x, y, width, text, kind, share))

    def across(self, x: int, y: int, to_x: int) -> None:
        self.arrows.append(Arrow(x, y, to_x, y))

    def up(self, x: int, width: int, y: int, to_y: int, reads: bool = False) -> None:
        """An arrow from the middle of what begins at `x`."""
        self.arrows.append(Arrow(x + width / 2, y, x + width / 2, to_y, reads))


def colours(drawing: Drawing) -> list[ColorTriplet | None]:
    """The colour of each box: deeper for a larger share, compared with the largest one among the
    inputs or among what the head reads. None for a box without a share."""

    def colour(box: Box) -> ColorTriplet:
        inputs = box.kind == "input"
        largest = max(other.share for other in drawing.boxes if (other.kind == "input") == inputs)
        return blend_rgb(*(BLUES if inputs else GREENS), (box.share / largest) ** 0.7)

    return [colour(box) if box.share > 0 else None for box in drawing.boxes]


def to_svg(drawing: Drawing) -> str:
    """The drawing as a self-contained SVG."""
    what, _, network = drawing.title.rpartition(": ")
    counted = any(box.share for box in drawing.boxes if box.kind == "input")
    legend = LEGEND if counted else LEGEND[:1]
    # no letter of a title is wider than `WIDE` on average, nor of the smaller legend
    wide = max(drawing.width, len(what), len(network), *(len(text) for *_, text in legend))
    width, height = wide * WIDE + 2 * PAD, TOP + drawing.height * HIGH + 20 * len(legend) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{FONT}">',
        f"<title>{escape(drawing.title)}</title>",
        f'<rect x="0" y="0" width="{width}" height="{height}" rx="8" {_painted(PAPER)}/>',
        _text(PAD, 24, 14, INK, what, ' font-weight="600"'),
        _text(PAD, 43, 13, FAINT_INK, network),
        '<g stroke-linejoin="round">',
    ]
    for reads, paint, weight in ((False, ARROW, 1.3), (True, READING, 2)):
        if path := "".join(_path(arrow) for arrow in drawing.arrows if arrow.reads == reads):
            parts.append(f'<path d="{path}" stroke-width="{weight}" {_painted(NONE, paint)}/>')
    labels = [label for label in drawing.labels if label.text]
    parts += [_text(_x(each.x), _y(each.y) + 17, 13, FAINT_INK, each.text) for each in labels]
    for box, colour in zip(drawing.boxes, colours(drawing), strict=True):
        parts += _box(box, colour)
    parts.append("</g>")
    for number, ((_, deepest), text) in enumerate(legend):
        y, fill = TOP + drawing.height * HIGH + 20 * number + 8, _painted(deepest.hex)
        parts.append(f'<rect x="{PAD}" y="{y}" width="12" height="12" rx="3" {fill}/>')
        parts.append(_text(PAD + 20, y + 10, 12, FAINT_INK, text))
    parts.append("</svg>")
    return "".join(parts) + "\n"


def _painted(fill: str, stroke: str = NONE) -> str:
    return f'fill="{fill}" stroke="{stroke}"'


def _text(x: int, y: int | float, size: int, ink: str, text: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}"{more} font-size="{size}" {_painted(ink)}>{escape(text)}</text>'


def _box(box: Box, colour: ColorTriplet | None) -> list[str]:
    padding = box.kind == "padding"
    fill, ink = FILLS.get(box.kind, PAPER), FAINT_INK if padding else INK
    if colour:
        light = 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue
        fill, ink = colour.hex, PAPER if light < 140 else INK
    dashed = ' stroke-dasharray="3 3"' if padding else ""
    parts = [
        f'<rect x="{_x(box.x) + 1}" y="{_y(box.y) + 2}" width="{box.width * WIDE - 2}" '
        f'height="{len(box.lines) * HIGH - 4}" rx="4" '
        f"{_painted(fill, FAINT_LINE if padding else LINE)}{dashed}/>"
    ]
    size = 13 if box.width > 5 else 12 if box.width == 5 else 11
    for number, line in enumerate(box.lines if box.text else []):
        # lines in a box are closer than lines of different boxes
        y = _y(box.y + len(box.lines) / 2) + 17 * (number - (len(box.lines) - 1) / 2) + 4
        middle = _x(box.x + box.width / 2)
        parts.append(_text(middle, y, size, ink, line, ' text-anchor="middle"'))
    return parts


def _path(arrow: Arrow) -> str:
    """The line of an arrow, and the line of its head."""
    x, y = _x(arrow.x), _y(arrow.y)
    if arrow.y != arrow.to_y:  # from the upper edge of a box to the lower edge of another
        tip = _y(arrow.to_y) + 1
        return f"M{x} {y + 2}L{x} {tip}M{x - 4} {tip + 6}L{x} {tip}L{x + 4} {tip + 6}"
    side, middle = 1 if arrow.to_x > arrow.x else -1, y + HIGH // 2
    start, end = (_x(at + (1 + side) / 2) for at in (arrow.x, arrow.to_x))
    tip, back = end - 2 * side, end - 7 * side
    head = f"M{back} {middle - 4}L{tip} {middle}L{back} {middle + 4}"
    return f"M{start} {middle}L{tip} {middle}{head}"


def _x(column: int | float) -> int:
    """Where a column of characters begins, in pixels."""
    return PAD + round(column * WIDE)


def _y(line: int | float) -> int:
    """Where a line begins, in pixels."""
    return TOP + round(line * HIGH)
