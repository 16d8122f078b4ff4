"""Make random inputs like the ones you give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from seqmodels.audit.modules import find_modules
from seqmodels.batch import shape_of
from seqmodels.errors import UserError, refusing
from seqmodels.padding import valid_steps

OTHERWISE = (
    "if your model takes or gives something else, audit a function that makes that of inputs and "
    "lengths: lambda inputs, lengths: model(...)"
)
# So many numbers are copied to float64 at once.
NUMBERS = 100_000
# A decoder reads at least so many.
TARGET_ROWS = 6
TARGET_STEPS = 13


def valid_mask(lengths: Sequence[int]) -> Tensor:
    """True at the valid steps of rows of these lengths: `(B, T)` bool."""
    return valid_steps(lengths, max(lengths))


class Sampler:
    """Draws inputs from the tokens of a batch, or with the mean and spread of its features.

    Raises:
        UserError: if they are not a padded batch, contain only token 0, or hold something else than
            `padding` at padding; without lengths, if `padding` is not "none".
    """

    def __init__(
        self,
        inputs: Any,
        lengths: Tensor | Iterable[SupportsIndex] | None,
        seed: int,
        padding: int | float | str | None = None,
    ) -> None:
        if not isinstance(inputs, Tensor):
            raise UserError(f"inputs must be a tensor, not a {type(inputs).__name__}: {OTHERWISE}")
        self.unpadded = padding == "none"
        if lengths is None and self.unpadded:
            lengths = torch.full(inputs.shape[:1], inputs.shape[1:2].numel())
        elif lengths is None:
            raise UserError("give lengths, or padding='none' where all rows have one length")
        self.tokens = not inputs.is_floating_point()
        self.lengths = lengths = _as_lengths(lengths)
        _check_shapes(inputs, lengths)
        if isinstance(padding, str):
            if not self.unpadded or bool((lengths != inputs.shape[1]).any()):
                raise UserError(
                    f"padding={padding}: give what padding always holds, or none if all rows have "
                    "one length"
                )
            padding = None
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = inputs.dtype
        mask = valid_steps(lengths, inputs.shape[1])
        values = inputs.detach().cpu()
        self.padding_is_fixed = padding is not None
        self.padding = _padding(values, mask, padding)
        self.mean = torch.zeros(0)
        self.spread = torch.ones(0)
        if self.tokens:
            self.ids = self._tokens_to_draw(values[mask])
        else:
            self.mean, deviation = _mean_and_deviation(values, mask)
            self.spread = deviation.where(deviation > 0, 1.0)

    def _tokens_to_draw(self, tokens: Tensor) -> Tensor:
        """Those of valid steps: whole words, if they have characters."""
        ids = tokens.unique(dim=0)
        if len(ids) == 1 and ids.dim() == 1:
            ids = torch.arange(int(ids) + 1)  # Smaller ids are tokens as well.
        if self.padding_is_fixed:  # No valid step holds it.
            differs = (ids != self.padding).view(len(ids), -1).any(dim=1)
            ids = ids[differs]
        if len(ids) < 2:
            raise UserError("inputs contain only token 0: give at least two different tokens")
        return ids

    def content(self, rows: int, time: int, spread: float = 1.0) -> Tensor:
        """Random content at every step: `(B, T)` tokens, or `(B, T, ...)` as they were given."""
        if self.tokens:
            chosen = torch.randint(len(self.ids), (rows, time), generator=self.generator)
            return self.ids[chosen]
        noise = torch.randn(rows, time, len(self.mean), generator=self.generator).double()
        return self.mean + spread * self.spread * noise

    def batch(self, lengths: Sequence[int], *, constant: bool = False) -> Tensor:
        """Random content, the same at all steps of a row if `constant`; padding as it was given."""
        time = max(lengths)
        inputs = self.content(len(lengths), time)
        if constant:
            inputs = inputs[:, :1].repeat_interleave(time, dim=1)
        inputs[~valid_mask(lengths)] = self.padding.to(inputs)
        return inputs


def _mean_and_deviation(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of each feature `(F,)` at the valid steps of `(B, T, F)`, in float64. Rows may be long, so
    only some steps are copied at once."""
    num_features = values.shape[2]
    steps_at_once = max(NUMBERS // max(num_features, 1), 1)
    value_chunks = values.flatten(0, 1).split(steps_at_once)
    mask_chunks = mask.flatten().split(steps_at_once)
    count = mask.count_nonzero()  # A sum would copy the mask to int64.
    first = values[0, 0].double()  # All rows have a first step.
    sums = torch.zeros(num_features, dtype=torch.float64)
    for chunk, is_valid in zip(value_chunks, mask_chunks, strict=True):
        # So less is rounded, and a feature that never changes has a deviation of exactly 0.
        sums += (chunk[is_valid].double() - first).sum(dim=0)
    mean = first + sums / count
    variance = torch.zeros_like(sums)
    for chunk, is_valid in zip(value_chunks, mask_chunks, strict=True):
        variance += (chunk[is_valid].double() - mean).square_().sum(dim=0) / count
    return mean, variance.sqrt()


def _as_lengths(lengths: Any) -> Tensor:
    with refusing("lengths must be integers (B,)", TypeError, ValueError, RuntimeError):
        lengths = torch.as_tensor(lengths)
        if lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise TypeError(f"got {lengths.dtype}")
    return lengths.long().cpu()


def _check_shapes(inputs: Tensor, lengths: Tensor) -> None:
    dimensions = (3,) if inputs.is_floating_point() else (2, 3)
    if (
        inputs.dim() not in dimensions
        or lengths.shape != inputs.shape[:1]
        or not bool(((lengths >= 1) & (lengths <= inputs.shape[1])).all())
    ):
        raise UserError(
            "inputs must be tokens (B, T) or words with characters (B, T, 1 + K) int64, or "
            "features (B, T, F), and lengths (B,) from 1 to T: "
            f"got {shape_of(inputs)} and {lengths.flatten().tolist()[:10]}"
        )


def _padding(values: Tensor, mask: Tensor, padding: int | float | None) -> Tensor:
    """What a step of padding holds: `padding`, or what you give, or 0."""
    values_at_padding = values[~mask]
    if padding is None:
        has_padding = len(values_at_padding) > 0
        return values_at_padding[0] if has_padding else torch.zeros_like(values[0, 0])
    is_possible = values.is_floating_point() or float(padding).is_integer()
    if not is_possible or not _holds_only(padding, values_at_padding):
        raise UserError(f"padding={padding}, but inputs hold something else at padding")
    return torch.full_like(values[0, 0], padding)


def _holds_only(number: int | float, values: Tensor) -> bool:
    """Whether all values are this number, which may be nan."""
    expected = torch.full_like(values, number)
    return bool(torch.isclose(values, expected, rtol=0, atol=0, equal_nan=True).all())


def target_rows(target_inputs: Tensor, lengths: Tensor, seed: int) -> Tensor:
    """What a decoder reads, `(rows, S)`: the first token as it was given, then random ones.

    There are more steps than in most sources, so that nothing mistakes one for the other.

    Raises:
        UserError: if they are not tokens `(B, S)`, or contain only token 0.
    """
    if target_inputs.dtype != torch.int64 or target_inputs.dim() != 2 or not target_inputs.numel():
        raise UserError(f"target_inputs must be tokens (B, S) int64, got {shape_of(target_inputs)}")
    source_lengths = lengths.tolist()
    steps = TARGET_STEPS
    while steps in source_lengths:
        steps += 1
    sampler = Sampler(target_inputs, None, seed, padding="none")
    targets = sampler.content(max(len(lengths), TARGET_ROWS), steps)
    targets[:, 0] = target_inputs[0, 0]
    return targets


def _first_size(model: Callable[..., Any]) -> tuple[int | None, int | None]:
    """The number of features, or the vocabulary, that the model's first layer takes, if it says."""
    for module in find_modules(model).modules():
        for name in ("num_embeddings", "input_size", "in_features", "in_channels"):
            size = getattr(module, name, None)
            if not isinstance(size, int):
                continue
            return (None, size) if name == "num_embeddings" else (size, None)
    return None, None


def random_batch(
    model: Callable[..., Any],
    features: int | None = None,
    vocabulary: int | None = None,
    batch: int = 4,
    time: int = 20,
    seed: int = 0,
    padding: int | float | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Random features `(B, T, F)`, or tokens `(B, T)` from 1 to `vocabulary - 1`, with `padding`
    after the end, or 0; and their lengths `(B,)`, from `time` down to a quarter of it, or all
    `time` where padding is "none". The model's first layer says how many features or tokens, unless
    you do.

    Raises:
        UserError: if neither of you does, or you say both, or a size that is too small, or padding
            that is not a token.
    """
    if features is None and vocabulary is None:
        features, vocabulary = _first_size(model)
    if (features is None) == (vocabulary is None):
        raise UserError("give one of input.features=<number> and input.vocabulary=<number>")
    checked_sizes = [
        ("features", features, 1),
        ("vocabulary", vocabulary, 2),
        ("batch", batch, 1),
        ("time", time, 1),
    ]
    for name, size, least in checked_sizes:
        if size is not None and size < least:
            raise UserError(f"input.{name} is {size}: it must be at least {least}")
    padding_value: int | float = 0
    if padding is not None and not isinstance(padding, str):
        padding_value = padding
    if vocabulary is not None and padding_value not in range(vocabulary):
        raise UserError(f"padding={padding} is not a token from 0 to {vocabulary - 1}")
    generator = torch.Generator().manual_seed(seed)
    shortest = time if padding == "none" else max(time // 4, 1)
    lengths = torch.linspace(time, shortest, batch).round().long()
    if vocabulary is not None:
        inputs = torch.randint(1, vocabulary, (batch, time), generator=generator)
    else:
        assert features is not None
        inputs = torch.randn(batch, time, features, generator=generator)
    inputs[~valid_steps(lengths, time)] = padding_value
    return inputs, lengths
