"""Softmax over a vocabulary at every step: plain, or tied to the embedding."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seqmodels.batch import PADDING_TARGET
from seqmodels.nn.outputs import Features, Mask, Output, Score, full

ROWS = 512  # steps per chunk of logits; fewer is slower, more gains nothing
MOST_LOGITS = 2**26  # 256 MiB in float32: of more, chunks of rows save memory
CACHED_LOGITS = 2**19  # that a CPU's cache holds, in float32
FEWEST_BY_HAND = 2_000  # tokens, from which `_ByHand` is faster
FEWEST_PRODUCTS = 2**25  # oneDNN takes half a millisecond to prepare for a new shape


class Vocabulary(Output):
    """`softmax(W h_t + b)` over a vocabulary at every step; cross-entropy in nats per token.

    Args:
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

    def score(self, features: Features, targets: Tensor, mask: Mask = None) -> Score:
        """With gradients, the mean cost, because that takes one matrix of logits or less."""
        known, smoothing = targets != PADDING_TARGET, self.label_smoothing if self.training else 0.0
        layer = self.resize(features).flatten(0, 1), self.project.weight, self.project.bias
        if not torch.is_grad_enabled():
            return Score(costs(*layer, targets.flatten(), smoothing).view_as(targets), known)
        count = known.sum()
        # the mean over no target would have gradients that are nan, times a weight of 0
        some = targets.where(count > 0, 0).flatten()
        return Score(linear_cross_entropy(*layer, some, smoothing), count)


class TiedVocabulary(Vocabulary):
    """`softmax(E h_t + b)` with the embedding's own weight `E` (Press and Wolf 2017,
    https://arxiv.org/abs/1608.05859). If `h_t` and the embedding differ in width, a linear layer
    resizes `h_t` first."""

    def layers(
        self, width: int, vocabulary_size: int, embedding: nn.Embedding | None
    ) -> tuple[nn.Module, nn.Linear]:
        assert embedding is not None
        project = nn.Linear(embedding.embedding_dim, vocabulary_size)
        nn.init.zeros_(project.bias)
        project.weight = embedding.weight
        if width == embedding.embedding_dim:
            return nn.Identity(), project
        return nn.Linear(width, embedding.embedding_dim), project


def costs(
    features: Float[Tensor, "steps width"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, " vocabulary"] | None,
    targets: Int[Tensor, " steps"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, " steps"]:
    """The same of each step, 0 where a target is -100; outside of graphs."""
    parts = []
    for rows, wanted in zip(features.split(ROWS), targets.split(ROWS), strict=True):
        logits = full(product(rows, weight.t()))
        logits = logits if bias is None else logits.add_(bias)
        parts.append(
            F.cross_entropy(logits, wanted, reduction="none", label_smoothing=label_smoothing)
        )
    return torch.cat(parts)


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
    device = features.device.type
    by_hand = device == "cpu" and len(weight) >= FEWEST_BY_HAND
    # PyTorch's chunked loss has no smoothing: it warns, and makes the whole matrix
    chunked = not label_smoothing and hasattr(torch.nn, "LinearCrossEntropyOptions")
    chunked = chunked and not by_hand and features.shape[0] * weight.shape[0] > MOST_LOGITS
    if (chunked or by_hand) and torch.is_autocast_enabled(device):  # which covers neither
        half = torch.get_autocast_dtype(device)
        features, weight = features.to(half), weight.to(half)
        bias = bias.to(half) if chunked and bias is not None else bias
    if by_hand:
        loss: Tensor = _ByHand.apply(features, weight, bias, targets, label_smoothing)
        return loss
    if chunked:
        # the default accuracy policy is the only one that every release has
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=ROWS)
        return F.linear_cross_entropy(
            features, weight, targets, linear_bias=bias, options=options
        ).float()
    logits = full(F.linear(features, weight, bias))
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


class _ByHand(torch.autograd.Function):
    """The loss and its gradients, for some rows at a time: their matrix of logits becomes its own
    gradient, a part at a time, while that is in the cache.

    On a CPU, moving several such matrices through memory takes longer than what is computed of
    them. The matrix is of each step's own loss, from -1 to 1 in any precision; its share of the
    mean is left to the products.
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
        known, size = targets != PADDING_TARGET, len(weight)
        count, wanted = known.sum(), targets.where(known, 0).unsqueeze(1)
        shares = (known.float() / count.clamp(min=1)).unsqueeze(1)
        in_memory = len(features) if len(features) * size <= MOST_LOGITS else ROWS
        in_cache = max(CACHED_LOGITS // size, 1)
        losses, of_features, of_weight = list[Tensor](), list[Tensor](), None
        of_bias = weight.new_zeros(size, dtype=torch.float32)
        chunks = (x.split(in_memory) for x in (features, wanted, shares))
        for rows, ids, shared in zip(*chunks, strict=True):
            logits = product(rows, weight.t())
            parts = (x.split(in_cache) for x in (logits, ids, shared))
            for part, at, share in zip(*parts, strict=True):
                p = part.float()  # the part itself, if it is in float32
                if bias is not None:
                    p += bias
                highest, right = p.amax(1, keepdim=True), p.gather(1, at)
                if smoothing:
                    right = right.lerp(p.mean(1, keepdim=True), smoothing)
                torch.softmax(p, 1, out=p)
                losses.append(highest - right - p.amax(1, keepdim=True).log())
                if smoothing:
                    p -= smoothing / size
                p.scatter_add_(1, at, torch.full_like(right, smoothing - 1))
                of_bias.addmv_(p.t(), share.squeeze(1))
                part.copy_(p)
            of_features.append(product(logits, weight) * shared)
            of_part = product(logits.t(), (rows * shared).to(rows.dtype))
            of_weight = of_part if of_weight is None else of_weight.float().add_(of_part)
        assert of_weight is not None
        ctx.save_for_backward(torch.cat(of_features), of_weight.to(weight.dtype), of_bias)
        return torch.cat(losses).squeeze(1).masked_fill(~known, 0.0).sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        made = ctx.saved_tensors
        made = made if float(gradient) == 1 else [part * gradient for part in made]
        return *made[:2], made[2] if ctx.needs_input_grad[2] else None, None, None


def product(
    left: Float[Tensor, "rows inner"], right: Float[Tensor, "inner columns"]
) -> Float[Tensor, "rows columns"]:
    """`left @ right` by the library that is faster at it; outside of graphs."""
    exact = left.dtype == right.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    large = left.device.type == "cpu" and left.numel() * right.shape[1] >= FEWEST_PRODUCTS
    if not (exact and large and onednn_is_faster()):
        return left @ right
    linear = partial(
        torch.ops.mkldnn._linear_pointwise, B=None, attr="none", scalars=[], algorithm=""
    )
    # it reads rows faster than columns
    return linear(left, right.t()) if left.is_contiguous() else linear(right.t(), left).t()


@cache
def onednn_is_faster() -> bool:
    """Whether this is Linux on a CPU of AMD with AVX-512, half of whose width Intel's MKL leaves
    unused: PyTorch's products in float32 take twice the time of oneDNN (benchmarks/growth.py)."""
    processor = Path("/proc/cpuinfo")
    text = processor.read_text(encoding="utf-8") if processor.is_file() else ""
    # what `torch.compile` makes of linear layers; not in every build of PyTorch
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and "AuthenticAMD" in text and "avx512f" in text
