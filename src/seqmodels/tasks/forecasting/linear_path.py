"""A linear regression that forecasts, and a network that adds to it as far as that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import SequenceBatch
from seqmodels.tasks.forecasting.baselines import FEATURES, Pairs, ridge
from seqmodels.tasks.forecasting.window_rows import newest_steps

LEAST = 0.01  # of what the network adds: at 0, the audit would find states that nobody reads
TINY = 1e-12
WEIGHTS = 5_000_000  # at most, from all columns together

Windows = Callable[[], Iterable[tuple[SequenceBatch, Tensor, Tensor, Tensor]]]


class LinearPath(nn.Linear):
    """From scaled windows to what comes next, in steps that each predict what the one before left:
    from each column and those known in advance, with the same weights for all columns; from the
    other inputs, too; and from all columns together, with weights for each of its own. `fit` finds
    the weights, and training leaves them.

    Args:
        window: its steps.
        count, beside: columns to forecast `K`, and columns beside.
        horizon: steps ahead `H`.
        future: which of the columns beside are known in advance: of many, the newest steps of all
            are read.
    """

    together: Tensor  # (H * K, F + 1), the intercepts last

    def __init__(
        self, window: int, count: int, beside: int, horizon: int, future: Sequence[int] = ()
    ) -> None:
        width, most = window * (1 + beside), FEATURES if future else min(window, FEATURES)
        super().__init__(width if width <= FEATURES else most, horizon)
        self.steps, self.count = min(window, self.in_features), count
        numbers = range(self.steps - self.in_features, 0)  # from the end, where the last one ends
        known = (self.in_features + n for n in numbers if n % beside in future)
        self.first = [*range(self.steps), *known]
        columns, values = count + beside, count * horizon
        newest = min(window, FEATURES // columns, WEIGHTS // (columns * values))
        self.newest = 0 if count == 1 else newest
        # a buffer, so that optimizers of older runs hold the same parameters
        self.register_buffer("together", torch.zeros(values, self.newest * columns + 1))
        for value in self.parameters():
            nn.init.zeros_(value)
        self.requires_grad_(False)

    def forecast(self, batch: SequenceBatch, center: Tensor, spread: Tensor) -> Tensor:
        """What comes next, scaled, `(B, H, K)`."""
        made = self(self.regressors(batch, center, spread)).transpose(1, 2)
        if not self.newest:
            return made
        columns = self.columns(batch, center, spread)
        more = F.linear(columns, self.together[:, :-1], self.together[:, -1])
        return made + more.unflatten(1, (-1, self.count))

    def regressors(self, batch: SequenceBatch, center: Tensor, spread: Tensor) -> Tensor:
        """What it reads for each column, `(B, K, F)`: its window, then those beside."""
        newest = newest_steps(batch.inputs, batch.lengths, self.steps)
        values = (newest[..., : self.count] - center) / spread
        beside = newest[..., self.count :].flatten(1)
        beside = beside[:, beside.shape[1] - (self.in_features - self.steps) :].unsqueeze(1)
        return torch.cat([values.transpose(1, 2), beside.expand(-1, self.count, -1)], dim=2)

    def columns(self, batch: SequenceBatch, center: Tensor, spread: Tensor) -> Tensor:
        """What it reads of all columns together: their newest steps, side by side."""
        newest = newest_steps(batch.inputs, batch.lengths, self.newest)
        values = (newest[..., : self.count] - center) / spread
        return torch.cat([values, newest[..., self.count :]], dim=2).flatten(1)

    @torch.no_grad()
    def fit(self, train: Windows, validation: Windows) -> Tensor | None:
        """Takes the weights that `ridge` finds, and returns its mean squared errors `(H,)`; None
        where every window lacks a value.

        Args:
            train, validation: give batches, what they are scaled by, and what came, scaled.
        """
        fitted = ridge(self._of_each(train), self._of_each(validation), self.first)
        if fitted is None:
            return None
        weights, error = map(torch.from_numpy, fitted)
        self.weight.copy_(weights[:-1].T)
        self.bias.copy_(weights[-1])
        if self.newest:
            fitted = ridge(self._of_all(train), self._of_all(validation), [])
            if fitted is not None:
                weights, errors = map(torch.from_numpy, fitted)
                self.together.copy_(weights.T)
                error = errors.view(-1, self.count).mean(1)
        return error

    def _of_each(self, windows: Windows) -> Pairs:
        for batch, center, spread, ahead in windows():
            features = self.regressors(batch, center, spread).flatten(0, 1)
            yield features.numpy(), ahead.transpose(1, 2).flatten(0, 1).numpy()

    def _of_all(self, windows: Windows) -> Pairs:
        for batch, center, spread, ahead in windows():
            left = (ahead - self.forecast(batch, center, spread)).flatten(1)
            some = ~left.isnan().all(dim=1)  # where one value is missing, the others still count
            features = self.columns(batch, center, spread)[some]
            yield features.numpy(), left[some].nan_to_num(0.0).numpy()


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
