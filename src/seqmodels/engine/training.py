"""How a task learns, besides its optimiser: adversarially."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seqmodels.arguments import NonNegative


@dataclass(frozen=True)
class TrainingOptions:
    """How a task learns.

    Args:
        adversarial: also learn from embeddings that are moved by a vector of this L2 norm for each
            sequence, where it hurts most; doubles the time of a step.
    """

    adversarial: NonNegative = 0.0


def worst_move(
    loss: Float[Tensor, ""], embedded: Float[Tensor, "batch time embedding"], norm: float
) -> Float[Tensor, "batch time embedding"]:
    """For each sequence, the move of its embeddings that has this L2 norm and raises the loss most,
    as far as the gradient tells (Miyato et al. 2017, https://arxiv.org/abs/1605.07725)."""
    [gradient] = torch.autograd.grad(loss, embedded, retain_graph=True)
    return norm * F.normalize(gradient.flatten(1)).view_as(gradient)
