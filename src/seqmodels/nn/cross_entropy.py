"""Cross-entropy over a large vocabulary, without keeping all logits in memory."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET

ROWS = 512  # steps per chunk of logits; fewer is slower, more gains nothing
# Measured (benchmarks/language_model.py): with `keep_memory`, PyTorch's chunked loss is as fast as
# the plain one, so it only saves memory; use it from 256 MiB of float32 logits on.
MOST_LOGITS = 2**26


def linear_cross_entropy(
    features: Float[Tensor, "steps width"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, " vocabulary"] | None,
    targets: Int[Tensor, " steps"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """`cross_entropy(features @ weight.T + bias, targets)`: the mean in nats over the targets that
    are not -100. Chunked or not, it equals the plain loss to rounding; in bfloat16 the value of the
    chunked loss, but not its gradient, is rounded to three digits.
    """
    if not torch.is_grad_enabled():
        total = features.new_zeros((), dtype=torch.float32)
        for rows, wanted in zip(features.split(ROWS), targets.split(ROWS), strict=True):
            logits = F.linear(rows, weight, bias).float()
            total += F.cross_entropy(
                logits, wanted, reduction="sum", label_smoothing=label_smoothing
            )
        return total / (targets != PADDING_TARGET).sum()
    many = features.shape[0] * weight.shape[0] > MOST_LOGITS
    if many and hasattr(torch.nn, "LinearCrossEntropyOptions"):
        device = features.device.type
        if torch.is_autocast_enabled(device):  # autocast does not cover this function
            half = torch.get_autocast_dtype(device)
            features, weight = features.to(half), weight.to(half)
            bias = None if bias is None else bias.to(half)
        # The default accuracy policy is the only one that every release has. In bfloat16 it adds up
        # in float32; in torch 2.13 and 2.15 that took 0.6 of the time of the others, on a CPU that
        # is no faster in bfloat16, and up to twice their time on one that is.
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=ROWS)
        return F.linear_cross_entropy(
            features,
            weight,
            targets,
            linear_bias=bias,
            label_smoothing=label_smoothing,
            options=options,
        ).float()
    logits = F.linear(features, weight, bias).float()
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
