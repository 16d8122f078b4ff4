"""Draw a trace: cells by layer and step, `output` along the top, `h_n` and `c_n` at the end of each
direction. What the head reads is coloured."""

from __future__ import annotations

from typing import cast

from seqmodels.dataflow.decoder_diagram import draw_decoder, room_for_states
from seqmodels.dataflow.drawing import (
    BELOW_HEAD,
    CELL,
    FIRST_Y,
    LABEL,
    OUTPUT_Y,
    PITCH,
    STATE,
    Arrow,
    Box,
    Drawing,
    Kind,
    Label,
)
from seqmodels.dataflow.tracing import Trace
from seqmodels.nn.decoder import Decoder
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.tasks import Task


def title(task: Task) -> str:
    """`h_n -> last_hidden: LSTM, 2 layers, one direction`."""
    head, encoder = task.head, task.encoder
    layers = "1 layer" if encoder.num_layers == 1 else f"{encoder.num_layers} layers"
    directions = "both directions" if encoder.bidirectional else "one direction"
    steps = ", every step" if head.per == "step" else ""
    reads = " and ".join(head.reads)
    windows = f", windows of {task.window} steps" if task.window else ""
    cell = encoder.cell.upper()
    return f"{reads} -> {head.name}{steps}: {cell}, {layers}, {directions}{windows}"


def draw(task: Task, trace: Trace, row: int) -> Drawing:
    """Draws one row of a traced batch. Trace only a few steps, or the drawing gets too wide."""
    head, encoder, contract = task.head, task.encoder, task.contract
    by_step = contract.per == "step"
    time, length = trace.output.shape[1], int(trace.lengths[row])
    layers, directions = encoder.num_layers, encoder.num_directions
    states = 2 * (STATE + 1)  # room for h_n and c_n at the end of a direction
    left = states if encoder.bidirectional else LABEL
    if contract.target == "text":  # seq2seq
        left = room_for_states(encoder.bidirectional)  # seq2seq
    columns = [left + PITCH * step for step in range(time)]
    right = columns[-1] + CELL + 1  # where the states of the forward direction begin
    window = "→ next window" if contract.stateful else ""
    named = _beside_arrows(trace) + len(f"← layer {layers}") if encoder.bidirectional else 0
    width = max(right + max(states, len(window), named), len(head.name) + 2)
    drawing = Drawing(title(task), width, FIRST_Y + layers * (directions + 1) + 2)
    boxes, labels, arrows = drawing.boxes, drawing.labels, drawing.arrows

    boxes.append(Box(0, 2, drawing.width, head.name, "head"))
    if by_step:
        for step, x in enumerate(columns[:length]):
            predicted = f"y{step}"
            if contract.causal:
                predicted = f"p(x{step + 1})" if contract.target == "next_token" else f"x{step + 1}"
            boxes.append(Box(x, 0, CELL, predicted, "logits"))
            if head.output.links_steps and step + 1 < length:
                arrows.append(Arrow(x + CELL - 1, 0, x + CELL, 0))
            arrows.append(Arrow(x + CELL / 2, 2, x + CELL / 2, 1))
    elif contract.target != "text":
        logits = 8 + drawing.width % 2  # exactly in the middle
        boxes.append(Box((drawing.width - logits) // 2, 0, logits, "logits", "logits"))
        arrows.append(Arrow(drawing.width / 2, 2, drawing.width / 2, 1))

    labels.append(Label(0, OUTPUT_Y, "output"))
    for step, x in enumerate(columns):
        half = CELL // directions
        for direction in range(directions):
            share = float(trace.output[row, step, direction])
            kind: Kind = "output" if step < length else "padding"
            text = percent(share, half) if step < length else "0"  # as the encoder leaves it
            start = x + direction * half
            boxes.append(Box(start, OUTPUT_Y, half, text, kind, share))
            if share:
                middle = start + half / 2
                arrows.append(Arrow(middle, OUTPUT_Y, middle, BELOW_HEAD, reads=True))

    for layer in range(layers):
        top = FIRST_Y + (layers - 1 - layer) * (directions + 1)
        for direction in range(directions):
            y = top + directions - 1 - direction
            _draw_direction(drawing, encoder, trace, row, (layer, direction), y, columns)
        for x in columns[:length]:  # from this layer to the next, or to output
            middle = x + CELL / 2
            arrows.append(Arrow(middle, top, middle, top - 1))

    inputs_y = FIRST_Y + layers * (directions + 1)
    labels.append(Label(right, inputs_y, window))
    labels.append(Label(0, inputs_y, "inputs"))
    for step, x in enumerate(columns):
        if step < length:
            share = 0.0 if by_step else float(trace.inputs[row, step])
            arrows.append(Arrow(x + CELL / 2, inputs_y, x + CELL / 2, inputs_y - 1))
            boxes.append(Box(x, inputs_y, CELL, f"x{step}", "input", share))
        else:
            boxes.append(Box(x, inputs_y, CELL, "pad", "padding"))
        labels.append(Label(x + CELL / 2 - 1.5, inputs_y + 1, f"t={step}"))
    if contract.target == "text":  # seq2seq
        decoder = cast(Decoder, head.output).rnn  # seq2seq
        return draw_decoder(drawing, decoder, trace, row, left)  # seq2seq
    return drawing


def _draw_direction(
    drawing: Drawing,
    encoder: RecurrentEncoder,
    trace: Trace,
    row: int,
    place: tuple[int, int],
    y: int,
    columns: list[int],
) -> None:
    """Draws the cells of one layer and direction, from its first step to its `h_n` and `c_n`."""
    boxes, labels, arrows = drawing.boxes, drawing.labels, drawing.arrows
    (layer, direction), length = place, int(trace.lengths[row])
    last_layer, backward = layer == encoder.num_layers - 1, direction == 1
    after = columns[-1] + CELL + 1
    end = 0 if backward else length - 1
    states = [(name, cells) for name, cells in trace.cells.items() if name != "output"]
    finals = {name: float(cells[row, layer, direction]) for name, cells in states}

    for step, x in enumerate(columns):
        share = float(trace.output[row, step, direction]) if last_layer else 0.0
        share += sum(finals.values()) if step == end else 0.0
        if step >= length:
            boxes.append(Box(x, y, CELL, "", "padding", share))
            continue
        text = percent(share, CELL) if share else encoder.cell.upper()
        boxes.append(Box(x, y, CELL, text, "cell", share))
        if step != end:
            gap = (x, x - 1) if backward else (x + CELL - 1, x + CELL)
            arrows.append(Arrow(gap[0], y, gap[1], y))
    before = columns[0] - 1  # where the states of the backward direction end
    start, tip = (columns[0], before) if backward else (columns[end] + CELL - 1, after - 1)
    arrows.append(Arrow(start, y, tip, y))
    for number, (name, share) in enumerate(finals.items()):
        offset = number * (STATE + 1)
        x = before - STATE - offset if backward else after + offset
        # what is read is two lines high: it grows to where the other direction has no states
        top, text = (y - backward, f"{name}\n{percent(share, STATE)}") if share else (y, name)
        boxes.append(Box(x, top, STATE, text, "state", share))
        if share:
            arrows.append(Arrow(x + STATE / 2, top, x + STATE / 2, BELOW_HEAD, reads=True))
    label = f"← layer {layer + 1}" if backward else f"layer {layer + 1}"
    label += " →" if encoder.bidirectional and not backward else ""
    labels.append(Label(after + _beside_arrows(trace) if backward else 0, y, label))


def _beside_arrows(trace: Trace) -> int:
    """Where the backward direction is named: beside the arrow that comes from the `h_n` of the
    forward direction, or behind that from its `c_n`."""
    from_c_n = trace.c_n is not None and bool(trace.c_n.any())
    return 2 * (STATE + 1) if from_c_n else STATE // 2 + 1


def percent(share: float, width: int) -> str:
    """`17 %`, without the sign if there is no room for it."""
    if not share:
        return ""
    text = "<1" if share < 0.005 else f"{share:.0%}"[:-1]
    return f"{text} %" if width >= 5 else text
