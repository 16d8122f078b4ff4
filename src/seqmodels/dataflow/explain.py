"""Explain a configuration without training it: a table, a picture, a page, and identities."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.table import Table

from seqmodels.dataflow.diagram import draw
from seqmodels.dataflow.example import example_batch, example_spec
from seqmodels.dataflow.identities import Identity, identities
from seqmodels.dataflow.page import LENGTHS, page
from seqmodels.dataflow.rendering import to_svg, to_text
from seqmodels.dataflow.table import tensor_table
from seqmodels.dataflow.tracing import trace
from seqmodels.files import write_text
from seqmodels.imports import trusted
from seqmodels.instantiate import allowed_class, instantiate
from seqmodels.machine import one_thread
from seqmodels.screen import Screen
from seqmodels.tasks import Task
from seqmodels.tasks.fitting import check_model


@one_thread()
def explain(config: DictConfig) -> list[Identity]:
    """Prints the table of tensors, the picture and the identities of `config.model`, and writes
    `dataflow.svg` and `dataflow.html` to `config.folder`.

    Raises:
        UserError: if the model cannot be built, or its head reads other tensors than it declares.
    """
    torch.manual_seed(0)
    allowed = trusted(config)
    task_class: type[Task] = allowed_class(config.model, allowed)
    contract = task_class.contract_for(config.model.head)
    check_model(contract, config.model, task_class.check(config.model))
    spec = example_spec(contract)
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
