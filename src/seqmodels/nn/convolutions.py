"""Convolutions over the steps of rows of different lengths, before the recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.padding import flat_steps, valid_steps


class Convolutions(nn.Module):
    """Each is a convolution over the steps, batch normalization and ReLU.

    Padding is zero before each, as it is beyond the ends of a row alone, and batch normalization
    learns from the valid steps alone: in evaluation a row's result depends on nothing but the row.
    In training it depends on the batch, through mean and deviation; with several devices each takes
    those of its own rows, unless `trainer.sync_batchnorm=true`.

    Args:
        width: of what they read, `E`.
        channels: of each, `C`.
        sizes: how many steps each sees.
    """

    def __init__(self, width: int, channels: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = [*sizes]
        widths = [width, *[channels] * (len(sizes) - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, channels, size, bias=False)
            for width, size in zip(widths, sizes, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in sizes)

    def forward(
        self, inputs: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time channels"]:
        """`(B, T, E) -> (B, T, C)`, zero at padding; `lengths` are on the CPU."""
        padding = ~valid_steps(lengths, inputs.shape[1], inputs.device).unsqueeze(1)  # (B, 1, T)
        steps = inputs.transpose(1, 2).masked_fill(padding, 0.0)  # (B, E, T)
        valid = None
        if self.training and int(lengths.sum()) > 1:  # a deviation needs two steps
            valid = flat_steps(lengths, inputs.shape[1], inputs.device)
        layers = zip(self.sizes, self.convolutions, self.norms, strict=True)
        for size, convolution, norm in layers:
            convolved = convolution(F.pad(steps, ((size - 1) // 2, size // 2)))
            steps = _normalized(norm, convolved, valid).relu().masked_fill(padding, 0.0)
        return steps.transpose(1, 2)


def _normalized(norm: Any, steps: Tensor, valid: Tensor | None) -> Tensor:
    """By the mean and deviation of the valid steps, which `norm` learns from; None: by those
    that it has learned."""
    if valid is None:
        return F.batch_norm(
            steps, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
    rows = steps.transpose(1, 2)  # (B, T, C)
    normal = norm(rows.flatten(0, 1).index_select(0, valid))
    spread = normal.new_zeros(rows.shape[0] * rows.shape[1], rows.shape[2])
    return spread.index_copy(0, valid, normal).view_as(rows).transpose(1, 2)
