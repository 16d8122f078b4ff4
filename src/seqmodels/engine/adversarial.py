"""Adversarial training on embeddings (Miyato et al. 2017, https://arxiv.org/abs/1605.07725)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def worst_move(
    loss: Float[Tensor, ""], embedded: Float[Tensor, "batch time embedding"], norm: float
) -> Float[Tensor, "batch time embedding"]:
    """For each sequence, the move of its embeddings that has this L2 norm and raises the loss most,
    as far as the gradient tells."""
    [gradient] = torch.autograd.grad(loss, embedded, retain_graph=True)
    return norm * F.normalize(gradient.flatten(1)).view_as(gradient)
