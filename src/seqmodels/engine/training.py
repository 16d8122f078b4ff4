"""How a task learns, besides its optimiser: adversarially, and from a language model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seqmodels.arguments import Name, Natural, NonNegative, Positive
from seqmodels.engine.optimization import Rate
from seqmodels.errors import UserError
from seqmodels.nn.encoder import RecurrentEncoder

TAKEN = ("embedding.", "encoder.")  # of the weights


@dataclass(frozen=True)
class TrainingOptions:
    """How a task learns.

    Args:
        adversarial: also learn from embeddings that are moved by a vector of this L2 norm for each
            sequence, where it hurts most; doubles the time of a step.
        start: the run folder of a language model, whose tokenizer, embedding and encoder a new
            training starts from; nothing of it is read later.
        start_lr: the learning rate of what is taken from it; None: the optimizer's.
        unfreeze: the steps in which that is unfrozen, from the last layer down to the embedding
            (ULMFiT, https://arxiv.org/abs/1801.06146); 0: all learns from the start.
    """

    adversarial: NonNegative = 0.0
    start: Name | None = None
    start_lr: Positive | None = None
    unfreeze: Natural = 0


def worst_move(
    loss: Float[Tensor, ""], embedded: Float[Tensor, "batch time embedding"], norm: float
) -> Float[Tensor, "batch time embedding"]:
    """For each sequence, the move of its embeddings that has this L2 norm and raises the loss most,
    as far as the gradient tells (Miyato et al. 2017, https://arxiv.org/abs/1605.07725)."""
    [gradient] = torch.autograd.grad(loss, embedded, retain_graph=True)
    return norm * F.normalize(gradient.flatten(1)).view_as(gradient)


def rates_after_start(encoder: RecurrentEncoder, options: TrainingOptions) -> dict[str, Rate]:
    """The rates of what was taken from a language model, by the beginning of its name: with
    `start_lr`, and with `unfreeze` frozen at first, the longer the closer to the input. None
    without a `start`."""
    if options.start is None:
        return {}
    layers, steps, lr = encoder.num_layers, options.unfreeze, options.start_lr
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
            "model.training.start: a language model reads in one direction, so an encoder of "
            "several layers starts from it only if it does too: set "
            "model.encoder.bidirectional=false and a model.head that goes with it"
        )
    weights = start.state_dict()
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            if name.startswith(TAKEN) and name in weights:
                parameter.copy_(weights[name])
