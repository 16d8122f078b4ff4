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


def tensor_table(task: Task, trace: Trace, batch: SequenceBatch | None = None) -> Group:
    """Lists every tensor from the inputs to the logits: its shape, in `batch` if you traced only a
    part of it, what it holds, and which part the head reads, with its share of the gradient."""
    encoder, contract = task.network.encoder, task.contract
    size = "P" if encoder.rnn.proj_size else "H"

    def letter(state: str) -> str:
        hidden = encoder.state_sizes[state] == encoder.rnn.hidden_size
        return "H" if hidden else size if state == "h_n" else "W"

    wide = f"D*{size}" if encoder.bidirectional else size
    tokens = len(trace.shapes["inputs"]) == 2
    words = isinstance(task.network.embedding, WordEmbedding)
    (rows, time), (read_rows, read_time) = trace.shapes["inputs"][:2], trace.shapes["embedded"][:2]
    more, size_of_step = read_rows // rows, -(-time // read_time)  # a task may read rows of its own
    b = "B" if more == 1 else f"B*{more}"
    t = "T" if size_of_step == 1 else f"T/{size_of_step}"
    by_step, decoder = contract.per == "step", contract.kind.decoder
    target = ("B", "S") if decoder else ("B", "T") if by_step else ("B",)  # S: steps of the target
    symbols = {
        "inputs": ("B", "T") if tokens else ("B", "T", "1+K" if words else "F"),
        "embedded": (b, t, "E"),
        "convolved": (b, t, "channels"),
        "output": (b, t, wide),
        **{name: ("L", "D", b, letter(name)) for name in trace.finals},
        "selected": (b, t, "S") if by_step else (b, "S"),
        "logits": (*target, contract.kind.size),
    }
    holds = {
        "output": "last layer, every step",
        **dict.fromkeys(trace.finals, "every layer, its last step"),
        "inputs": "tokens" if tokens else "words, characters" if words else "features",
        "logits": contract.kind.logits,
    }
    whole = {}
    if batch is not None:
        count, length = batch.inputs.shape[:2]
        whole = {"B": count, "T": min(length, task.network.window or length)}
        whole |= {b: count * more, t: -(-whole["T"] // size_of_step)}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(
        ("tensor", "shape", "this run", "what it holds", "where it goes")
    ):
        table.add_column(name, no_wrap=number < 3)
    goes = {"inputs": reached(trace)}
    goes |= dict.fromkeys(trace.finals, "next window" if contract.stateful else "")
    for name in trace.reads:
        reader = "decoder" if decoder else "head"
        goes[name] = f"{reader}: {where_read(trace, name)}, {trace.shares[name]:.0%}"
    for name, traced in trace.shapes.items():
        shape = tuple(whole.get(size, n) for size, n in zip(symbols[name], traced, strict=True))
        cells = name, f"({', '.join(symbols[name])})", f"{shape}", holds.get(name), goes.get(name)
        table.add_row(*cells, style="bold green" if name in trace.reads else None)
    return Group(Text(title(task), style="bold"), table)


def where_read(trace: Trace, name: str) -> str:
    """Names the cells that have a share: `every step, both directions`, `layer 2, forward`."""
    if name == "output":
        return f"{_steps(trace)}, {_directions(trace.output.any(dim=(0, 1)))}".removesuffix(", ")
    layers: dict[str, list[str]] = {}  # by the directions that are read of them
    for number, row in enumerate(trace.cells[name].any(dim=0), 1):  # (L, D)
        if row.any():
            layers.setdefault(_directions(row), []).append(str(number))
    return "; ".join(
        f"layer{'s' * (len(numbers) > 1)} {' and '.join(numbers)}, {direction}".removesuffix(", ")
        for direction, numbers in layers.items()
    )


def reached(trace: Trace) -> str:
    """Says how many of the valid input steps reach a logit of their row, unless all do."""
    count, total = int((trace.inputs > 0).sum()), int(trace.lengths.sum())
    return "" if count == total else f"{count / total:.0%} of the steps reach the logits"


def _directions(read: Tensor) -> str:
    if len(read) == 1:
        return ""
    return "both directions" if bool(read.all()) else "forward" if bool(read[0]) else "backward"


def _steps(trace: Trace) -> str:
    read, lengths = trace.output.any(dim=2), trace.lengths.unsqueeze(1)  # (B, T), (B, 1)
    steps = torch.arange(read.shape[1])
    for name, there in (
        ("every step", steps < lengths),
        ("own last step", steps == lengths - 1),
        ("first step", (steps == 0).expand_as(read)),
    ):
        if read.equal(there):
            return name
    return f"{int(read.sum()) / int(lengths.sum()):.0%} of the steps"
