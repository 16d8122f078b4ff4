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
CACHED_LOGITS = 2**19  # A CPU's cache holds so many in float32.
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
        is_known = targets != PADDING_TARGET
        flat_features = self.resize(features).flatten(0, 1)  # (B, T, S) -> (B * T, S)
        weight, bias = self.project.weight, self.project.bias
        label_smoothing = self.label_smoothing if self.training else 0.0
        if not torch.is_grad_enabled():
            costs = token_costs(flat_features, weight, bias, targets.flatten(), label_smoothing)
            return Score(costs.view_as(targets), is_known)
        count = is_known.sum()
        # The mean over no target would have gradients that are nan, times a weight of 0. So where
        # no target is known, all are taken for the first token.
        flat_targets = targets.where(count > 0, 0).flatten()
        loss = linear_cross_entropy(flat_features, weight, bias, flat_targets, label_smoothing)
        return Score(loss, count)


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


def token_costs(
    features: Float[Tensor, "steps width"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, " vocabulary"] | None,
    targets: Int[Tensor, " steps"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, " steps"]:
    """The cross-entropy of each step in nats, 0 where its target is -100; outside of graphs.

    The logits, `features @ weight.T + bias`, are in memory for some steps at a time.
    """
    costs = []
    chunks = zip(features.split(ROWS), targets.split(ROWS), strict=True)
    for chunk_features, chunk_targets in chunks:
        logits = full(product(chunk_features, weight.t()))
        if bias is not None:
            logits = logits.add_(bias)
        chunk_costs = F.cross_entropy(
            logits, chunk_targets, reduction="none", label_smoothing=label_smoothing
        )
        costs.append(chunk_costs)
    return torch.cat(costs)


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
    is_by_hand = device == "cpu" and len(weight) >= FEWEST_BY_HAND
    # PyTorch's chunked loss has no smoothing: it warns, and makes the whole matrix.
    can_be_chunked = not label_smoothing and hasattr(torch.nn, "LinearCrossEntropyOptions")
    has_many_logits = features.shape[0] * weight.shape[0] > MOST_LOGITS
    is_chunked = can_be_chunked and has_many_logits and not is_by_hand
    if (is_chunked or is_by_hand) and torch.is_autocast_enabled(device):
        # Autocasting covers neither of them.
        autocast_dtype = torch.get_autocast_dtype(device)
        features = features.to(autocast_dtype)
        weight = weight.to(autocast_dtype)
        if is_chunked and bias is not None:
            bias = bias.to(autocast_dtype)
    if is_by_hand:
        loss: Tensor = _ByHand.apply(features, weight, bias, targets, label_smoothing)
        return loss
    if is_chunked:
        # The default accuracy policy is the only one that every release has.
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=ROWS)
        loss = F.linear_cross_entropy(features, weight, targets, linear_bias=bias, options=options)
        return loss.float()
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
        label_smoothing: float,
    ) -> Tensor:
        vocabulary_size = len(weight)
        is_known = targets != PADDING_TARGET
        count = is_known.sum()
        tokens = targets.where(is_known, 0).unsqueeze(1)  # (N, 1)
        shares_of_mean = (is_known.float() / count.clamp(min=1)).unsqueeze(1)  # (N, 1)
        steps_in_memory = len(features) if len(features) * vocabulary_size <= MOST_LOGITS else ROWS
        steps_in_cache = max(CACHED_LOGITS // vocabulary_size, 1)

        losses: list[Tensor] = []
        feature_gradients: list[Tensor] = []
        weight_gradient = None
        bias_gradient = weight.new_zeros(vocabulary_size, dtype=torch.float32)
        for chunk_features, chunk_tokens, chunk_shares in zip(
            features.split(steps_in_memory),
            tokens.split(steps_in_memory),
            shares_of_mean.split(steps_in_memory),
            strict=True,
        ):
            # The one large buffer: logits now, and their gradient after the inner loop.
            buffer = product(chunk_features, weight.t())  # (n, V)
            for logits, step_tokens, step_shares in zip(
                buffer.split(steps_in_cache),
                chunk_tokens.split(steps_in_cache),
                chunk_shares.split(steps_in_cache),
                strict=True,
            ):
                step_losses, gradients = _losses_and_gradients(
                    logits, bias, step_tokens, label_smoothing
                )
                losses.append(step_losses)
                bias_gradient.addmv_(gradients.t(), step_shares.squeeze(1))
                logits.copy_(gradients)
            feature_gradients.append(product(buffer, weight) * chunk_shares)
            weighted_features = (chunk_features * chunk_shares).to(chunk_features.dtype)
            chunk_weight_gradient = product(buffer.t(), weighted_features)
            if weight_gradient is None:
                weight_gradient = chunk_weight_gradient
            else:
                weight_gradient = weight_gradient.float().add_(chunk_weight_gradient)
        assert weight_gradient is not None
        ctx.save_for_backward(
            torch.cat(feature_gradients), weight_gradient.to(weight.dtype), bias_gradient
        )
        return torch.cat(losses).squeeze(1).masked_fill(~is_known, 0.0).sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if float(gradient) != 1:
            gradients = [saved_gradient * gradient for saved_gradient in gradients]
        feature_gradients, weight_gradient, bias_gradient = gradients
        if not ctx.needs_input_grad[2]:
            bias_gradient = None
        return feature_gradients, weight_gradient, bias_gradient, None, None


def _losses_and_gradients(
    logits: Tensor, bias: Tensor | None, tokens: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Each step's loss `(n, 1)`, and the gradient of that loss with respect to its logits `(n, V)`.

    The gradient is in the memory of the logits, if these are in float32.
    """
    values = logits.float()  # the logits; then the probabilities; then the gradients
    if bias is not None:
        values += bias
    largest_logits = values.amax(1, keepdim=True)
    target_logits = values.gather(1, tokens)
    if label_smoothing:
        target_logits = target_logits.lerp(values.mean(1, keepdim=True), label_smoothing)

    torch.softmax(values, 1, out=values)
    # The largest probability is exp(largest logit - log of the sum), which saves a pass over them.
    losses = largest_logits - target_logits - values.amax(1, keepdim=True).log()

    vocabulary_size = values.shape[1]
    if label_smoothing:
        values -= label_smoothing / vocabulary_size
    values.scatter_add_(1, tokens, torch.full_like(target_logits, label_smoothing - 1))
    return losses, values


def product(
    left: Float[Tensor, "rows inner"], right: Float[Tensor, "inner columns"]
) -> Float[Tensor, "rows columns"]:
    """`left @ right` by the library that is faster at it; outside of graphs."""
    is_float32 = left.dtype == right.dtype == torch.float32
    is_exact = is_float32 and not torch.is_autocast_enabled("cpu")
    num_products = left.numel() * right.shape[1]
    is_large = left.device.type == "cpu" and num_products >= FEWEST_PRODUCTS
    if not (is_exact and is_large and onednn_is_faster()):
        return left @ right
    linear = partial(
        torch.ops.mkldnn._linear_pointwise, B=None, attr="none", scalars=[], algorithm=""
    )
    # oneDNN reads rows faster than columns.
    if left.is_contiguous():
        return linear(left, right.t())
    return linear(right.t(), left).t()


@cache
def onednn_is_faster() -> bool:
    """Whether this is Linux on a CPU of AMD with AVX-512, half of whose width Intel's MKL leaves
    unused: PyTorch's products in float32 take twice the time of oneDNN (benchmarks/growth.py)."""
    cpu_file = Path("/proc/cpuinfo")
    cpu = cpu_file.read_text(encoding="utf-8") if cpu_file.is_file() else ""
    # `torch.compile` makes linear layers of this function, which not every build of PyTorch has.
    has_function = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return has_function and "AuthenticAMD" in cpu and "avx512f" in cpu
