"""The loss of a softmax over a large vocabulary, without keeping all of its logits in memory."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET

ROWS = 512  # steps whose logits are made at a time; less is slower, more gains nothing
# Measured (benchmarks/language_model.py): where memory is kept, the chunked loss of PyTorch takes
# the time of the plain one, so it is chosen for its memory, from 256 MiB of float32 logits on.
MOST_LOGITS = 2**26


def linear_cross_entropy(
    features: Float[Tensor, "steps width"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, " vocabulary"] | None,
    targets: Int[Tensor, " steps"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """`cross_entropy(features @ weight.T + bias, targets)`: the mean in nats over the targets that
    are not -100. Equal to the plain loss to rounding, whichever way it is computed; in bfloat16 the
    chunked loss, though not its gradient, is itself rounded to three digits.
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
        if torch.is_autocast_enabled(device):  # which does not know this function
            half = torch.get_autocast_dtype(device)
            features, weight = features.to(half), weight.to(half)
            bias = None if bias is None else bias.to(half)
        # "auto" is twice as slow in bfloat16 as "balanced"
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=ROWS, acc_policy="balanced")
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
