"""Numbers without a network: the mean, and ridge regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from seqmodels.data.baseline_features import baseline_features, baseline_rows, step_windows
from seqmodels.data.examples import EVALUATED, SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.targets import Values
from seqmodels.engine.value_task import value_scores, value_sums
from seqmodels.target import Baselines


def value_baselines(data: SequenceDataModule) -> Baselines:
    """The scores of the training mean, and of ridge regression on the tf-idf of texts or on what
    `channel_summaries` gives of series; of values for each step, on windows of steps of series."""
    values = {split: _values(data, split) for split in SPLITS}
    mean = values["train"].nanmean(dim=0)

    def score(split: Split, made: Tensor) -> dict[str, Tensor]:
        return value_scores(value_sums(made, values[split], center=mean))

    models = {"training mean": {split: mean.expand_as(values[split]) for split in EVALUATED}}
    if data.per == "sequence":
        models |= _ridge(*baseline_features(data), values["train"].numpy())
    elif data.inputs.kind == "features":
        models |= _ridge(*step_windows(data), values["train"].numpy())
    return baseline_rows(models, score)


def _ridge(
    rows: np.ndarray, features: Mapping[str, Any], by: str, values: np.ndarray
) -> dict[str, dict[Split, Tensor]]:
    from sklearn.linear_model import Ridge  # slow to import

    made: dict[Split, list[np.ndarray]] = {split: [] for split in EVALUATED}
    for column in values[rows].T:  # each has missing values of its own
        known = ~np.isnan(column)
        model = Ridge(1.0).fit(features["train"][known], column[known])
        for split in EVALUATED:
            made[split].append(model.predict(features[split]))
    columns = {split: torch.from_numpy(np.stack(each, 1)) for split, each in made.items()}
    return {f"ridge regression on {by}": columns}


def _values(data: SequenceDataModule, split: str) -> Tensor:
    # (N, K) in their own units, of all sequences or of all their steps
    targets, encoder = data.datasets[split].targets, cast(Values, data.targets)
    rows = targets if isinstance(targets, Tensor) else torch.cat([*targets])
    return encoder.restore(rows)
