"""Which input steps a model reads, as far as gradients tell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqmodels.audit.probing import Probe
from seqmodels.batch import valid_steps


def steps_with_gradient(probe: Probe, inputs: Tensor, lengths: Sequence[int]) -> Tensor:
    """The input steps, `(B, T)` bool, from which a gradient reaches a logit of any row.

    All False if gradients cannot tell, as for a black box that embeds tokens.
    """
    leaves: list[Tensor] = []

    def leaf(embedded: Tensor) -> Tensor:
        if embedded.shape[:2] != inputs.shape[:2]:
            return embedded
        leaves.append(embedded.detach().requires_grad_())
        return leaves[-1]

    embeddings = [
        part
        for module in probe.modules
        for part in module.modules()
        if isinstance(part, nn.Embedding)
    ]
    handles = [
        embedding.register_forward_hook(lambda module, arguments, embedded: leaf(embedded))
        for embedding in embeddings
    ]
    call = probe.call
    try:
        logits, _ = call(
            inputs if call.tokens else leaf(inputs.to(call.device, call.dtype)), lengths
        )
    finally:
        for handle in handles:
            handle.remove()
    reached = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    if not logits.requires_grad or not leaves:
        return reached
    # random weights, because the sum of logits may not depend on what each of them depends on
    weights = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
    if probe.kind == "per_step":  # ignore the logits at padding
        steps = valid_steps(torch.tensor(lengths), logits.shape[1], logits.device)
        weights = weights * steps.view(*steps.shape, *[1] * (logits.dim() - 2))
    for gradient in torch.autograd.grad(logits, leaves, weights, allow_unused=True):
        if gradient is not None:
            reached |= (gradient.cpu() != 0).flatten(2).any(dim=2)
    return reached
