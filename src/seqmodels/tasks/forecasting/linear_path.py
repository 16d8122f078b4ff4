"""A linear regression that forecasts, and a network that adds to it as far as that helps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import SequenceBatch
from seqmodels.tasks.forecasting.baselines import FEATURES, Pairs, ridge
from seqmodels.tasks.forecasting.window_rows import newest_steps

LEAST = 0.01  # of what the network adds: at 0, the audit would find states that nobody reads
TINY = 1e-12


class LinearPath(nn.Linear):
    """From each scaled column of a window, and the inputs beside it, to what comes next: with the
    same weights for all columns, which `fit` finds and training leaves.

    Args:
        window: its steps.
        count, beside: columns to forecast `K`, and columns beside.
        horizon: steps ahead `H`.
        future: whether columns beside are known in advance: of many, their newest steps are read.
    """

    def __init__(
        self, window: int, count: int, beside: int, horizon: int, future: bool = False
    ) -> None:
        width, most = window * (1 + beside), FEATURES if future else min(window, FEATURES)
        super().__init__(width if width <= FEATURES else most, horizon)
        self.steps, self.count = min(window, self.in_features), count
        nn.init.zeros_(self.weight)
        self.requires_grad_(False)

    def regressors(self, batch: SequenceBatch, center: Tensor, spread: Tensor) -> Tensor:
        """What it reads for each column, `(B, K, F)`: its window, then those beside."""
        newest = newest_steps(batch.inputs, batch.lengths, self.steps)
        values = (newest[..., : self.count] - center) / spread
        beside = newest[..., self.count :].flatten(1)
        beside = beside[:, beside.shape[1] - (self.in_features - self.steps) :].unsqueeze(1)
        return torch.cat([values.transpose(1, 2), beside.expand(-1, self.count, -1)], dim=2)

    @torch.no_grad()
    def fit(self, train: Pairs, validation: Pairs) -> Tensor | None:
        """Takes the weights that `ridge` finds, and returns its mean squared errors `(H,)`; None
        where every window lacks a value."""
        fitted = ridge(train, validation)
        if fitted is None:
            return None
        weights, error = map(torch.from_numpy, fitted)
        self.weight.copy_(weights[:-1].T)
        self.bias.copy_(weights[-1])
        return error


class ShareOfLinear(nn.Linear):
    """A linear layer that evaluation takes a `share` of: of its weights, and of the median's bias,
    so that quantiles stay as far apart."""

    share: Tensor

    def __init__(self, width: int, num_values: int, levels: Sequence[float]) -> None:
        super().__init__(width, num_values * len(levels))
        self.levels = levels
        self.register_buffer("share", torch.ones(()))

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        bias = self.bias.view(-1, len(self.levels))
        bias = bias - (1 - self.share) * bias[:, [self.levels.index(0.5)]]
        return F.linear(input, self.weight * self.share, bias.flatten())

    @torch.no_grad()
    def begin(self, error: Tensor) -> None:
        """Adds nothing to the regression yet, with quantiles as far apart as its mean squared
        errors `(H,)` say."""
        nn.init.zeros_(self.weight)
        levels = torch.special.ndtri(torch.tensor(self.levels, dtype=torch.float64))
        spread = torch.outer(error.sqrt(), levels).unsqueeze(1)  # (H, 1, Q)
        self.bias.view(len(error), -1, len(levels)).copy_(spread)

    @torch.no_grad()
    def shrink(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Keeps as much of what it adds as is of use, from almost nothing to all of it: it is then
        no worse there than the regression.

        Args:
            pairs: what it adds when it is whole, and what the regression left to add, nan where
                nobody knows.
        """
        self.share.fill_(1.0)
        learned, squares = torch.zeros(2, device=self.share.device)
        for added, left in pairs:
            learned += (added * left).nansum()
            squares += added.square().where(~left.isnan(), 0.0).sum()
        self.share.copy_((learned / squares.clamp(min=TINY)).clamp(LEAST, 1))
