"""How a task learns that starts from a language model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from seqmodels.engine.optimization import Rate
from seqmodels.errors import UserError
from seqmodels.nn.encoder import RecurrentEncoder

TAKEN = ("embedding.", "encoder.")  # of the weights


def rates_after_start(
    encoder: RecurrentEncoder, hyper_parameters: Mapping[str, Any]
) -> dict[str, Rate]:
    """The rates of what was taken from a language model, by the beginning of its name: with
    `start_lr`, and with `unfreeze` frozen at first, the longer the closer to the input.

    Args:
        hyper_parameters: of the task; without a `start`, there are no such rates.
    """
    if hyper_parameters["start"] is None:
        return {}
    layers, steps = encoder.num_layers, hyper_parameters["unfreeze"]
    lr = hyper_parameters["start_lr"]
    rates = {"embedding.": Rate(lr, steps)}
    for name, _ in encoder.rnn.named_parameters():
        # not of the backward direction, which is new
        layer = re.search(r"(?:^|_)l(\d+)(?:\.|$)", name)
        rate = Rate(lr, steps * (layers - int(layer[1])) // (layers + 1)) if layer else Rate()
        rates[f"encoder.rnn.{name}"] = rate
    return rates


def take_over(task: torch.nn.Module, start: torch.nn.Module | None) -> None:
    """Gives a task the embedding and the encoder of a language model, if there is one.

    A backward direction keeps its own weights, since no language model has one.

    Raises:
        UserError: if there are several layers of two directions: what the upper ones read, the
            language model does not know.
    """
    if start is None:
        return
    encoder: Any = task.encoder
    if encoder.bidirectional and encoder.num_layers > 1:
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
