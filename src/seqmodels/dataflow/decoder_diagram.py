"""Draw a decoder above the encoder that it starts from."""

from __future__ import annotations

from dataclasses import replace

from seqmodels.dataflow.drawing import CELL, LABEL, PITCH, STATE, Arrow, Box, Drawing, Label
from seqmodels.dataflow.tracing import Trace
from seqmodels.nn.encoder import RecurrentEncoder

CONTEXT = 9  # the width of its box


def draw_decoder(
    drawing: Drawing, decoder: RecurrentEncoder, trace: Trace, row: int, left: int
) -> Drawing:
    """The drawing of an encoder, whose head is its first line, with a decoder on top of it.

    Each layer of the decoder starts from `h_0` and `c_0`, which the head makes of the same layer of
    `h_n` and `c_n`. What the head reads of `output` goes to every step.

    Args:
        left: where the first cell begins.
    """
    layers, steps = decoder.num_layers, trace.shapes["logits"][1]
    attends = bool(trace.output.any())
    columns = [left + PITCH * step for step in range(steps)]
    # from top to bottom: logits, what attention adds, layers, what is read, and then the head
    first = 3 if attends else 2
    inputs_y = first + layers
    below = inputs_y  # the head is two lines further down
    end = columns[-1] + CELL
    right = end + (CONTEXT + 3 if attends else 1)  # of the decoder, where its layers are named
    width = max(drawing.width, right + len("from layer 1"))
    moved = Drawing(drawing.title, width, drawing.height + below)
    moved.boxes = [
        replace(box, y=box.y + below, width=width if box.kind == "head" else box.width)
        for box in drawing.boxes
    ]
    moved.labels = [replace(label, y=label.y + below) for label in drawing.labels]
    moved.arrows = [replace(a, y=a.y + below, to_y=a.to_y + below) for a in drawing.arrows]

    boxes, labels, arrows = moved.boxes, moved.labels, moved.arrows
    shares = {"h_0": trace.h_n[row].sum(dim=1)}  # of each layer
    if trace.c_n is not None:
        shares["c_0"] = trace.c_n[row].sum(dim=1)
    places = [columns[0] - (STATE + 1) * (number + 1) for number in range(len(shares))]
    for layer in range(layers):
        y = first + layers - 1 - layer
        labels.append(Label(right, y, f"from layer {layer + 1}"))
        for (name, share), x in zip(shares.items(), places, strict=True):
            boxes.append(Box(x, y, STATE, name, "state", float(share[layer])))
        arrows.append(Arrow(columns[0] - 1, y, columns[0], y))
        for step, x in enumerate(columns):
            boxes.append(Box(x, y, CELL, decoder.cell.upper(), "cell"))
            arrows.append(Arrow(x + CELL / 2, y, x + CELL / 2, y - 1))
            if step + 1 < steps:
                arrows.append(Arrow(x + CELL - 1, y, x + CELL, y))
    for x in places:
        middle = x + STATE / 2
        arrows.append(Arrow(middle, below + 2, middle, first + layers - 1, reads=True))
    for step, x in enumerate(columns):
        boxes.append(Box(x, 0, CELL, f"p(y{step + 1})", "logits"))
        boxes.append(Box(x, inputs_y, CELL, f"y{step}" if step else "start", "input"))
        arrows.append(Arrow(x + CELL / 2, inputs_y, x + CELL / 2, inputs_y - 1))
        if attends:
            boxes.append(Box(x, 2, CELL, "mix", "output"))
            arrows.append(Arrow(x + CELL / 2, 2, x + CELL / 2, 1))
    if attends:
        middle = end + 2 + CONTEXT / 2
        boxes.append(Box(end + 2, 2, CONTEXT, "context", "output", float(trace.output[row].sum())))
        arrows.append(Arrow(middle, below + 2, middle, 3, reads=True))
        arrows.append(Arrow(end + 2, 2, end, 2, reads=True))
    return moved


def room_for_states(two: bool) -> int:
    """The width to the left of the first cell: for the decoder's first state; with two directions,
    for the labels too, which the arrows of the backward direction's states would cross."""
    states = 2 * (STATE + 1)
    return LABEL + states if two else max(LABEL, states)
