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
    share: float  # 0 if the head does not read it

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")


@dataclass
class Drawing:
    """Boxes over labels over arrows, in characters and lines from the upper left corner."""

    title: str
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)
    labels: list[tuple[int | float, int, str]] = field(default_factory=list)
    arrows: list[tuple[bool, str]] = field(default_factory=list)  # whether into the head; its path

    def box(self, x: int, y: int, width: int, text: str, kind: Kind, share: float = 0.0) -> None:
        self.boxes.append(Box(x, y, width, text, kind, share))

    def label(self, x: int | float, y: int, text: str) -> None:
        self.labels.append((x, y, text))

    def across(self, x: int, y: int, to_x: int, reads: bool = False) -> None:
        side, middle = 1 if to_x > x else -1, _y(y) + HIGH // 2
        start, end = (_x(at + (1 + side) / 2) for at in (x, to_x))
        tip, back = end - 2 * side, end - 7 * side
        head = f"M{back} {middle - 4}L{tip} {middle}L{back} {middle + 4}"
        self.arrows.append((reads, f"M{start} {middle}L{tip} {middle}{head}"))

    def up(self, x: int, width: int, y: int, to_y: int, reads: bool = False) -> None:
        """From the middle of the upper edge of what begins at `x` to the lower edge of a line."""
        middle, tip = _x(x + width / 2), _y(to_y) + 1
        head = f"M{middle - 4} {tip + 6}L{middle} {tip}L{middle + 4} {tip + 6}"
        self.arrows.append((reads, f"M{middle} {_y(y) + 2}L{middle} {tip}{head}"))


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
        if path := "".join(path for into, path in drawing.arrows if into == reads):
            parts.append(f'<path d="{path}" stroke-width="{weight}" {_painted(NONE, paint)}/>')
    parts += [_text(_x(x), _y(y) + 17, 13, FAINT_INK, text) for x, y, text in drawing.labels]
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
    fill, ink, line, more = FILLS.get(box.kind, PAPER), INK, LINE, ""
    if box.kind == "padding":
        ink, line, more = FAINT_INK, FAINT_LINE, ' stroke-dasharray="3 3"'
    if colour:
        light = 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue
        fill, ink = colour.hex, PAPER if light < 140 else INK
    parts = [
        f'<rect x="{_x(box.x) + 1}" y="{_y(box.y) + 2}" width="{box.width * WIDE - 2}" '
        f'height="{len(box.lines) * HIGH - 4}" rx="4" {_painted(fill, line)}{more}/>'
    ]
    size = 13 if box.width > 5 else 12 if box.width == 5 else 11
    for number, line in enumerate(box.lines if box.text else []):
        # lines in a box are closer than lines of different boxes
        y = _y(box.y + len(box.lines) / 2) + 17 * (number - (len(box.lines) - 1) / 2) + 4
        middle = _x(box.x + box.width / 2)
        parts.append(_text(middle, y, size, ink, line, ' text-anchor="middle"'))
    return parts


def _x(column: int | float) -> int:  # where it begins, in pixels
    return PAD + round(column * WIDE)


def _y(line: int | float) -> int:
    return TOP + round(line * HIGH)
