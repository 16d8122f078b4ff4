"""Start a training from a language model: its tokenizer, embedding and encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from seqmodels.data import DataModule
from seqmodels.errors import UserError
from seqmodels.runs.finished import load_run
from seqmodels.tasks import Task

TAKEN = ("embedding.", "encoder.")  # of the weights


def load_start(
    model: Mapping[str, Any], data: DataModule, allowed_targets: Iterable[str] = ()
) -> Task:
    """The language model that `model.start` names; `data` encodes with its tokenizer from now on.

    Args:
        model: the configuration of the model that is to start from it.
        data: before its `setup`.

    Raises:
        UserError: if it is not the run of a language model, or its tokenizer or its sizes are
            others than those of the configuration, saying what to set.
    """
    where = f"model.start={model['start']}"
    run = load_run(model["start"], allowed_targets=tuple(allowed_targets))
    if run.task.contract.target != "next_token":
        raise UserError(f"{where} is the run of a {run.result['task']}, not of a language model")
    data.start_from(run.data, where)
    encoder = run.task.encoder
    sizes = {
        "encoder.cell": encoder.cell,
        "encoder.hidden_size": encoder.rnn.hidden_size,
        "encoder.num_layers": encoder.num_layers,
        "encoder.proj_size": encoder.rnn.proj_size,
        "embedding_size": encoder.rnn.input_size,
    }
    given = {**{f"encoder.{k}": v for k, v in model["encoder"].items()}, **model}
    if wrong := [f"model.{key}={size}" for key, size in sizes.items() if given.get(key) != size]:
        raise UserError(f"{where} has other sizes: set {' '.join(wrong)}")
    return run.task


def take_over(task: Task, start: Task) -> None:
    """Gives the task the embedding and the encoder of a language model.

    A backward direction keeps its own weights, since no language model has one.

    Raises:
        UserError: if there are several layers of two directions: what the upper ones read, the
            language model does not know.
    """
    if task.encoder.bidirectional and task.encoder.num_layers > 1:
        raise UserError(
            "model.start: a language model reads in one direction, so an encoder of several layers "
            "starts from it only if it does too: set model.encoder.bidirectional=false and a "
            "model.head that goes with it"
        )
    weights = start.state_dict()
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            if name.startswith(TAKEN) and name in weights:
                parameter.copy_(weights[name])
