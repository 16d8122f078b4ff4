"""Intervals that cover what they promise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Quantiles = Float[Tensor, "batch horizon values quantiles"]


class Intervals(nn.Module):
    """Makes intervals as much wider or narrower, around the median, as they need to cover in the
    validation split what they promise: of each step ahead and column (conformalized quantile
    regression, Romano et al. 2019, https://arxiv.org/abs/1905.03222).

    Args:
        levels: of the quantiles, with 0.5 among them.
        horizon, count: steps ahead `H` and columns `K`.
    """

    width: Tensor  # (H, K, 1), in widths that were learned
    covered: Tensor  # by intervals as they were learned, of the validation split

    def __init__(self, levels: Sequence[float], horizon: int, count: int) -> None:
        super().__init__()
        self.median = levels.index(0.5)
        self.promised = levels[-1] - levels[0]
        self.register_buffer("width", torch.ones(horizon, count, 1))
        self.register_buffer("covered", torch.zeros(()))

    def forward(self, made: Quantiles) -> Quantiles:
        """In order, and as wide as `fit` found."""
        made = made.sort(dim=3).values
        median = made[..., [self.median]]
        return median + (made - median) * self.width

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Finds the widths.

        Args:
            pairs: what `forward` makes, which until the end leaves widths as they were learned, and
                what came, `(B, H, K)`, nan where nobody knows.
        """
        self.width.fill_(1.0)
        found = []
        for made, targets in pairs:
            median = made[..., [self.median]]
            ends = made[..., [0, -1]] - median
            # 1 at the nearer end of the interval
            found.append(((targets.unsqueeze(3) - median) / ends).amax(dim=3))
        scores = torch.cat(found)
        self.covered.copy_((scores <= 1).float().where(~scores.isnan(), torch.nan).nanmean())
        share = min(self.promised * (1 + 1 / len(scores)), 1.0)
        self.width.copy_(scores.nanquantile(share, dim=0).nan_to_num(1.0).unsqueeze(2))

    def __str__(self) -> str:
        return (
            f"intervals covered {100 * float(self.covered):.1f} % of the validation split, and "
            f"promise {100 * self.promised:g} %: they are {float(self.width.mean()):.2f} times as "
            "wide now"
        )
