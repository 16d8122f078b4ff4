"""A linear regression that forecasts, and a network that adds to it as far as that helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import SequenceBatch
from seqmodels.tasks.forecasting.window_dataset import WindowDataset
from seqmodels.tasks.forecasting.window_rows import newest_steps, window_scale

FEATURES = 2_000  # at most, that one regression reads
ROWS = 200_000  # at most, to fit to
WEIGHTS = 5_000_000  # at most, from all columns together
ALPHAS = np.logspace(-4, 1, 6)
LEAST = 0.01  # of what the network adds: at 0, the audit would find states that nobody reads
TINY = 1e-12

Pairs = Iterable[tuple[Tensor, Tensor]]


class LinearPath(nn.Linear):
    """From scaled windows to what comes next. It begins as a simple forecast: the last value, that
    of a period before, the mean of the window, or the line through its first and last value
    (https://otexts.com/fpp3/simple-methods.html). Ridge regressions each predict what is left then:
    from each column and those known in advance, with the same weights for all columns; from the
    other inputs, too; and from all columns together, with weights for each of its own. `fit` finds
    the weights, and which of these steps to take; training leaves them.

    Args:
        data: what `Windows.spec` says of windows. Of many columns, the newest steps of all are
            read, and those beside the targets only if some are known in advance.
    """

    together: Tensor  # (H * K, F + 1), the intercepts last

    def __init__(self, data: Mapping[str, Any]) -> None:
        window, horizon, count = data["window"], data["horizon"], len(data["values"])
        columns = data["num_inputs"]
        beside = columns - count
        names = [f"{name} in {horizon} steps" for name in data.get("future_inputs", [])]
        future = [data["columns"].index(name) - count for name in names]
        width, most = window * (1 + beside), FEATURES if future else min(window, FEATURES)
        super().__init__(width if width <= FEATURES else most, horizon)
        self.steps, self.count, self.period = min(window, self.in_features), count, data["period"]
        numbers = range(self.steps - self.in_features, 0)  # from the end, where the last one ends
        known = (self.in_features + n for n in numbers if n % beside in future)
        self.first = [*range(self.steps), *known]
        values = count * horizon
        newest = min(window, FEATURES // columns, WEIGHTS // (columns * values))
        self.newest = 0 if count == 1 else newest
        self.register_buffer("together", torch.zeros(values, self.newest * columns + 1))
        for value in self.parameters():
            nn.init.zeros_(value)
        self.requires_grad_(False)

    def forecast(self, batch: SequenceBatch, center: Tensor, spread: Tensor) -> Tensor:
        """What comes next, scaled, `(B, H, K)`."""
        read = self.read(batch, center, spread)
        made = self(self.of_each(read)).transpose(1, 2)
        if not self.newest:
            return made
        more = F.linear(self.of_all(read), self.together[:, :-1], self.together[:, -1])
        return made + more.unflatten(1, (-1, self.count))

    def read(self, batch: SequenceBatch, center: Tensor, spread: Tensor) -> Tensor:
        """The newest steps, with scaled targets, `(B, T, C)`."""
        newest = newest_steps(batch.inputs, batch.lengths, self.steps)
        values = (newest[..., : self.count] - center) / spread
        return torch.cat([values, newest[..., self.count :]], dim=2)

    def of_each(self, read: Tensor) -> Tensor:
        """What predicts each column, `(B, K, F)`: its window, then those beside."""
        beside = read[..., self.count :].flatten(1)
        beside = beside[:, beside.shape[1] - (self.in_features - self.steps) :].unsqueeze(1)
        values = read[..., : self.count].transpose(1, 2)
        return torch.cat([values, beside.expand(-1, self.count, -1)], dim=2)

    def of_all(self, read: Tensor) -> Tensor:
        """What predicts all columns together: the newest steps, side by side."""
        return read[:, self.steps - self.newest :].flatten(1)

    @torch.no_grad()
    def fit(
        self, train: WindowDataset, validation: WindowDataset, norm: str | None = "last"
    ) -> Tensor | None:
        """Takes the weights that predict the validation best, and returns its mean squared errors
        `(H,)`; None where every window of training lacks a value.

        Args:
            norm: how windows are scaled, as `window_scale` documents it.
        """
        splits, simple = (train, validation), self._simple()
        of_each = Ridge(*(self._each(windows, norm) for windows in splits))
        if not of_each.count:
            return None
        own = of_each.best(simple, self.first)
        if len(self.first) < self.in_features:
            own = of_each.best([own, *simple], range(self.in_features))
        self._take(own)
        if not self.newest:
            return torch.from_numpy(of_each.errors(own))
        found = []
        for weights in (own, of_each.best(simple, [])):
            self._take(weights)
            of_all = Ridge(*(self._all(windows, norm) for windows in splits))
            nothing = np.zeros_like(of_all.product)
            more = of_all.best([nothing], range(len(nothing) - 1))
            found.append((of_all.errors(more), weights, more))
        errors, weights, more = min(found, key=lambda each: float(each[0].sum()))
        self._take(weights)
        self.together.copy_(torch.from_numpy(more.T))
        return torch.from_numpy(errors).view(-1, self.count).mean(1)

    def _take(self, weights: np.ndarray) -> None:
        self.weight.copy_(torch.from_numpy(weights[:-1].T))
        self.bias.copy_(torch.from_numpy(weights[-1]))

    def _simple(self) -> np.ndarray:
        """Simple forecasts, as weights `(4, F + 1, H)`."""
        last, before, mean, line = weights = np.zeros((4, self.in_features + 1, self.out_features))
        ahead, newest = np.arange(self.out_features), self.steps - 1
        period = self.period if self.period <= self.steps else 1
        last[newest] = 1
        before[self.steps - period + ahead % period, ahead] = 1
        mean[: self.steps] = 1 / self.steps
        slope = (1 + ahead) / max(newest, 1)
        line[0] -= slope
        line[newest] += 1 + slope
        return weights

    def _each(self, windows: WindowDataset, norm: str | None) -> Pairs:
        for read, ahead in self._scaled(windows, norm):
            targets = ahead.transpose(1, 2).flatten(0, 1)
            there = ~targets.isnan().any(dim=1)
            yield self.of_each(read).flatten(0, 1)[there], targets[there]

    def _all(self, windows: WindowDataset, norm: str | None) -> Pairs:
        for read, ahead in self._scaled(windows, norm):
            left = (ahead - self(self.of_each(read)).transpose(1, 2)).flatten(1)
            some = ~left.isnan().all(dim=1)  # where one value is missing, the others still count
            yield self.of_all(read)[some], left[some].nan_to_num(0.0)

    def _scaled(self, windows: WindowDataset, norm: str | None) -> Pairs:
        for rows in self.rows_of(windows).split(1_024):
            batch = windows.__getitems__(rows.tolist())
            center, spread = window_scale(batch.inputs[..., : self.count], batch.lengths, norm)
            assert batch.targets is not None
            ahead = batch.targets.unflatten(1, (-1, self.count))
            yield self.read(batch, center, spread), (ahead - center) / spread

    def rows_of(self, windows: WindowDataset) -> Tensor:
        """The windows to fit to: of many, evenly spread ones."""
        return torch.arange(0, len(windows), -(-len(windows) * self.count // ROWS))


class Ridge:
    """Ridge regressions, of which validation chooses.

    Args:
        train, validation: features `(N, F)` and targets `(N, H)`.
    """

    def __init__(self, train: Pairs, validation: Pairs) -> None:
        self.square, self.product, _, self.count = _means(train)
        self.validation = _means(validation)

    def errors(self, weights: np.ndarray) -> np.ndarray:
        """The mean squared errors `(H,)` of weights `(F + 1, H)`, the intercepts last."""
        square, product, size, _ = self.validation
        return size + (weights * (square @ weights - 2 * product)).sum(0)

    def best(self, starts: Sequence[np.ndarray] | np.ndarray, read: Sequence[int]) -> np.ndarray:
        """The best of some weights, and of those that also predict from the features `read` what
        these leave."""
        rows = [*read, len(self.square) - 1]
        of_read = self.square[np.ix_(rows, rows)]
        left = np.hstack([(self.product - self.square @ start)[rows] for start in starts])

        def choices() -> Iterator[np.ndarray]:
            yield from starts
            for alpha in ALPHAS:
                # scikit-learn's ridge regression would hold all windows, and square them for each
                more = np.linalg.solve(of_read + alpha * np.eye(len(rows)), left)
                for start, added in zip(starts, np.hsplit(more, len(starts)), strict=True):
                    weights = start.copy()
                    weights[rows] += added
                    yield weights

        return min(choices(), key=lambda weights: float(self.errors(weights).sum()))


def _means(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The means of products of features, an intercept beside them, and targets, and of targets
    squared."""
    sums, count = [np.zeros(())] * 3, 0
    for features, targets in pairs:
        x = np.pad(features.double().numpy(), ((0, 0), (0, 1)), constant_values=1)
        y = targets.double().numpy()
        found = (x.T @ x, x.T @ y, np.square(y).sum(axis=0))
        sums = [before + more for before, more in zip(sums, found, strict=True)]
        count += len(x)
    square, product, size = (each / max(count, 1) for each in sums)
    return square, product, size, count


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
