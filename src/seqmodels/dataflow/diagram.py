"""Draw a trace: cells by layer and step, `output` along the top, `h_n` and `c_n` at the end of each
direction. What the head reads is coloured. A decoder stands on top of what it starts from.

`draw` makes a `Drawing` of boxes, labels and arrows, whose places are counted in characters and
lines; `to_svg` writes it as a picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, cast

from rich.color import blend_rgb
from rich.color_triplet import ColorTriplet

from seqmodels.dataflow.tracing import Trace
from seqmodels.engine import Task

# Widths, in characters.
CELL = 6
PITCH = 7  # the distance of two cells
STATE = 5
LABEL = 8
CONTEXT = 9

# Sizes, in pixels.
WIDE = 8  # a character's width
HIGH = 26  # a line's height
PAD = 10  # around the drawing
TOP = 56  # the title's height
LEGEND_LINE = 20

FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
# The colours of a small and a large share of the gradient: greens of what the head reads, blues of
# inputs.
GREENS = ColorTriplet(214, 242, 220), ColorTriplet(22, 120, 55)
BLUES = ColorTriplet(219, 234, 254), ColorTriplet(29, 78, 176)

NONE = "none"
PAPER = "#ffffff"
INK = "#111111"
FAINT_INK = "#4b5563"
LINE = "#6b7280"
FAINT_LINE = "#d1d5db"
ARROW = "#9ca3af"
READING = "#16783a"
FILLS = {"cell": "#f3f4f6", "head": "#fff7d6", "logits": "#fff7d6", "padding": "#fafafa"}
LEGEND = (
    (GREENS, "read by the head, with its share of the gradient"),
    (BLUES, "how much each input step counts"),
)

Kind = Literal["cell", "output", "state", "input", "head", "logits", "padding"]


def title(task: Task) -> str:
    """`h_n -> last_hidden: LSTM, 2 layers, one direction`."""
    head = task.network.head
    encoder = task.network.encoder
    reading = f"{' and '.join(head.reads)} -> {head.name}"
    if head.per == "step":
        reading += ", every step"
    layers = "1 layer" if encoder.num_layers == 1 else f"{encoder.num_layers} layers"
    directions = "both directions" if encoder.bidirectional else "one direction"
    network = f"{encoder.cell.upper()}, {layers}, {directions}"
    if task.network.window:
        network += f", windows of {task.network.window} steps"
    return f"{reading}: {network}"


def draw(task: Task, trace: Trace, row: int) -> Drawing:
    """Draws one row of a traced batch. Trace only a few steps, or the drawing gets too wide."""
    if task.contract.kind.decoder:
        return _WithDecoder(task, trace, row).draw()
    return _Diagram(task, trace, row).draw()


class _Diagram:
    """An encoder and what is read of it. From the top: logits, the head, `output`, layers, inputs.

    Args:
        above: the number of lines above the head.
    """

    def __init__(self, task: Task, trace: Trace, row: int, above: int = 2) -> None:
        self.task = task
        self.trace = trace
        self.row = row
        self.head_y = above
        self.encoder = task.network.encoder
        self.contract = task.contract
        self.length = int(trace.lengths[row])
        self.directions = self.encoder.num_directions
        self.cell = self.encoder.cell.upper()[:CELL]

        # The width of the boxes at the end of a direction, with room for two at least.
        self.states = max(2, len(trace.finals)) * (STATE + 1)
        self.left = self.where_cells_begin()
        self.columns = self.cells(trace.output.shape[1])
        self.right = self.columns[-1] + CELL + 1  # The forward direction's states begin here.
        self.inputs_y = above + 4 + self.encoder.num_layers * (self.directions + 1)

        # The backward direction is named beside the arrow that comes from the forward direction's
        # `h_n`, or behind the arrow from its `c_n`.
        self.names_x = self.right + STATE // 2 + 1
        finals_beside_h_n = list(trace.finals.values())[1:]
        if any(bool(shares.any()) for shares in finals_beside_h_n):
            self.names_x = self.right + self.states
        self.drawing = Drawing(title(task), self.drawing_width(), self.inputs_y + 2)

    def drawing_width(self) -> int:
        ends = [self.right + self.states, len(self.task.network.head.name) + 2]
        if self.contract.stateful:
            ends.append(self.right + len("→ next window"))
        if self.directions == 2:
            ends.append(self.names_x + len(f"← layer {self.encoder.num_layers}"))
        return max(ends)

    def where_cells_begin(self) -> int:
        return self.states if self.directions == 2 else LABEL

    def cells(self, steps: int) -> list[int]:
        """Where the cell of each step begins."""
        return [self.left + PITCH * step for step in range(steps)]

    def draw(self) -> Drawing:
        self.drawing.box(0, self.head_y, self.drawing.width, self.task.network.head.name, "head")
        self.draw_logits()
        self.draw_output()
        for layer in range(self.encoder.num_layers):
            top = self.head_y + 4 + (self.encoder.num_layers - 1 - layer) * (self.directions + 1)
            for direction in range(self.directions):
                self.draw_direction(layer, direction, top + self.directions - 1 - direction)
            # Arrows lead from this layer to the next, or to `output`.
            for x in self.columns[: self.length]:
                self.drawing.up(x, CELL, top, top - 1)
        self.draw_inputs()
        return self.drawing

    def draw_logits(self) -> None:
        drawing = self.drawing
        contract = self.contract
        if contract.per == "sequence":
            width = 8
            if drawing.width % 2 == 1:  # The box is exactly in the middle.
                width = 9
            drawing.box((drawing.width - width) // 2, 0, width, "logits", "logits")
            drawing.up(0, drawing.width, 2, 1)
            return
        for step, x in enumerate(self.columns[: self.length]):
            predicted = contract.kind.step.format(step=step, next=step + 1)
            drawing.box(x, 0, CELL, predicted, "logits")
            drawing.up(x, CELL, 2, 1)
            if self.task.network.head.output.links_steps and step + 1 < self.length:
                drawing.across(x + CELL - 1, 0, x + CELL)

    def draw_output(self) -> None:
        y = self.head_y + 2
        width = CELL // self.directions
        self.drawing.label(0, y, "output")
        for step, x in enumerate(self.columns):
            for direction, share in enumerate(self.trace.output[self.row, step].tolist()):
                start = x + direction * width
                if step < self.length:
                    self.drawing.box(start, y, width, percent(share, width), "output", share)
                else:  # The encoder leaves zeros at padding.
                    self.drawing.box(start, y, width, "0", "padding", share)
                if share:
                    self.drawing.up(start, width, y, self.head_y + 1, reads=True)

    def draw_direction(self, layer: int, direction: int, y: int) -> None:
        """The cells of one layer and direction, from its first step to its `h_n` and `c_n`."""
        backward = direction == 1
        finals = {
            name: float(shares[self.row, layer, direction])
            for name, shares in self.trace.finals.items()
        }
        self.draw_cells(layer, direction, y, sum(finals.values()))
        if backward:
            self.drawing.across(self.left, y, self.left - 1)
            self.drawing.label(self.names_x, y, f"← layer {layer + 1}")
        else:
            end = self.columns[self.length - 1] + CELL - 1
            self.drawing.across(end, y, self.right - 1)
            arrow = " →" if self.directions == 2 else ""
            self.drawing.label(0, y, f"layer {layer + 1}{arrow}")
        self.draw_finals(finals, backward, y)

    def draw_cells(self, layer: int, direction: int, y: int, final_share: float) -> None:
        """The cells at every step.

        Args:
            final_share: the share of the final states, which are those of the direction's last
                cell.
        """
        drawing = self.drawing
        backward = direction == 1
        end = 0 if backward else self.length - 1
        is_last_layer = layer == self.encoder.num_layers - 1
        for step, x in enumerate(self.columns):
            share = 0.0
            if is_last_layer:
                share += float(self.trace.output[self.row, step, direction])
            if step == end:
                share += final_share
            if step >= self.length:
                drawing.box(x, y, CELL, "", "padding", share)
                continue
            drawing.box(x, y, CELL, percent(share, CELL) or self.cell, "cell", share)
            if step == end:
                continue
            if backward:
                drawing.across(x, y, x - 1)
            else:
                drawing.across(x + CELL - 1, y, x + CELL)

    def draw_finals(self, finals: dict[str, float], backward: bool, y: int) -> None:
        """`h_n` and `c_n` behind the last cell, with their shares."""
        for number, (name, share) in enumerate(finals.items()):
            offset = number * (STATE + 1)
            x = self.right + offset
            if backward:
                x = self.left - 1 - STATE - offset
            if not share:
                self.drawing.box(x, y, STATE, name, "state", share)
                continue
            # What is read is two lines high: it grows to where the other direction has no states.
            top = y - 1 if backward else y
            self.drawing.box(x, top, STATE, f"{name}\n{percent(share, STATE)}", "state", share)
            self.drawing.up(x, STATE, top, self.head_y + 1, reads=True)

    def draw_inputs(self) -> None:
        drawing = self.drawing
        y = self.inputs_y
        if self.contract.stateful:
            drawing.label(self.right, y, "→ next window")
        drawing.label(0, y, "inputs")
        for step, x in enumerate(self.columns):
            drawing.label(x + CELL / 2 - 1.5, y + 1, f"t={step}")
            if step >= self.length:
                drawing.box(x, y, CELL, "pad", "padding")
                continue
            share = 0.0
            if self.contract.per == "sequence":
                share = float(self.trace.inputs[self.row, step])
            drawing.box(x, y, CELL, f"x{step}", "input", share)
            drawing.up(x, CELL, y, y - 1)


class _WithDecoder(_Diagram):
    """A decoder on top. From the top: logits, what attention adds, layers, what is read. Each layer
    starts from `h_0` and `c_0`, which the head makes of the same layer of `h_n` and `c_n`. What the
    head reads of `output` goes to every step."""

    def __init__(self, task: Task, trace: Trace, row: int) -> None:
        self.layers = cast(Any, task.network.head.output).rnn.num_layers
        self.attends = bool(trace.output.any())
        self.target_y = (3 if self.attends else 2) + self.layers
        super().__init__(task, trace, row, self.target_y + 2)
        self.target_x = self.cells(trace.shapes["logits"][1])
        self.end = self.target_x[-1] + CELL
        self.starts_x = self.end + (CONTEXT + 3 if self.attends else 1)
        self.drawing.width = max(self.drawing.width, self.starts_x + len("from layer 1"))

    def where_cells_begin(self) -> int:
        if self.directions == 1:
            return self.states
        # The arrows of the backward direction's states would cross the labels.
        return self.states + LABEL

    def draw_logits(self) -> None:
        drawing = self.drawing
        for layer in range(self.layers):
            y = self.target_y - 1 - layer
            drawing.label(self.starts_x, y, f"from layer {layer + 1}")
            drawing.across(self.left - 1, y, self.left)
            for x in self.target_x:
                drawing.box(x, y, CELL, self.cell, "cell")
                drawing.up(x, CELL, y, y - 1)
            for x in self.target_x[1:]:
                drawing.across(x - 2, y, x - 1)
        for step, x in enumerate(self.target_x):
            drawing.box(x, 0, CELL, f"p(y{step + 1})", "logits")
            drawing.box(x, self.target_y, CELL, f"y{step}" if step else "start", "input")
            drawing.up(x, CELL, self.target_y, self.target_y - 1)
        self.draw_start()
        if self.attends:
            self.draw_attention()

    def draw_start(self) -> None:
        for number, (name, final) in enumerate(self.trace.finals.items(), start=1):
            x = self.left - (STATE + 1) * number
            start = name.removesuffix("n") + "0"  # `h_n` -> `h_0`
            shares_by_layer = final[self.row].sum(dim=1).tolist()
            for layer, share in enumerate(shares_by_layer):
                self.drawing.box(x, self.target_y - 1 - layer, STATE, start, "state", share)
            self.drawing.up(x, STATE, self.head_y, self.target_y, reads=True)

    def draw_attention(self) -> None:
        drawing = self.drawing
        for x in self.target_x:
            drawing.box(x, 2, CELL, "mix", "output")
            drawing.up(x, CELL, 2, 1)
        share = float(self.trace.output[self.row].sum())
        x = self.end + 2
        drawing.box(x, 2, CONTEXT, "context", "output", share)
        drawing.up(x, CONTEXT, self.head_y, 3, reads=True)
        drawing.across(x, 2, self.end, reads=True)


def percent(share: float, width: int) -> str:
    """`17 %`, without the sign if there is no room for it."""
    if not share:
        return ""
    number = f"{share:.0%}".removesuffix("%")
    if share < 0.005:
        number = "<1"
    if width < 5:
        return number
    return f"{number} %"


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
    # For each arrow, whether it leads into the head, and its path.
    arrows: list[tuple[bool, str]] = field(default_factory=list)

    def box(self, x: int, y: int, width: int, text: str, kind: Kind, share: float = 0.0) -> None:
        self.boxes.append(Box(x, y, width, text, kind, share))

    def label(self, x: int | float, y: int, text: str) -> None:
        self.labels.append((x, y, text))

    def across(self, x: int, y: int, to_x: int, reads: bool = False) -> None:
        """Draws an arrow along the middle of a line, from one character to another."""
        middle = _y(y) + HIGH // 2
        if to_x > x:  # It leads to the right, from the right edges of both.
            start = _x(x + 1.0)
            end = _x(to_x + 1.0)
            tip = end - 2
            back = end - 7
        else:
            start = _x(x + 0.0)
            end = _x(to_x + 0.0)
            tip = end + 2
            back = end + 7
        head = f"M{back} {middle - 4}L{tip} {middle}L{back} {middle + 4}"
        self.arrows.append((reads, f"M{start} {middle}L{tip} {middle}{head}"))

    def up(self, x: int, width: int, y: int, to_y: int, reads: bool = False) -> None:
        """Draws an arrow from the middle of the upper edge of what begins at `x` to the lower edge
        of a line."""
        middle = _x(x + width / 2)
        tip = _y(to_y) + 1
        head = f"M{middle - 4} {tip + 6}L{middle} {tip}L{middle + 4} {tip + 6}"
        self.arrows.append((reads, f"M{middle} {_y(y) + 2}L{middle} {tip}{head}"))


def colours(drawing: Drawing) -> list[ColorTriplet | None]:
    """The colour of each box: deeper for a larger share, compared with the largest one among the
    inputs or among what the head reads. None for a box without a share."""
    shares_of_inputs = [box.share for box in drawing.boxes if box.kind == "input"]
    read_shares = [box.share for box in drawing.boxes if box.kind != "input"]
    colours_of_boxes = list[ColorTriplet | None]()
    for box in drawing.boxes:
        colour = None
        if box.share > 0 and box.kind == "input":
            depth = (box.share / max(shares_of_inputs)) ** 0.7
            colour = blend_rgb(*BLUES, depth)
        elif box.share > 0:
            depth = (box.share / max(read_shares)) ** 0.7
            colour = blend_rgb(*GREENS, depth)
        colours_of_boxes.append(colour)
    return colours_of_boxes


def to_svg(drawing: Drawing) -> str:
    """The drawing as a self-contained SVG."""
    reading, _, network = drawing.title.rpartition(": ")
    shares_of_inputs = [box.share for box in drawing.boxes if box.kind == "input"]
    legend = list(LEGEND)
    if not any(shares_of_inputs):
        legend = legend[:1]

    # No letter of a title is wider than `WIDE` on average, nor one of the smaller legend.
    texts = [reading, network, *(text for _, text in legend)]
    characters = max(drawing.width, *(len(text) for text in texts))
    width = characters * WIDE + 2 * PAD
    legend_y = TOP + drawing.height * HIGH
    height = legend_y + LEGEND_LINE * len(legend) + 14
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{FONT}">',
        f"<title>{escape(drawing.title)}</title>",
        f'<rect x="0" y="0" width="{width}" height="{height}" rx="8" {_painted(PAPER)}/>',
        _text(PAD, 24, 14, INK, reading, ' font-weight="600"'),
        _text(PAD, 43, 13, FAINT_INK, network),
        '<g stroke-linejoin="round">',
    ]
    # Arrows into the head are drawn last, on top.
    for is_into_head, paint, weight in ((False, ARROW, 1.3), (True, READING, 2)):
        paths = [path for reads, path in drawing.arrows if reads == is_into_head]
        if paths:
            stroke = f'stroke-width="{weight}" {_painted(NONE, paint)}'
            elements.append(f'<path d="{"".join(paths)}" {stroke}/>')
    for x, y, text in drawing.labels:
        elements.append(_text(_x(x), _y(y) + 17, 13, FAINT_INK, text))
    for box, colour in zip(drawing.boxes, colours(drawing), strict=True):
        elements += _box(box, colour)
    elements.append("</g>")
    for number, ((_, deepest), text) in enumerate(legend):
        top = legend_y + LEGEND_LINE * number + 8
        fill = _painted(deepest.hex)
        elements.append(f'<rect x="{PAD}" y="{top}" width="12" height="12" rx="3" {fill}/>')
        elements.append(_text(PAD + 20, top + 10, 12, FAINT_INK, text))
    elements.append("</svg>")
    return "".join(elements) + "\n"


def _painted(fill: str, stroke: str = NONE) -> str:
    """The attributes of an element's colours."""
    return f'fill="{fill}" stroke="{stroke}"'


def _text(x: int, y: int | float, size: int, ink: str, text: str, attributes: str = "") -> str:
    """A text that begins at a place, unless further attributes say otherwise."""
    place = f'x="{x}" y="{y}"{attributes}'
    return f'<text {place} font-size="{size}" {_painted(ink)}>{escape(text)}</text>'


def _box(box: Box, colour: ColorTriplet | None) -> list[str]:
    """The rectangle of a box, and the lines of its text."""
    fill = FILLS.get(box.kind, PAPER)
    ink = INK
    edge = LINE
    dashes = ""
    if box.kind == "padding":
        ink = FAINT_INK
        edge = FAINT_LINE
        dashes = ' stroke-dasharray="3 3"'
    if colour:
        fill = colour.hex
        brightness = 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue
        ink = PAPER if brightness < 140 else INK

    count = len(box.lines)
    elements = [
        f'<rect x="{_x(box.x) + 1}" y="{_y(box.y) + 2}" width="{box.width * WIDE - 2}" '
        f'height="{count * HIGH - 4}" rx="4" {_painted(fill, edge)}{dashes}/>'
    ]
    if not box.text:
        return elements
    size = 13
    if box.width == 5:
        size = 12
    elif box.width < 5:
        size = 11
    x = _x(box.x + box.width / 2)
    middle = _y(box.y + count / 2)
    for number, text in enumerate(box.lines):
        # Lines in a box are closer than lines of different boxes.
        y = middle + 17 * (number - (count - 1) / 2) + 4
        elements.append(_text(x, y, size, ink, text, ' text-anchor="middle"'))
    return elements


def _x(column: int | float) -> int:
    """Where a character of a line begins, in pixels."""
    return PAD + round(column * WIDE)


def _y(line: int | float) -> int:
    """Where a line begins, in pixels."""
    return TOP + round(line * HIGH)
