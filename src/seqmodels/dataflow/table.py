"""Show a trace as a table."""

from __future__ import annotations

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.dataflow.diagram import title
from seqmodels.dataflow.tracing import Trace
from seqmodels.engine import Task
from seqmodels.nn.embedding import WordEmbedding

COLUMNS = ("tensor", "shape", "this run", "what it holds", "where it goes")
INPUT_SYMBOLS = {
    "tokens": ("B", "T"),
    "words, characters": ("B", "T", "1+K"),
    "features": ("B", "T", "F"),
}


def tensor_table(task: Task, trace: Trace, batch: SequenceBatch | None = None) -> Group:
    """Lists every tensor from the inputs to the logits: its shape, in `batch` if you traced only a
    part of it, what it holds, and which part the head reads, with its share of the gradient."""
    symbols = _symbols(task, trace)
    sizes = {} if batch is None else _sizes(task, trace, batch)
    contents = _contents(task, trace)
    destinations = _destinations(task, trace)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, header in enumerate(COLUMNS):
        table.add_column(header, no_wrap=number < 3)
    for name, traced_shape in trace.shapes.items():
        pairs = zip(symbols[name], traced_shape, strict=True)
        shape = tuple(sizes.get(symbol, size) for symbol, size in pairs)
        table.add_row(
            name,
            f"({', '.join(symbols[name])})",
            f"{shape}",
            contents.get(name),
            destinations.get(name),
            style="bold green" if name in trace.reads else None,
        )
    heading = Text(title(task), style="bold")
    time = trace.shapes["embedded"][1] if batch is None else sizes["T"]
    size = task.network.encoder.segment_of(time)
    if size is None:
        return Group(heading, table)
    return Group(heading, table, Text(_segments_in_words(task, size)))


def _segments_in_words(task: Task, size: int) -> str:
    """What a training does with rows that are read in segments of this size."""
    kept = "" if task.network.head.summary_of_segments() else " but for output"
    return (
        f"long rows are read in segments of {size} steps (model.encoder.segment): memory does not "
        f"grow with them{kept}, and gradients are exact"
    )


def _symbols(task: Task, trace: Trace) -> dict[str, tuple[str, ...]]:
    """The shape of each tensor, in letters: `("B", "T", "D*H")`."""
    encoder, contract = task.network.encoder, task.contract
    hidden = "P" if encoder.rnn.proj_size else "H"
    b, t = _rows_and_steps(*_rows_and_step_sizes(trace))
    by_step = contract.per == "step"
    target = ("B", "T") if by_step else ("B",)
    if contract.kind.decoder:
        target = ("B", "S")  # S: steps of the target

    def width_of(state: str) -> str:
        if encoder.state_sizes[state] == encoder.rnn.hidden_size:
            return "H"
        return hidden if state == "h_n" else "W"

    return {
        "inputs": INPUT_SYMBOLS[_inputs(task, trace)],
        "embedded": (b, t, "E"),
        "convolved": (b, t, "channels"),
        "output": (b, t, f"D*{hidden}" if encoder.bidirectional else hidden),
        **{name: ("L", "D", b, width_of(name)) for name in trace.finals},
        "selected": (b, t, "S") if by_step else (b, "S"),
        "logits": (*target, contract.kind.size),
    }


def _inputs(task: Task, trace: Trace) -> str:
    """What the inputs are, as `INPUT_SYMBOLS` names it."""
    if len(trace.shapes["inputs"]) == 2:
        return "tokens"
    has_characters = isinstance(task.network.embedding, WordEmbedding)
    return "words, characters" if has_characters else "features"


def _rows_and_step_sizes(trace: Trace) -> tuple[int, int]:
    """How many rows a task reads for a row of its inputs, and how many of their steps at a time: it
    may read rows of its own, such as one for each column."""
    rows, time = trace.shapes["inputs"][:2]
    read_rows, read_time = trace.shapes["embedded"][:2]
    return read_rows // rows, -(-time // read_time)


def _rows_and_steps(rows: int, step_size: int) -> tuple[str, str]:
    """The letters for the rows and the steps that a task reads."""
    return "B" if rows == 1 else f"B*{rows}", "T" if step_size == 1 else f"T/{step_size}"


def _sizes(task: Task, trace: Trace, batch: SequenceBatch) -> dict[str, int]:
    """What the letters of rows and steps stand for in a whole batch."""
    count, length = batch.inputs.shape[:2]
    time = min(length, task.network.window or length)  # the steps that are read at once
    rows, step_size = _rows_and_step_sizes(trace)
    b, t = _rows_and_steps(rows, step_size)
    return {"B": count, "T": time, b: count * rows, t: -(-time // step_size)}


def _contents(task: Task, trace: Trace) -> dict[str, str]:
    """What the tensors hold."""
    return {
        "output": "last layer, every step",
        **dict.fromkeys(trace.finals, "every layer, its last step"),
        "inputs": _inputs(task, trace),
        "logits": task.contract.kind.logits,
    }


def _destinations(task: Task, trace: Trace) -> dict[str, str]:
    """Where the tensors go: into the head, with their share of the gradient, or the next window."""
    destinations = {"inputs": reached(trace)}
    if task.contract.stateful:
        destinations |= dict.fromkeys(trace.finals, "next window")
    reader = "decoder" if task.contract.kind.decoder else "head"
    for name in trace.reads:
        destinations[name] = f"{reader}: {where_read(trace, name)}, {trace.shares[name]:.0%}"
    return destinations


def where_read(trace: Trace, name: str) -> str:
    """Names the cells that have a share: `every step, both directions`, `layer 2, forward`."""
    if name == "output":
        is_read = trace.output.any(dim=(0, 1))  # (D,)
        return _with_directions(_steps(trace), is_read)

    layers_by_directions: dict[tuple[bool, ...], list[str]] = {}
    for number, is_read in enumerate(trace.cells[name].any(dim=0), start=1):
        if is_read.any():
            directions = tuple(is_read.tolist())
            layers_by_directions.setdefault(directions, []).append(str(number))

    places = list[str]()
    for directions, layers in layers_by_directions.items():
        noun = "layers" if len(layers) > 1 else "layer"
        place = f"{noun} {' and '.join(layers)}"
        places.append(_with_directions(place, torch.tensor(directions)))
    return "; ".join(places)


def _with_directions(place: str, is_read: Tensor) -> str:
    """A place, and which directions `(D,)` of it are read, if there are two."""
    if len(is_read) == 1:
        return place
    if bool(is_read.all()):
        return f"{place}, both directions"
    if bool(is_read[0]):
        return f"{place}, forward"
    return f"{place}, backward"


def reached(trace: Trace) -> str:
    """Says how many of the valid input steps reach a logit of their row, unless all do."""
    count = int((trace.inputs > 0).sum())
    total = int(trace.lengths.sum())
    if count == total:
        return ""
    return f"{count / total:.0%} of the steps reach the logits"


def _steps(trace: Trace) -> str:
    """Which steps of `output` are read: `every step`, `own last step`, `12% of the steps`."""
    is_read = trace.output.any(dim=2)  # (B, T)
    lengths = trace.lengths.unsqueeze(1)  # (B, 1)
    steps = torch.arange(is_read.shape[1])  # (T,)
    if is_read.equal(steps < lengths):
        return "every step"
    if is_read.equal(steps == lengths - 1):
        return "own last step"
    is_first_step = (steps == 0).expand_as(is_read)
    if is_read.equal(is_first_step):
        return "first step"
    share = int(is_read.sum()) / int(lengths.sum())
    return f"{share:.0%} of the steps"
