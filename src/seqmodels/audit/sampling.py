"""Make random inputs like the ones you give."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.batch import valid_steps
from seqmodels.errors import UserError

TARGET_STEPS = 13  # at least, of what a decoder reads


def valid_mask(lengths: Sequence[int]) -> Tensor:
    """True at the valid steps of rows of these lengths: `(B, T)` bool."""
    return valid_steps(torch.tensor(lengths), max(lengths), torch.device("cpu"))


class Sampler:
    """Draws inputs from the tokens of a batch, or with the mean and spread of its features.

    Raises:
        UserError: if they are not a padded batch, or contain only token 0.
    """

    def __init__(self, inputs: Tensor, lengths: Tensor, seed: int) -> None:
        self.tokens = not inputs.is_floating_point()
        if inputs.dim() not in ((2, 3) if self.tokens else (3,)) or (
            lengths.shape != inputs.shape[:1]
            or not bool(((lengths >= 1) & (lengths <= inputs.shape[1])).all())
        ):
            raise UserError(
                "inputs must be tokens (B, T) or words with characters (B, T, 1 + K) int64, or "
                "features (B, T, F), and lengths (B,) from 1 "
                f"to T: got {tuple(inputs.shape)} {inputs.dtype} and {lengths.tolist()[:10]}"
            )
        self.generator = torch.Generator().manual_seed(seed)
        self.lengths, self.dtype = lengths.cpu(), inputs.dtype
        mask = valid_steps(lengths, inputs.shape[1], torch.device("cpu"))
        values = inputs.detach().cpu()
        self.padding = torch.zeros_like(values[0, 0]) if bool(mask.all()) else values[~mask][0]
        self.mean, self.spread = torch.zeros(0), torch.ones(0)
        if self.tokens:
            self.ids = values[mask].unique(dim=0)  # whole words, if they have characters
            if len(self.ids) == 1 and self.ids.dim() == 1:
                self.ids = torch.arange(int(self.ids) + 1)  # smaller ids are tokens as well
            if len(self.ids) < 2:
                raise UserError("inputs contain only token 0: give at least two different tokens")
        else:
            valid = values[mask].double()  # (steps, F)
            self.mean, spread = valid.mean(dim=0), valid.std(dim=0, correction=0)
            self.spread = spread.where(spread > 0, 1.0)

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


def target_row(target_inputs: Tensor, lengths: Tensor, seed: int) -> Tensor:
    """What a decoder reads in all rows, `(S,)`: the first token as it was given, then random ones.

    It has more steps than most sources, so that nothing mistakes one for the other.

    Raises:
        UserError: if they are not tokens `(B, S)`, or contain only one.
    """
    if target_inputs.dtype != torch.int64 or target_inputs.dim() != 2 or not target_inputs.numel():
        raise UserError(
            f"target_inputs must be tokens (B, S) int64, got {tuple(target_inputs.shape)} "
            f"{target_inputs.dtype}"
        )
    ids = target_inputs.detach().cpu().unique()
    if len(ids) < 2:
        raise UserError("target_inputs contain only one token: give at least two different ones")
    steps = next(s for s in range(TARGET_STEPS, 2**31) if s not in lengths.tolist())
    generator = torch.Generator().manual_seed(seed)
    chosen = ids[torch.randint(len(ids), (steps,), generator=generator)]
    return torch.cat([target_inputs[:1, 0].cpu(), chosen[1:]])
