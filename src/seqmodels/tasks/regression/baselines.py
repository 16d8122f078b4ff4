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
    """Returns the scores of the training mean, and of ridge regression: for a value of each
    sequence, on the tf-idf of texts or on what `channel_summaries` returns for series; for values
    at each step of series, on windows of steps."""
    values = {split: _values(data, split) for split in SPLITS}  # (N, K) each
    mean = values["train"].nanmean(dim=0)

    def score(split: Split, predicted: Tensor) -> dict[str, Tensor]:
        return value_scores(value_sums(predicted, values[split], center=mean))

    predictions = {"training mean": {split: mean.expand_as(values[split]) for split in EVALUATED}}
    if data.per == "sequence":
        predictions |= _ridge(*baseline_features(data), values["train"].numpy())
    elif data.inputs.kind == "features":
        predictions |= _ridge(*step_windows(data), values["train"].numpy())
    return baseline_rows(predictions, score)


def _ridge(
    rows: np.ndarray, features: Mapping[str, Any], features_name: str, values: np.ndarray
) -> dict[str, dict[Split, Tensor]]:
    """Returns the predictions of a regression by its name.

    Args:
        rows: the numbers of the training rows whose features are given.
        features: those of each split, with a row for each.
        values: of all training rows, nan where one is missing.
    """
    from sklearn.linear_model import Ridge  # It is slow to import.

    columns_by_split: dict[Split, list[np.ndarray]] = {split: [] for split in EVALUATED}
    for column in values[rows].T:
        is_known = ~np.isnan(column)  # Columns may lack values in different rows.
        model = Ridge(1.0).fit(features["train"][is_known], column[is_known])
        for split in EVALUATED:
            columns_by_split[split].append(model.predict(features[split]))
    predicted = {
        split: torch.from_numpy(np.stack(columns, axis=1))
        for split, columns in columns_by_split.items()
    }
    return {f"ridge regression on {features_name}": predicted}


def _values(data: SequenceDataModule, split: str) -> Tensor:
    """Returns the values of all sequences, or of all their steps, `(N, K)`, in their own units."""
    targets = data.datasets[split].targets
    if not isinstance(targets, Tensor):
        targets = torch.cat([*targets])
    encoder = cast(Values, data.targets)
    return encoder.restore(targets)
