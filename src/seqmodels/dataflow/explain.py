"""Explain a configuration without training it: a table, a picture, a page, and identities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from torch import Tensor, nn

from seqmodels.audit.isolation import isolated
from seqmodels.dataflow.diagram import draw
from seqmodels.dataflow.example import example_batch
from seqmodels.dataflow.page import LENGTHS, page
from seqmodels.dataflow.rendering import to_svg, to_text
from seqmodels.dataflow.table import tensor_table
from seqmodels.dataflow.tracing import trace
from seqmodels.engine import Task
from seqmodels.engine.fitting import check_model
from seqmodels.engine.task import task_class
from seqmodels.files import write_text
from seqmodels.instantiate import check, instantiate
from seqmodels.machine import one_thread
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.state import State, parts_of
from seqmodels.plugins import trusted_classes
from seqmodels.screen import Screen

TOLERANCE = 1e-5
ROWS = [7, 4, 1]  # lengths of a batch to check identities on


@one_thread()
def explain(config: DictConfig) -> list[Identity]:
    """Prints the table of tensors, the picture and the identities of `config.model`, and writes
    `dataflow.svg` and `dataflow.html` to `config.folder`.

    Raises:
        UserError: if the model cannot be built, or its head reads other tensors than it declares.
    """
    torch.manual_seed(0)
    allowed = trusted_classes(config)
    kind = task_class(config.model, allowed)
    check(config.model, ["data"], "model", allowed_targets=allowed)
    config = config.copy()
    config.model.head = str(config.model.head)  # which may be a number
    contract = kind.contract_for(config.model.head)
    config.model = OmegaConf.merge(config.model, kind.settle(config.model)[0])
    check_model(contract, config.model, kind.check(config.model))
    spec = dict(contract.kind.example)
    task: Task = instantiate(config.model, key="model", data=spec, allowed_targets=allowed)
    traced = trace(task, example_batch(task, LENGTHS[1]))
    drawing = draw(task, traced, row=1)
    checked = identities(task.encoder)

    console = Screen()
    console.print(tensor_table(task, traced))
    console.print(to_text(drawing))
    table = Table("what holds for this encoder, with any weights", "largest difference")
    for identity in checked:
        style = None if identity.holds else "bold red"
        table.add_row(identity.statement, f"{identity.difference:.1e}", style=style)
    console.print(table)

    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("dataflow.svg", to_svg(drawing)), ("dataflow.html", page(task))):
        write_text(folder / name, content)
        console.print(f"{folder / name}", soft_wrap=True)
    return checked


@dataclass(frozen=True)
class Identity:
    """Two ways to compute the same numbers, and their largest difference."""

    statement: str
    difference: float

    @property
    def holds(self) -> bool:
        return self.difference <= TOLERANCE


def identities(encoder: RecurrentEncoder) -> list[Identity]:
    """Checks, on a random ragged batch, what holds for this kind of encoder with any weights."""
    generator = torch.Generator().manual_seed(0)
    size, layers, rnn = encoder.output_size, encoder.num_layers, encoder.rnn
    inputs = torch.randn(len(ROWS), max(ROWS), rnn.input_size, generator=generator)
    lengths = torch.tensor(ROWS)
    found: list[Identity] = []

    def check(statement: str, *pairs: tuple[Tensor, Tensor]) -> None:
        largest = max(float((one - other).abs().max()) for one, other in pairs)
        found.append(Identity(statement, largest))

    with isolated([encoder]), torch.no_grad():
        packed = first_layers(encoder, layers, packing="packed")  # PyTorch's own way
        states = packed(inputs, lengths)
        finals = "h_n" if states.c_n is None else "h_n and c_n"
        last = states.output[torch.arange(len(ROWS)), lengths - 1]
        check(
            "output at a row's last step, forward half = h_n, last layer, forward",
            (last[:, :size], states.h_n[-1, 0]),
        )
        if encoder.bidirectional:
            check(
                "output at step 0, backward half = h_n, last layer, backward",
                (states.output[:, 0, size:], states.h_n[-1, 1]),
            )
        for fewer in range(1, layers):
            lower = first_layers(encoder, fewer)(inputs, lengths)
            which = "layer 1" if fewer == 1 else f"layers 1 to {fewer}"
            parts = zip(parts_of(states.state), parts_of(lower.state), strict=True)
            check(
                f"{finals} of {which} = of a network with no further layers",
                *((whole[: len(part)], part) for whole, part in parts),
            )
        pairs = []
        for row, length in enumerate(ROWS):
            alone = encoder(inputs[row : row + 1, :length], lengths[row : row + 1])
            pairs.append((states.output[row, :length], alone.output[0]))
            pairs.append((states.h_n[:, :, row], alone.h_n[:, :, 0]))
        check("a padded row = the row alone", *pairs)
        if isinstance(rnn, nn.RNNBase):
            padded = first_layers(encoder, layers)(inputs, lengths)
            check(
                f"this encoder on padded rows = torch.nn.{type(rnn).__name__} on a PackedSequence",
                (padded.output, states.output),
                *zip(parts_of(padded.state), parts_of(states.state), strict=True),
            )
        if not encoder.bidirectional:
            whole = encoder(inputs)
            for window, what in ((3, "windows of 3 steps"), (1, "steps one by one")):
                state: State | None = None
                outputs = []
                for piece in inputs.split(window, dim=1):
                    now = encoder(piece, state=state)
                    state = now.state
                    outputs.append(now.output)
                check(
                    f"{what}, each started from {finals} of the one before = one pass",
                    (torch.cat(outputs, dim=1), whole.output),
                    *zip(parts_of(now.state), parts_of(whole.state), strict=True),
                )
    return found


def first_layers(
    encoder: RecurrentEncoder, count: int, packing: Literal["packed", "padded"] = "padded"
) -> RecurrentEncoder:
    """Builds an encoder of the first layers only, with the same weights."""
    rnn = encoder.rnn
    lower = RecurrentEncoder(
        rnn.input_size,
        rnn.hidden_size,
        count,
        cell=encoder.cell,
        bidirectional=encoder.bidirectional,
        proj_size=rnn.proj_size,
        packing=packing if isinstance(rnn, nn.RNNBase) else "packed",
    )
    weights = rnn.state_dict()
    lower.rnn.load_state_dict({name: weights[name] for name in lower.rnn.state_dict()})
    return lower
