"""Numbers without a network: the mean, and ridge regression."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from seqmodels.data.baseline_features import baseline_features, baseline_rows
from seqmodels.data.module import EVALUATED, SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.targets import Values
from seqmodels.engine.value_scores import value_scores, value_sums
from seqmodels.target import Baselines


def value_baselines(data: SequenceDataModule) -> Baselines:
    """The scores of the training mean; if there are values for each sequence, also of ridge
    regression on the tf-idf of texts, or on the mean and deviation of each channel of series."""
    values = {split: _values(data, split) for split in SPLITS}
    mean = values["train"].nanmean(dim=0)

    def score(split: Split, made: Tensor) -> dict[str, Tensor]:
        return value_scores(value_sums(made, values[split], center=mean))

    models = {"training mean": {split: mean.expand_as(values[split]) for split in EVALUATED}}
    if data.per == "sequence":
        name, made = _ridge(data, values["train"].numpy())
        models[name] = made
    return baseline_rows(models, score)


def _ridge(data: SequenceDataModule, values: np.ndarray) -> tuple[str, dict[Split, Tensor]]:
    from sklearn.linear_model import Ridge  # slow to import

    rows, features, by = baseline_features(data)
    made: dict[Split, list[np.ndarray]] = {split: [] for split in EVALUATED}
    for column in values[rows].T:  # each has missing values of its own
        known = ~np.isnan(column)
        model = Ridge(1.0).fit(features["train"][known], column[known])
        for split in EVALUATED:
            made[split].append(model.predict(features[split]))
    name = f"ridge regression on {by}"
    return name, {split: torch.from_numpy(np.stack(each, 1)) for split, each in made.items()}


def _values(data: SequenceDataModule, split: str) -> Tensor:
    # (N, K) in their own units, of all sequences or of all their steps
    targets, encoder = data.datasets[split].targets, cast(Values, data.targets)
    rows = targets if isinstance(targets, Tensor) else torch.cat([*targets])
    return encoder.restore(rows)
