"""Which tensor is which, and which one the head reads: a table from the shapes of a real batch."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from seqmodels.batch import SequenceBatch
from seqmodels.tasks import TrainingTask

HOLDS = {
    "output": "h of last layer, every step",
    "h_n": "h of all layers, own last step",
    "c_n": "c likewise; never in output",
}


@rank_zero_only
def save_picture(table: Group, path: Path) -> None:
    """The table as an SVG picture, as a terminal shows it."""
    console = Console(record=True, file=io.StringIO(), width=88)
    console.print(table)
    console.save_svg(str(path), title="seqmodels")


def tensor_table(task: TrainingTask, batch: SequenceBatch) -> Group:
    """Every tensor on the way from a batch to its logits: symbolic shape, actual shape, what it
    holds, and whether the head reads it.

    Args:
        task: on any device, trained or not; it is left as it was.
        batch: a real one, on the task's device.
    """
    was_training = task.training
    task.eval()
    with torch.inference_mode():
        embedded = task.embed(batch)
        states = task.encoder(embedded, batch.lengths)
        selected = task.head.select(states)
        logits = task.head(states)
    task.train(was_training)

    head, encoder = task.head, task.encoder
    cell = encoder.cell.upper()
    size = "P" if encoder.rnn.proj_size else "H"
    both = "D*" if encoder.bidirectional else ""
    layers = "1 layer" if encoder.num_layers == 1 else f"{encoder.num_layers} layers"
    directions = "both directions" if encoder.bidirectional else "one direction"
    every_step = ", every step" if head.every_step else ""
    title = Text(
        f"{', '.join(head.reads)} -> {head.name}{every_step}: {cell}, {layers}, {directions}",
        style="bold",
    )
    table = Table()
    table.add_column("tensor", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    table.add_column("this run", no_wrap=True)
    table.add_column("what it holds")

    def row(name: str, symbolic: str, tensor: torch.Tensor, holds: str) -> None:
        read = name in head.reads
        if read:
            name = f"{name} -> head"
        elif head.every_step and name in ("h_n", "c_n"):
            name = f"{name} -> next window"
        style = "bold green" if read else None
        table.add_row(name, symbolic, str(tuple(tensor.shape)), holds, style=style)

    symbolic = "(B, T, F)" if batch.inputs.dim() == 3 else "(B, T)"
    row("inputs", symbolic, batch.inputs, task.hparams["data"]["inputs"])
    row("embedded", "(B, T, E)", embedded, "what the encoder is given")
    row("output", f"(B, T, {both}{size})", states.output, HOLDS["output"])
    row("h_n", f"(L, D, B, {size})", states.h_n, HOLDS["h_n"])
    if states.c_n is not None:
        row("c_n", "(L, D, B, H)", states.c_n, HOLDS["c_n"])
    if head.every_step:
        row("logits", "(B, T, V)", logits, "the next token, at every step")
    else:
        row("selected", "(B, S)", selected, f"what {head.name} makes of it")
        row("logits", "(B, C)", logits, "one for each class")
    return Group(title, table)
