"""The loss of a softmax over a large vocabulary, without keeping all of its logits in memory."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET

ROWS = 512  # steps whose logits are made at a time; less is slower, more gains nothing
# Measured (benchmarks/language_model.py): at ordinary sizes the chunked loss of PyTorch takes the
# time of the plain one, so it is chosen for its memory, from 256 MiB of float32 logits on. In
# bfloat16 on a CPU it is faster as well, from a few thousand words on.
MOST_LOGITS = 2**26
LARGE_VOCABULARY = 4096


def linear_cross_entropy(
    features: Float[Tensor, "steps width"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, " vocabulary"] | None,
    targets: Int[Tensor, " steps"],
) -> Float[Tensor, ""]:
    """`cross_entropy(features @ weight.T + bias, targets)`: the mean in nats over the targets that
    are not -100. Equal to the plain loss to rounding, whichever way it is computed.
    """
    if not torch.is_grad_enabled():
        total = features.new_zeros((), dtype=torch.float32)
        for rows, wanted in zip(features.split(ROWS), targets.split(ROWS), strict=True):
            total += F.cross_entropy(F.linear(rows, weight, bias).float(), wanted, reduction="sum")
        return total / (targets != PADDING_TARGET).sum()
    device = features.device.type
    autocast = torch.is_autocast_enabled(device)
    half = autocast and torch.get_autocast_dtype(device) == torch.bfloat16
    many = features.shape[0] * weight.shape[0] > MOST_LOGITS
    if hasattr(torch.nn, "LinearCrossEntropyOptions") and (
        many or (half and device == "cpu" and weight.shape[0] >= LARGE_VOCABULARY)
    ):
        if half:  # autocast does not know this function
            features, weight = features.bfloat16(), weight.bfloat16()
            bias = None if bias is None else bias.bfloat16()
        # "auto" is twice as slow in bfloat16 as "balanced"
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=ROWS, acc_policy="balanced")
        return F.linear_cross_entropy(
            features, weight, targets, linear_bias=bias, options=options
        ).float()
    return F.cross_entropy(F.linear(features, weight, bias).float(), targets)
