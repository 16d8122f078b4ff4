"""Which tensor is which, and which one the head reads: a table from the shapes of a real batch."""

from __future__ import annotations

import torch
from rich.table import Table

from seqmodels.batch import SequenceBatch
from seqmodels.tasks import SequenceClassifier

HOLDS = {
    "output": "h_t of the last layer at every step",
    "h_n": "h of every layer and direction after its own last step",
    "c_n": "c likewise; never part of output",
}


def tensor_table(task: SequenceClassifier, batch: SequenceBatch) -> Table:
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
        logits = task.head.project(selected)
    task.train(was_training)

    head, encoder = task.head, task.encoder
    unflattened = "LSTM" if encoder.cell == "lstm" else encoder.cell.upper()
    size = "P" if encoder.rnn.proj_size else "H"
    both = "D*" if encoder.bidirectional else ""
    table = Table(
        title=f"Which tensor feeds the head? {unflattened}, {encoder.num_layers} layer(s), "
        f"{encoder.num_directions} direction(s), head {head.name}",
        title_justify="left",
    )
    for column in ("tensor", "symbolic", "actual shape", "what it holds", "feeds the head"):
        table.add_column(column)

    def row(name: str, symbolic: str, tensor: torch.Tensor, holds: str) -> None:
        reads = name in head.reads
        table.add_row(
            name,
            symbolic,
            str(tuple(tensor.shape)),
            holds,
            f"yes, by {head.name}" if reads else "",
            style="bold green" if reads else None,
        )

    symbolic = "(B, T, F)" if batch.inputs.dim() == 3 else "(B, T)"
    row("inputs", symbolic, batch.inputs, task.hparams["data"]["inputs"])
    row("embedded", "(B, T, E)", embedded, "what the encoder is given")
    row("output", f"(B, T, {both}{size})", states.output, HOLDS["output"])
    row("h_n", f"(L, D, B, {size})", states.h_n, HOLDS["h_n"])
    if states.c_n is not None:
        row("c_n", "(L, D, B, H)", states.c_n, HOLDS["c_n"])
    row("selected", "(B, S)", selected, (type(head).__doc__ or "").splitlines()[0])
    row(
        "logits",
        "(B, C)",
        logits,
        f"one for each of {len(task.hparams['data']['classes'])} classes",
    )
    return table
