"""How well series, encoded in some way, tell their targets: by random convolutions, in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.data.loading import collate
from seqmodels.nn.convolutions import Convolutions
from seqmodels.padding import masked_max, masked_mean

CHANNELS, SIZES = 256, (7, 5)
PENALTIES = np.logspace(-1, 5, 13)


def explained(series: Sequence[Tensor], targets: Tensor) -> float:
    """The share of the targets' variance that a ridge regression predicts of each series, learned
    from all others: on the maximum and the mean of two layers of random convolutions, as ROCKET
    (Dempster et al. 2020, https://arxiv.org/abs/1910.13051) does with one.

    Args:
        series: N tensors `(T, F)`.
        targets: classes `(N,)` int64, or values `(N, K)`.
    """
    from sklearn.linear_model import RidgeCV  # slow to import
    from sklearn.preprocessing import StandardScaler

    batch = collate(series)
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        convolve = Convolutions(batch.inputs.shape[2], CHANNELS, SIZES)
        steps = convolve(batch.inputs, batch.lengths)
        pooled = torch.cat([pool(steps, batch.lengths) for pool in (masked_max, masked_mean)], 1)
    wanted = F.one_hot(targets) if targets.dim() == 1 else targets
    known = ~wanted.isnan().any(dim=1)
    features = StandardScaler().fit_transform(pooled[known].double().numpy())
    values = wanted[known].double().numpy()
    error = -RidgeCV(PENALTIES).fit(features, values).best_score_  # of each row left out
    return float(1 - error / values.var(axis=0).mean())
