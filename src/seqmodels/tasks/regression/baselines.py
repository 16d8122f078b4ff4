"""Numbers without a network: the mean, and ridge regression."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from seqmodels.data.baseline_features import (
    channel_summaries,
    tf_idf_features,
    training_examples,
)
from seqmodels.data.module import EVALUATED, SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.targets import Values
from seqmodels.target import Baselines


def value_baselines(data: SequenceDataModule) -> Baselines:
    """`rmse`, `mae` and `r2` of the training mean; if there are values for each sequence, also of
    ridge regression on tf-idf, or on means and deviations.

    The errors are in the values' own units and average over all values that are not missing; r2 is
    the mean over the values.
    """
    from sklearn.linear_model import Ridge

    values = {split: _values(data, split) for split in SPLITS}
    mean = np.nanmean(values["train"], axis=0)
    found = {"training mean": {s: np.broadcast_to(mean, values[s].shape) for s in EVALUATED}}
    if data.per == "sequence":
        chosen, on = training_examples(data)
        features: dict[str, Any]
        if data.inputs.kind == "tokens":
            by, features = "tf-idf", tf_idf_features(data, chosen)
        else:
            by, features = "channel means and deviations", channel_summaries(data, chosen)
        made: dict[Split, list[np.ndarray]] = {split: [] for split in EVALUATED}
        for column in values["train"][chosen].T:  # each has missing values of its own
            known = ~np.isnan(column)
            model = Ridge(1.0).fit(features["train"][known], column[known])
            for split in EVALUATED:
                made[split].append(model.predict(features[split]))
        found[f"ridge regression on {by}{on}"] = {s: np.transpose(p) for s, p in made.items()}
    return {
        f"{split}/{metric}": {n: measure(p[split], values[split]) for n, p in found.items()}
        for split in EVALUATED
        for metric, measure in (("rmse", _rmse), ("mae", _mae), ("r2", _r2))
    }


def _values(data: SequenceDataModule, split: str) -> np.ndarray:
    # (N, K) in their own units, of all sequences or of all their steps
    targets, encoder = data.datasets[split].targets, cast(Values, data.targets)
    rows = targets if isinstance(targets, Tensor) else torch.cat([*targets])
    return encoder.restore(rows.double()).numpy()


def _rmse(predicted: np.ndarray, values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((predicted - values) ** 2)))


def _mae(predicted: np.ndarray, values: np.ndarray) -> float:
    return float(np.nanmean(np.abs(predicted - values)))


def _r2(predicted: np.ndarray, values: np.ndarray) -> float:
    from sklearn.metrics import r2_score

    known = ~np.isnan(values)
    scores = [
        r2_score(values[rows, column], predicted[rows, column])
        for column, rows in enumerate(known.T)
        if rows.sum() > 1
    ]
    return float(np.mean(scores)) if scores else math.nan
