"""Speed up and slow down series in training, differently each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError

TURNS = (torch.pi * torch.arange(1, 4)).tolist()


class Warp:
    """Reads each series at a speed of its own that changes smoothly, with linear interpolation
    (time warping, Um et al. 2017, https://arxiv.org/abs/1706.00527).

    The first and the last step stay. At a mean speed of 1.2, a series of 60 steps has 50.

    Args:
        most: how far from 1 a speed may be.
        data: what the data decides: how many steps are `folded` into one, which are read apart, and
            how many columns stand `beside` them, the same at all steps.

    Raises:
        UserError: for tokens.
    """

    def __init__(self, most: float, data: Mapping[str, Any]) -> None:
        if data.get("inputs") != "features":
            raise UserError(
                f"model.warp is {most}, but nothing lies between two tokens: set it to 0"
            )
        self.most, self.folded, self.beside = most, data.get("folded", 1), data.get("beside", 0)

    def __call__(self, batch: SequenceBatch) -> SequenceBatch:
        # speed = mean + sum(waves * cos(TURNS * time)), for times from 0 to 1
        sizes = 2 * torch.rand(len(batch), 1 + len(TURNS)) - 1
        sizes *= self.most * torch.rand(len(batch), 1) / sizes.abs().sum(dim=1, keepdim=True)
        mean, waves = 1 + sizes[:, :1], sizes[:, 1:]
        kept = (batch.lengths / mean.squeeze(1)).round().long().clamp(min=1)
        ends = torch.stack([batch.lengths, kept], dim=1) * self.folded - 1
        numbers = torch.cat([ends, waves / mean], dim=1).to(batch.inputs.device, non_blocking=True)
        end, kept_end, *moved = numbers.T.unsqueeze(2)  # (B, 1) each
        time = torch.arange(int(kept.max()) * self.folded, device=end.device)
        time = (time / kept_end.clamp(min=1)).clamp(max=1)  # (B, T)
        moves = (wave / turn * (turn * time).sin() for wave, turn in zip(moved, TURNS, strict=True))
        places = torch.minimum(end * sum(moves, time), end)
        before = places.long()
        after = torch.minimum(before + 1, end.long())

        inputs, rows = batch.inputs, torch.arange(len(batch), device=end.device).unsqueeze(1)
        width = inputs.shape[2] - self.beside
        steps = inputs[..., :width].reshape(len(batch), inputs.shape[1] * self.folded, -1)
        share = (places - before).unsqueeze(2).to(steps.dtype)
        read = steps[rows, before].lerp(steps[rows, after], share)
        read = read.reshape(len(batch), -1, width)
        beside = inputs[:, :1, width:].expand(-1, read.shape[1], -1)
        return replace(batch, inputs=torch.cat([read, beside], dim=2), lengths=kept)
