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

CELL, PITCH, STATE, LABEL, CONTEXT = 6, 7, 5, 8, 9  # widths, in characters
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

Kind = Literal["cell", "output", "state", "input", "head", "logits", "padding"]


def title(task: Task) -> str:
    """`h_n -> last_hidden: LSTM, 2 layers, one direction`."""
    head, encoder = task.network.head, task.network.encoder
    layers = f"{encoder.num_layers} layer{'s' * (encoder.num_layers > 1)}"
    directions = "both directions" if encoder.bidirectional else "one direction"
    windows = f", windows of {task.network.window} steps" if task.network.window else ""
    what = f"{' and '.join(head.reads)} -> {head.name}{', every step' * (head.per == 'step')}"
    return f"{what}: {encoder.cell.upper()}, {layers}, {directions}{windows}"


def draw(task: Task, trace: Trace, row: int) -> Drawing:
    """Draws one row of a traced batch. Trace only a few steps, or the drawing gets too wide."""
    diagram = _WithDecoder if task.contract.kind.decoder else _Diagram
    return diagram(task, trace, row).draw()


class _Diagram:
    """An encoder and what is read of it. From the top: lines `above` the head, such as logits, then
    the head, `output`, layers, inputs."""

    def __init__(self, task: Task, trace: Trace, row: int, above: int = 2) -> None:
        self.task, self.trace, self.row, self.head_y = task, trace, row, above
        self.encoder, self.contract = task.network.encoder, task.contract
        self.length = int(trace.lengths[row])
        self.directions, self.cell = self.encoder.num_directions, self.encoder.cell.upper()[:CELL]
        # of the boxes at the end of a direction, of which two have room
        self.states = max(2, len(trace.finals)) * (STATE + 1)
        self.left = self.where_cells_begin()
        self.columns = self.cells(trace.output.shape[1])
        self.right = self.columns[-1] + CELL + 1  # where the forward direction's states begin
        self.inputs_y = above + 4 + self.encoder.num_layers * (self.directions + 1)
        # the backward direction is named beside the arrow that comes from the forward direction's
        # `h_n`, or behind the arrow from its `c_n`
        wide = any(bool(trace.finals[name].any()) for name in [*trace.finals][1:])
        self.names_x = self.right + (self.states if wide else STATE // 2 + 1)
        ends = [self.right + self.states, len(task.network.head.name) + 2]
        if self.contract.stateful:
            ends.append(self.right + len("→ next window"))
        if self.directions == 2:
            ends.append(self.names_x + len(f"← layer {self.encoder.num_layers}"))
        self.drawing = Drawing(title(task), max(ends), self.inputs_y + 2)

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
            for x in self.columns[: self.length]:  # from this layer to the next, or to output
                self.drawing.up(x, CELL, top, top - 1)
        self.draw_inputs()
        return self.drawing

    def draw_logits(self) -> None:
        drawing, contract = self.drawing, self.contract
        if contract.per == "sequence":
            width = 8 + drawing.width % 2  # exactly in the middle
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
        y, half = self.head_y + 2, CELL // self.directions
        self.drawing.label(0, y, "output")
        for step, x in enumerate(self.columns):
            kind: Kind = "output" if step < self.length else "padding"
            for direction, share in enumerate(self.trace.output[self.row, step].tolist()):
                text = percent(share, half) if kind == "output" else "0"  # as the encoder leaves it
                start = x + direction * half
                self.drawing.box(start, y, half, text, kind, share)
                if share:
                    self.drawing.up(start, half, y, self.head_y + 1, reads=True)

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
            final_share: of the final states, which are those of the direction's last cell.
        """
        drawing, backward = self.drawing, direction == 1
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
            if step != end:
                drawing.across(x if backward else x + CELL - 1, y, x - 1 if backward else x + CELL)

    def draw_finals(self, finals: dict[str, float], backward: bool, y: int) -> None:
        """`h_n` and `c_n` behind the last cell, with their shares."""
        for number, (name, share) in enumerate(finals.items()):
            offset = number * (STATE + 1)
            x = self.left - 1 - STATE - offset if backward else self.right + offset
            if not share:
                self.drawing.box(x, y, STATE, name, "state", share)
                continue
            # What is read is two lines high: it grows to where the other direction has no states.
            top = y - 1 if backward else y
            self.drawing.box(x, top, STATE, f"{name}\n{percent(share, STATE)}", "state", share)
            self.drawing.up(x, STATE, top, self.head_y + 1, reads=True)

    def draw_inputs(self) -> None:
        drawing, y = self.drawing, self.inputs_y
        if self.contract.stateful:
            drawing.label(self.right, y, "→ next window")
        drawing.label(0, y, "inputs")
        for step, x in enumerate(self.columns):
            drawing.label(x + CELL / 2 - 1.5, y + 1, f"t={step}")
            if step >= self.length:
                drawing.box(x, y, CELL, "pad", "padding")
                continue
            share = self.trace.inputs[self.row, step] if self.contract.per == "sequence" else 0.0
            drawing.box(x, y, CELL, f"x{step}", "input", float(share))
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
        # with two directions, the arrows of the backward direction's states would cross the labels
        return self.states + LABEL * (self.directions == 2)

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
            x, start = self.left - (STATE + 1) * number, name.removesuffix("n") + "0"
            for layer, share in enumerate(final[self.row].sum(dim=1).tolist()):
                self.drawing.box(x, self.target_y - 1 - layer, STATE, start, "state", share)
            self.drawing.up(x, STATE, self.head_y, self.target_y, reads=True)

    def draw_attention(self) -> None:
        drawing, x = self.drawing, self.end + 2
        for each in self.target_x:
            drawing.box(each, 2, CELL, "mix", "output")
            drawing.up(each, CELL, 2, 1)
        share = float(self.trace.output[self.row].sum())
        drawing.box(x, 2, CONTEXT, "context", "output", share)
        drawing.up(x, CONTEXT, self.head_y, 3, reads=True)
        drawing.across(x, 2, self.end, reads=True)


def percent(share: float, width: int) -> str:
    """`17 %`, without the sign if there is no room for it."""
    if not share:
        return ""
    text = "<1" if share < 0.005 else f"{share:.0%}"[:-1]
    return f"{text} %" if width >= 5 else text


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
