"""Softmax over a vocabulary at every step: plain, or tied to the embedding."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET
from seqmodels.errors import UserError
from seqmodels.nn.outputs import Features, Mask, Output

ROWS = 512  # steps per chunk of logits; fewer is slower, more gains nothing
# Measured (benchmarks/language_model.py): with `keep_memory`, PyTorch's chunked loss is as fast as
# the plain one, so it only saves memory; use it from 256 MiB of float32 logits on.
MOST_LOGITS = 2**26
CACHED_LOGITS = 2**19  # that a CPU's cache holds, in float32
ONE_MATRIX = 2_000  # tokens, from which `_InOneMatrix` is faster


class Vocabulary(Output):
    """`softmax(W h_t + b)` over a vocabulary at every step; cross-entropy in nats per token.

    Args:
        width: of the features.
        embedding: the embedding of the input tokens, for a subclass that shares it.
        label_smoothing: of PyTorch's cross-entropy; acts in training only.
    """

    targets = ("next_token",)

    def __init__(
        self,
        width: int,
        vocabulary_size: int,
        *,
        embedding: nn.Embedding | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.resize, self.project = self.layers(width, vocabulary_size, embedding)

    def layers(
        self, width: int, vocabulary_size: int, embedding: nn.Embedding | None
    ) -> tuple[nn.Module, nn.Linear]:
        """The layer before the projection, and the projection."""
        return nn.Identity(), nn.Linear(width, vocabulary_size)

    def forward(self, features: Features) -> Tensor:
        return self.project(self.resize(features))

    def loss(self, features: Features, targets: Tensor, mask: Mask = None) -> Tensor:
        return linear_cross_entropy(
            self.resize(features).flatten(0, 1),
            self.project.weight,
            self.project.bias,
            targets.flatten(),
            self.label_smoothing if self.training else 0.0,
        )


class TiedVocabulary(Vocabulary):
    """`softmax(E h_t + b)` with the embedding's own weight `E` (Press and Wolf 2017,
    https://arxiv.org/abs/1608.05859). If `h_t` and the embedding differ in width, a linear layer
    resizes `h_t` first."""

    def layers(
        self, width: int, vocabulary_size: int, embedding: nn.Embedding | None
    ) -> tuple[nn.Module, nn.Linear]:
        if embedding is None:
            raise UserError("a tied softmax shares the embedding of the tokens: give it one")
        project = nn.Linear(embedding.embedding_dim, vocabulary_size)
        nn.init.zeros_(project.bias)
        project.weight = embedding.weight
        if width == embedding.embedding_dim:
            return nn.Identity(), project
        return nn.Linear(width, embedding.embedding_dim), project


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
    device = features.device.type
    many = features.shape[0] * weight.shape[0] > MOST_LOGITS
    # PyTorch's chunked loss has no smoothing: it warns, and makes the whole matrix
    many = many and not label_smoothing and hasattr(torch.nn, "LinearCrossEntropyOptions")
    in_one = device == "cpu" and len(weight) >= ONE_MATRIX
    if (many or in_one) and torch.is_autocast_enabled(device):  # which covers neither
        half = torch.get_autocast_dtype(device)
        features, weight = features.to(half), weight.to(half)
        bias = bias.to(half) if many and bias is not None else bias
    if many:
        # The default accuracy policy is the only one that every release has. In bfloat16 it adds up
        # in float32; in torch 2.13 and 2.15 that took 0.6 of the time of the others, on a CPU that
        # is no faster in bfloat16, and up to twice their time on one that is.
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=ROWS)
        return F.linear_cross_entropy(
            features,
            weight,
            targets,
            linear_bias=bias,
            options=options,
        ).float()
    if in_one:
        loss: Tensor = _InOneMatrix.apply(features, weight, bias, targets, label_smoothing)
        return loss
    logits = F.linear(features, weight, bias).float()
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


class _InOneMatrix(torch.autograd.Function):
    """The loss and its gradient by one matrix of logits, which becomes the logits' gradient: some
    rows at a time, while they are in the cache.

    On a CPU, moving several such matrices through memory takes longer than what is computed of
    them. The gradient is of each step's own loss, from -1 to 1 in any precision; its share of the
    mean is left to the backward pass, whose matrices of features are small.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
    ) -> Tensor:
        logits = features @ weight.t()
        known = targets != PADDING_TARGET
        count, wanted = known.sum(), targets.where(known, 0).unsqueeze(1)
        shares = known.float() / count.clamp(min=1)
        of_bias = weight.new_zeros(len(weight), dtype=torch.float32)
        losses = []
        rows = max(CACHED_LOGITS // len(weight), 1)
        for part, at, share in zip(
            logits.split(rows), wanted.split(rows), shares.split(rows), strict=True
        ):
            p = part.float()  # the part itself, if it is in float32
            if bias is not None:
                p += bias
            highest, right = p.amax(1, keepdim=True), p.gather(1, at)
            if smoothing:
                right = right.lerp(p.mean(1, keepdim=True), smoothing)
            torch.softmax(p, 1, out=p)
            losses.append(highest - right - p.amax(1, keepdim=True).log())
            if smoothing:
                p -= smoothing / len(weight)
            p.scatter_add_(1, at, torch.full_like(right, smoothing - 1))
            of_bias.addmv_(p.t(), share)
            part.copy_(p)
        ctx.save_for_backward(features, weight, logits, shares, of_bias)
        return torch.cat(losses).squeeze(1).masked_fill(~known, 0.0).sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, of_logits, shares, of_bias = ctx.saved_tensors
        shares = (shares * gradient).unsqueeze(1)
        of_features = (of_logits @ weight) * shares
        of_weight = of_logits.t() @ (features * shares).to(features.dtype)
        of_bias = of_bias * gradient if ctx.needs_input_grad[2] else None
        return of_features, of_weight, of_bias, None, None
